//! Kernels that fold a row and then write its elements: softmax, layer norm and their gradients. Prologues are
//! evaluated as elements are read. Shader: `rows.wgsl`. Not here: plain reductions (`reduce.rs`), norms made of those
//! (`norm.rs`).

use std::sync::Arc;

use rtorch_ir::{CType, Result};
use smallvec::SmallVec;

use crate::device::Device;
use crate::emit::convert;
use crate::kernel::{Id, Kernel, Names, Operand, Src, broadcast, fold, splice};
use crate::lanes::{self, Field, moved};
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

/// One kernel over rows. Its operands become WGSL functions of the row `k` and the element `j`.
pub(crate) struct Rows<'a> {
    pub id: Id,
    /// What else the text depends on.
    pub variant: u32,
    /// The dims of a row.
    pub axes: &'a [usize],
    /// `s0(k, j)`, ...: of the full shape.
    pub sources: &'a [GpuSource<'a>],
    /// `c0(j)`, ...: of a row's shape.
    pub columns: &'a [GpuSource<'a>],
    /// `t0(k)`, ...: one value per row, the row's dims kept as 1 (or left out).
    pub stats: &'a [GpuSource<'a>],
    /// `out(k, j, v)`: of the full shape.
    pub out: &'a GpuArg<'a>,
    /// `note0(k, v)`, ...: f32, one value per row.
    pub notes: &'a [GpuArg<'a>],
    /// `w[0].z` and `w[0].w`.
    pub extra: [u32; 2],
    /// The state and what is done with it.
    pub op: String,
    /// The state's fields, as `lanes.rs` moves them.
    pub fields: &'a [Field],
}

/// A source as a function that answers f32.
fn as_float(s: &Src, names: &Names, name: &str, args: &[&str]) -> String {
    let list: Vec<String> = args.iter().map(|a| format!("{a}: u32")).collect();
    let v = convert(&format!("raw_{name}({})", args.join(", ")), s.ctype(), CType::F32);
    let raw = s.function(names, &format!("raw_{name}"));
    format!("{raw}fn {name}({}) -> f32 {{ return {v}; }}\n", list.join(", "))
}

impl Device {
    pub(crate) fn rows(self: &Arc<Self>, r: Rows) -> Result<()> {
        let shape = r.sources[0].shape;
        if shape.contains(&0) {
            return Ok(());
        }
        let kept: SmallVec<[usize; 5]> = (0..shape.len()).filter(|d| !r.axes.contains(d)).collect();
        let n: usize = r.axes.iter().map(|&d| shape[d]).product();
        let rows = shape.iter().product::<usize>() / n;
        let lanes = lanes(n);
        let work = Work::of(self, r.out)?;
        let mut k = Kernel::new(self, r.id);
        k.key(r.variant << 16 | lanes);
        k.words(&[rows as u32, n as u32, r.extra[0], r.extra[1]]);
        let groups: &[&[usize]] = &[&kept, r.axes];
        let mut sources: SmallVec<[Src; 3]> = SmallVec::new();
        for s in r.sources {
            sources.push(k.source(s, groups)?);
        }
        let mut columns: SmallVec<[Src; 2]> = SmallVec::new();
        for s in r.columns {
            let dims: SmallVec<[usize; 4]> = (0..s.shape.len()).collect();
            columns.push(k.source(s, &[&dims])?);
        }
        let mut stats: SmallVec<[Src; 2]> = SmallVec::new();
        for s in r.stats {
            stats.push(k.source(s, &[&kept[..kept.len().min(s.shape.len())]])?);
        }
        let layout = broadcast(&work.layout, shape)?;
        let target = k.operand(&GpuArg { layout: &layout, ..work.arg() }, groups, false)?;
        let mut notes: SmallVec<[Operand; 2]> = SmallVec::new();
        for a in r.notes {
            notes.push(k.operand(a, &[&kept[..kept.len().min(a.layout.ndim())]], false)?);
        }
        let op = r.op;
        k.launch(fold(rows.div_ceil(256 / lanes as usize) as u64), |names| {
            let mut io = format!("const LANES = {lanes}u;\n");
            for (i, s) in sources.iter().enumerate() {
                io += &as_float(s, names, &format!("s{i}"), &["g0", "g1"]);
            }
            for (i, s) in columns.iter().enumerate() {
                io += &as_float(s, names, &format!("c{i}"), &["g0"]);
            }
            for (i, s) in stats.iter().enumerate() {
                io += &as_float(s, names, &format!("t{i}"), &["g0"]);
            }
            io += &target.store_function(names, "out");
            for (i, a) in notes.iter().enumerate() {
                io += &a.store_function(names, &format!("note{i}"));
            }
            match lanes::text(self, &moved(r.fields)) {
                Some(l) => splice(TEMPLATE, &[("io", &io), ("op", &op), ("lanes", &l)]),
                None => splice(TEMPLATE, &[("io", &io), ("op", &op)]),
            }
        })?;
        work.finish(self, r.out)
    }

    /// Softmax along an axis; `lse`, where given, gets the logarithm of each row's sum of exponentials.
    pub(crate) fn softmax(
        self: &Arc<Self>,
        source: &GpuSource,
        axis: usize,
        log: bool,
        out: &GpuArg,
        lse: Option<&GpuArg>,
    ) -> Result<()> {
        let write = match (log, lse) {
            (true, _) => "s0(k, j) - s.x - rt_log_f32(s.y)",
            (false, None) => "rt_exp_f32(s0(k, j) - s.x) / s.y",
            // of attention: a query that sees no key gives zeros
            (false, Some(_)) => "select(rt_exp_f32(s0(k, j) - s.x) / s.y, 0.0, s.y == 0.0)",
        };
        let note = "note0(k, select(s.x + rt_log_f32(s.y), -rt_inf(), s.y == 0.0));";
        let note = if lse.is_some() { note } else { "" };
        let op = format!(
            "{SOFTMAX_STATE}fn note(k: u32, s: State) {{ {note} }}\n\
             fn write(k: u32, j: u32, s: State) {{ out(k, j, {write}); }}\n"
        );
        let notes: SmallVec<[GpuArg; 1]> = lse.iter().map(|a| **a).collect();
        let variant = (log as u32) << 1 | lse.is_some() as u32;
        let sources = [scalar_as_row(source)];
        let axes: &[usize] = &[axis];
        self.rows(Rows {
            id: Id::Softmax,
            variant,
            axes,
            sources: &sources,
            columns: &[],
            stats: &[],
            out,
            notes: &notes,
            extra: [0; 2],
            op,
            fields: &[Field::Words("s")],
        })
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
        let sources = [scalar_as_row(&sources[0]), scalar_as_row(&sources[1])];
        self.rows(Rows {
            id: Id::SoftmaxGrad,
            variant: log as u32,
            axes: &[axis],
            sources: &sources,
            columns: &[],
            stats: &[],
            out,
            notes: &[],
            extra: [0; 2],
            op,
            fields: &[Field::Words("s")],
        })
    }
}

/// A scalar has one row of one element.
fn scalar_as_row<'a>(s: &GpuSource<'a>) -> GpuSource<'a> {
    if s.shape.is_empty() { GpuSource { shape: &[1], ..*s } } else { *s }
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
";
