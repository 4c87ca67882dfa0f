//! Kernels that fold a row and then write its elements: softmax and its gradient. Prologues are evaluated as elements
//! are read. Shader: `rows.wgsl`. Not here: plain reductions (`reduce.rs`), norms made of these (`norm.rs`).

use std::sync::Arc;

use rtorch_ir::Result;
use smallvec::SmallVec;

use crate::device::Device;
use crate::emit::convert;
use crate::kernel::{Id, Kernel, Names, Operand, Src, fold, splice};
use crate::work::Work;
use crate::{GpuArg, GpuSource};

const TEMPLATE: &str = include_str!("../../../shaders/rows.wgsl");

/// Lanes that share a row of `n` elements.
fn lanes(n: usize) -> u32 {
    match n {
        0..=24 => 1,
        25..=1024 => 32,
        _ => 256,
    }
}

/// The parts of a row kernel that differ: WGSL of the state, and what is written.
struct RowOp {
    id: Id,
    variant: u32,
    op: String,
}

impl Device {
    /// One kernel over rows along `axis`: sources become `s0`, `s1`, ... of (row, element), the output `out`.
    fn rows(self: &Arc<Self>, what: RowOp, sources: &[GpuSource], axis: usize, out: &GpuArg) -> Result<()> {
        let shape = sources[0].shape;
        if shape.contains(&0) {
            return Ok(());
        }
        let one = [1usize];
        // a scalar has one row of one element
        let (shape, axes): (&[usize], SmallVec<[usize; 1]>) =
            if shape.is_empty() { (&one, SmallVec::from_slice(&[0])) } else { (shape, SmallVec::from_slice(&[axis])) };
        let kept: SmallVec<[usize; 5]> = (0..shape.len()).filter(|d| *d != axes[0]).collect();
        let n = shape[axes[0]];
        let rows = shape.iter().product::<usize>() / n;
        let lanes = lanes(n);
        let work = Work::of(self, out)?;
        let layout = crate::kernel::broadcast(&work.layout, shape)?;
        let mut k = Kernel::new(self, what.id);
        k.key(what.variant << 16 | lanes);
        k.words(&[rows as u32, n as u32, 0, 0]);
        let groups: &[&[usize]] = &[&kept, &axes];
        let mut srcs: SmallVec<[Src; 2]> = SmallVec::new();
        for s in sources {
            srcs.push(k.source(&GpuSource { shape, ..*s }, groups)?);
        }
        let target = k.operand(&GpuArg { layout: &layout, ..work.arg() }, groups, false)?;
        let op = what.op;
        k.launch(fold(rows.div_ceil(256 / lanes as usize) as u64), |names| {
            let mut io = format!("const LANES = {lanes}u;\n");
            for (i, s) in srcs.iter().enumerate() {
                io += &as_float(s, names, i);
            }
            io += &Operand::store_function(&target, names, "out").replace("g0: u32, g1: u32, v", "g0: u32, g1: u32, v");
            splice(TEMPLATE, &[("io", &io), ("op", &op)])
        })?;
        work.finish(self, out)
    }

    pub(crate) fn softmax(self: &Arc<Self>, source: &GpuSource, axis: usize, log: bool, out: &GpuArg) -> Result<()> {
        let write = if log { "s0(k, j) - s.x - rt_log_f32(s.y)" } else { "rt_exp_f32(s0(k, j) - s.x) / s.y" };
        let op = format!("{SOFTMAX_STATE}fn write(k: u32, j: u32, s: State) {{ out(k, j, {write}); }}\n");
        self.rows(RowOp { id: Id::Softmax, variant: log as u32, op }, &[*source], axis, out)
    }

    /// (g, y) -> gradient of x.
    pub(crate) fn softmax_grad(
        self: &Arc<Self>,
        sources: &[GpuSource],
        axis: usize,
        log: bool,
        out: &GpuArg,
    ) -> Result<()> {
        let (term, write) = if log {
            ("s0(k, j)", "s0(k, j) - rt_exp_f32(s1(k, j)) * s")
        } else {
            ("s0(k, j) * s1(k, j)", "(s0(k, j) - s) * s1(k, j)")
        };
        let op = format!(
            "{SUM_STATE}fn step(s: State, k: u32, j: u32) -> State {{ return s + {term}; }}\n\
             fn write(k: u32, j: u32, s: State) {{ out(k, j, {write}); }}\n"
        );
        self.rows(RowOp { id: Id::SoftmaxGrad, variant: log as u32, op }, sources, axis, out)
    }
}

/// A source as a function `s{i}` that answers f32.
fn as_float(s: &Src, names: &Names, i: usize) -> String {
    let raw = s.function(names, &format!("raw{i}"));
    let v = convert(&format!("raw{i}(k, j)"), s.ctype(), rtorch_ir::CType::F32);
    format!("{raw}fn s{i}(k: u32, j: u32) -> f32 {{ return {v}; }}\n")
}

const SUM_STATE: &str = "alias State = f32;
fn start() -> State { return 0.0; }
fn merge(a: State, b: State) -> State { return a + b; }
fn finish(k: u32, s: State) -> State { return s; }
fn note(k: u32, s: State) {}
";

/// The largest value so far and the sum of exp(value - largest), kept together in one pass.
const SOFTMAX_STATE: &str = "alias State = vec2<f32>;
fn start() -> State { return vec2<f32>(-3.4028234e38, 0.0); }
fn step(s: State, k: u32, j: u32) -> State {
let v = s0(k, j);
if (v > s.x) { return vec2<f32>(v, s.y * rt_exp_f32(s.x - v) + 1.0); }
return vec2<f32>(s.x, s.y + rt_exp_f32(v - s.x));
}
fn merge(a: State, b: State) -> State {
let m = max(a.x, b.x);
return vec2<f32>(m, a.y * rt_exp_f32(a.x - m) + b.y * rt_exp_f32(b.x - m));
}
fn finish(k: u32, s: State) -> State { return s; }
fn note(k: u32, s: State) {}
";
