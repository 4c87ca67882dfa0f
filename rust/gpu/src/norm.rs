//! Layer norm (one row kernel forward, one backward) and batch norm (reductions and pointwise programs), with their
//! gradients; sums over the batch are reductions with the terms as prologue. No shaders of their own.

use std::sync::Arc;

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Program, Result};
use smallvec::SmallVec;

use crate::access::word;
use crate::device::Device;
use crate::kernel::Id;
use crate::lanes::Field;
use crate::memory::Buffer;
use crate::reduce::Fold;
use crate::rows::Rows;
use crate::work::Work;
use crate::{GpuArg, GpuSource};

/// Leaves that a source may bring besides the six of a norm's own programs, under the portable profile's 8 buffers.
const ROOM: usize = 1;

/// A source that a norm reads: as it is, or materialised where its prologue has too many leaves.
struct Held<'a> {
    source: GpuSource<'a>,
    made: Option<(Buffer, Layout, Program)>,
}

impl<'a> Held<'a> {
    fn of(dev: &Arc<Device>, source: &GpuSource<'a>) -> Result<Held<'a>> {
        let made = if source.leaves.len() > ROOM {
            let (buffer, layout) = dev.materialise(source, source.dtype())?;
            Some((buffer, layout, Program::copy(source.dtype(), source.dtype())))
        } else {
            None
        };
        Ok(Held { source: *source, made })
    }
    fn leaves(&self) -> SmallVec<[GpuArg<'_>; 2]> {
        match &self.made {
            Some((buffer, layout, _)) => SmallVec::from_slice(&[GpuArg { buffer, dtype: self.source.dtype(), layout }]),
            None => SmallVec::from_slice(self.source.leaves),
        }
    }
    fn program(&self) -> &Program {
        self.made.as_ref().map_or(self.source.program, |m| &m.2)
    }
}

/// A program over several held sources and more leaves: `f` gets the values (f32) of the sources, then of the leaves.
fn joined(held: &[&Held], more: &[DType], f: impl FnOnce(&[Ex]) -> Ex) -> Program {
    let mut p = Program::new();
    let mut values: Vec<Ex> = Vec::new();
    for h in held {
        let inner = h.program();
        let leaves: Vec<u16> = inner.leaves.iter().map(|&d| p.load(d)).collect();
        let v = p.inline(inner, &leaves)[0];
        values.push(Ex(p.cast(v, DType::F32)));
    }
    for &d in more {
        let r = p.load(d);
        values.push(Ex(p.cast(r, DType::F32)));
    }
    let (mut p, out) = build(p, || f(&values));
    p.outputs.push(out.0);
    p
}

/// Which of the optional operands there are.
#[derive(Clone, Copy)]
pub(crate) struct Has {
    pub weight: bool,
    pub bias: bool,
    pub rms: bool,
}

impl Device {
    /// (x, weight, bias as present) -> y, mean, rstd over the last `dims` dims.
    pub(crate) fn layer_norm(
        self: &Arc<Self>,
        dims: usize,
        eps: f64,
        has: Has,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        let x = &inputs[0];
        let axes: SmallVec<[usize; 4]> = (x.shape.len() - dims..x.shape.len()).collect();
        let mut y = "(s0(k, j) - s.mean) * s.scale".to_string();
        if has.weight {
            y = format!("{y} * c0(j)");
        }
        if has.bias {
            y = format!("{y} + c{}(j)", has.weight as u32);
        }
        let (fold, mean) = if has.rms { (RMS_STATE, "0.0") } else { (VAR_STATE, "s.mean") };
        let op = format!(
            "{fold}fn note(k: u32, s: State) {{ note0(k, {mean}); note1(k, s.scale); }}\n\
             fn write(k: u32, j: u32, s: State) {{ out(k, j, {y}); }}\n"
        );
        let variant = (has.weight as u32) << 2 | (has.bias as u32) << 1 | has.rms as u32;
        self.rows(Rows {
            id: Id::LayerNorm,
            variant,
            axes: &axes,
            sources: &inputs[..1],
            columns: &inputs[1..],
            stats: &[],
            out: &outs[0],
            notes: &outs[1..3],
            extra: [(eps as f32).to_bits(), 0],
            op: op.replace("EPS", &format!("bitcast<f32>({})", word(2))),
            fields: &[Field::Words("s.n"), Field::Words("s.mean"), Field::Words("s.m2"), Field::Words("s.scale")],
        })
    }

    /// (g, x, mean, rstd, weight if present) -> gradients of x, weight, bias.
    pub(crate) fn layer_norm_grad(
        self: &Arc<Self>,
        dims: usize,
        weight: bool,
        rms: bool,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        let nd = inputs[1].shape.len();
        let axes: SmallVec<[usize; 4]> = (nd - dims..nd).collect();
        let g = if weight { "s0(k, j) * c0(j)" } else { "s0(k, j)" };
        let xhat = "(s1(k, j) - t0(k)) * t1(k)";
        let first = if rms { "0.0" } else { "s.x" };
        let op = format!(
            "alias State = vec2<f32>;\nfn start() -> State {{ return vec2<f32>(0.0, 0.0); }}\n\
             fn step(s: State, k: u32, j: u32) -> State {{ let h = {g}; return s + vec2<f32>(h, h * {xhat}); }}\n\
             fn merge(a: State, b: State) -> State {{ return a + b; }}\n\
             fn finish(k: u32, s: State) -> State {{ return s / f32({n}); }}\nfn note(k: u32, s: State) {{}}\n\
             fn write(k: u32, j: u32, s: State) {{ out(k, j, t1(k) * ({g} - {first} - {xhat} * s.y)); }}\n",
            n = word(1)
        );
        self.rows(Rows {
            id: Id::LayerNormGrad,
            variant: (weight as u32) << 1 | rms as u32,
            axes: &axes,
            sources: &inputs[..2],
            columns: &inputs[4..],
            stats: &inputs[2..4],
            out: &outs[0],
            notes: &[],
            extra: [0; 2],
            op,
            fields: &[Field::Words("s")],
        })?;
        // gradients of weight and bias: sums over the rows
        let (hg, hx) = (Held::of(self, &inputs[0])?, Held::of(self, &inputs[1])?);
        let (hm, hr) = (Held::of(self, &inputs[2])?, Held::of(self, &inputs[3])?);
        let rows: SmallVec<[usize; 4]> = (0..nd - dims).collect();
        let shape = inputs[1].shape;
        let p = joined(&[&hg, &hx, &hm, &hr], &[], |v| v[0] * (v[1] - v[2]) * v[3]);
        let leaves: Vec<GpuArg> = [hg.leaves(), hx.leaves(), hm.leaves(), hr.leaves()].concat();
        self.sum_into(&GpuSource { program: &p, leaves: &leaves, shape }, &rows, &outs[1])?;
        self.sum_into(&GpuSource { shape, ..inputs[0] }, &rows, &outs[2])
    }

    /// A sum in f32 over some dims into any float output.
    fn sum_into(self: &Arc<Self>, s: &GpuSource, axes: &[usize], out: &GpuArg) -> Result<()> {
        let axes = rtorch_ir::prim::Axes::from_slice(axes);
        self.reduce(rtorch_ir::prim::ReduceOp::Sum, &axes, s, out, DType::F32)
    }

    /// (x [n, c, ...], weight, bias as present) -> y, mean, biased variance over all but dim 1.
    pub(crate) fn batch_norm(
        self: &Arc<Self>,
        eps: f64,
        has: Has,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        let x = Held::of(self, &inputs[0])?;
        let shape = inputs[0].shape;
        let axes = all_but_channels(shape);
        let leaves = x.leaves();
        let mut p = x.program().clone();
        p.outputs[0] = p.cast(p.outputs[0], DType::F32);
        let source = GpuSource { program: &p, leaves: &leaves, shape };
        self.fold_two(Fold::Var, &axes, &source, &[outs[2], outs[1]], 0.0)?;
        let params: Result<SmallVec<[Held; 2]>> = inputs[1..].iter().map(|s| Held::of(self, s)).collect();
        let params = params?;
        let mut held: Vec<&Held> = vec![&x];
        held.extend(params.iter());
        let mut all: Vec<GpuArg> = held.iter().flat_map(|h| h.leaves()).collect();
        all.extend([outs[1], outs[2]]);
        let out = outs[0].dtype;
        let p = joined(&held, &[DType::F32, DType::F32], |v| {
            let n = v.len();
            let mut y = (v[0] - v[n - 2]) * ex::rsqrt(v[n - 1] + eps);
            if has.weight {
                y = y * v[1];
            }
            if has.bias {
                y = y + v[1 + has.weight as usize];
            }
            y.cast(out)
        });
        let layouts = channel_layouts(&all, shape, leaves.len())?;
        let args: Vec<GpuArg> = all.iter().zip(&layouts).map(|(a, l)| GpuArg { layout: l, ..*a }).collect();
        self.map(&p, shape, &args, &outs[..1])
    }

    /// (g, x, mean, variance, weight if present) -> gradients of x, weight, bias.
    pub(crate) fn batch_norm_grad(
        self: &Arc<Self>,
        eps: f64,
        weight: bool,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        let held: Result<SmallVec<[Held; 5]>> = inputs.iter().map(|s| Held::of(self, s)).collect();
        let held = held?;
        let shape = inputs[1].shape;
        let axes = all_but_channels(shape);
        let refs: Vec<&Held> = held.iter().collect();
        let wide = held[0].leaves().len() + held[1].leaves().len();
        let leaves: Vec<GpuArg> = held.iter().flat_map(|h| h.leaves()).collect();
        let layouts = channel_layouts(&leaves, shape, wide)?;
        let leaves: Vec<GpuArg> = leaves.iter().zip(&layouts).map(|(a, l)| GpuArg { layout: l, ..*a }).collect();
        let four = leaves.len() - if weight { held[4].leaves().len() } else { 0 };
        // sums over the channel of g * xhat and of g, kept in f32 for the gradient of x
        let c = shape[1];
        let sums = [Work::temporary(self, DType::F32, &[c])?, Work::temporary(self, DType::F32, &[c])?];
        let p = joined(&refs[..4], &[], |v| v[0] * ((v[1] - v[2]) * ex::rsqrt(v[3] + eps)));
        self.sum_into(&GpuSource { program: &p, leaves: &leaves[..four], shape }, &axes, &sums[0].arg())?;
        self.sum_into(&GpuSource { shape, ..inputs[0] }, &axes, &sums[1].arg())?;
        self.copy_elements(&sums[0].arg(), &outs[1])?;
        self.copy_elements(&sums[1].arg(), &outs[2])?;
        let count = shape.iter().product::<usize>() as f64 / c.max(1) as f64;
        let out = outs[0].dtype;
        let p = joined(&refs, &[DType::F32, DType::F32], |v| {
            let n = v.len();
            let rstd = ex::rsqrt(v[3] + eps);
            let per = v[0].lit(1.0 / count);
            let xhat = (v[1] - v[2]) * rstd;
            let mut dx = (v[0] - v[n - 1] * per - xhat * (v[n - 2] * per)) * rstd;
            if weight {
                dx = dx * v[4];
            }
            dx.cast(out)
        });
        let sum_args: Vec<GpuArg> = sums.iter().map(Work::arg).collect();
        let sum_layouts = channel_layouts(&sum_args, shape, 0)?;
        let mut all = leaves.clone();
        all.extend(sum_args.iter().zip(&sum_layouts).map(|(a, l)| GpuArg { layout: l, ..*a }));
        self.map(&p, shape, &all, &outs[..1])
    }
}

fn all_but_channels(shape: &[usize]) -> SmallVec<[usize; 5]> {
    (0..shape.len()).filter(|&d| d != 1).collect()
}

/// Layouts over the full shape: the first `wide` leaves have it (or broadcast to it), the others are per channel.
fn channel_layouts(leaves: &[GpuArg], shape: &[usize], wide: usize) -> Result<Vec<Layout>> {
    leaves
        .iter()
        .enumerate()
        .map(|(i, a)| {
            if i < wide {
                return crate::kernel::broadcast(a.layout, shape);
            }
            let mut l = Layout { offset: a.layout.offset, ..Layout::contiguous(shape) };
            for d in 0..shape.len() {
                l.strides[d] = if d == 1 { a.layout.strides.first().copied().unwrap_or(0) } else { 0 };
            }
            Ok(l)
        })
        .collect()
}

const VAR_STATE: &str = "struct State { n: f32, mean: f32, m2: f32, scale: f32 }
fn start() -> State { return State(0.0, 0.0, 0.0, 0.0); }
fn merge(a: State, b: State) -> State {
if (b.n == 0.0) { return a; }
let n = a.n + b.n;
let d = b.mean - a.mean;
let f = b.n / n;
return State(n, a.mean + d * f, a.m2 + b.m2 + d * d * a.n * f, 0.0);
}
fn step(s: State, k: u32, j: u32) -> State { return merge(s, State(1.0, s0(k, j), 0.0, 0.0)); }
fn finish(k: u32, s: State) -> State { return State(s.n, s.mean, s.m2, rt_rsqrt_f32(s.m2 / s.n + EPS)); }
";

const RMS_STATE: &str = "struct State { n: f32, mean: f32, m2: f32, scale: f32 }
fn start() -> State { return State(0.0, 0.0, 0.0, 0.0); }
fn merge(a: State, b: State) -> State { return State(a.n + b.n, 0.0, a.m2 + b.m2, 0.0); }
fn step(s: State, k: u32, j: u32) -> State { let v = s0(k, j); return State(s.n + 1.0, 0.0, s.m2 + v * v, 0.0); }
fn finish(k: u32, s: State) -> State { return State(s.n, 0.0, s.m2, rt_rsqrt_f32(s.m2 / s.n + EPS)); }
";
