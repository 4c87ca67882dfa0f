//! Attention and its gradient. Most sizes go to `flash.rs`, which makes no matrix of scores; few queries or very wide
//! rows come here: scores by tiled products, softmax with mask and scale as its prologue, and products again, over as
//! many heads at a time as the scores of fit a budget. Not here: the kernels these are made of.

use std::sync::Arc;

use rtorch_ir::prim::AttentionParams;
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Program, Result};
use smallvec::SmallVec;

use crate::device::Device;
use crate::flash::{self, Given};
use crate::gather::Plain;
use crate::matmul::swapped;
use crate::memory::Buffer;
use crate::work::Work;
use crate::{GpuArg, GpuSource};

/// Bytes of one matrix of scores at a time: more heads are taken in turns.
const SCORES: usize = 64 << 20;

/// Sizes of an attention: q [b, h, t, d], k [b, h, s, d], v [b, h, s, e].
struct Sizes {
    lead: usize,
    t: usize,
    s: usize,
}

/// What is masked: the user's mask and the causal one, over the scores' shape.
struct Masks {
    user: Option<(DType, Layout)>,
    causal: Option<(Buffer, Layout)>,
}

/// The operands with their leading dims as one (a copy only where strides do not allow it).
struct Heads {
    buffer: Buffer,
    dtype: DType,
    layout: Layout,
}

impl Heads {
    fn of(dev: &Arc<Device>, a: &GpuArg) -> Result<Heads> {
        let n = a.layout.ndim();
        let lead: usize = a.layout.shape[..n - 2].iter().product();
        let shape = [lead, a.layout.shape[n - 2], a.layout.shape[n - 1]];
        if let Some(layout) = a.layout.reshape(&shape) {
            return Ok(Heads { buffer: a.buffer.clone(), dtype: a.dtype, layout });
        }
        let layout = Layout::contiguous(&a.layout.shape);
        let buffer = dev.alloc(layout.numel() * a.dtype.size())?;
        dev.copy_elements(a, &GpuArg { buffer: &buffer, dtype: a.dtype, layout: &layout })?;
        Ok(Heads { buffer, dtype: a.dtype, layout: Layout::contiguous(&shape) })
    }
    /// Some of the heads.
    fn part(&self, from: usize, to: usize) -> Layout {
        self.layout.slice(0, from, to, 1)
    }
    fn arg<'a>(&'a self, layout: &'a Layout) -> GpuArg<'a> {
        GpuArg { buffer: &self.buffer, dtype: self.dtype, layout }
    }
}

impl Device {
    /// Position-wise: may query `i` see key `j`? j <= i, as a bool matrix.
    fn causal_mask(self: &Arc<Self>, t: usize, s: usize) -> Result<(Buffer, Layout)> {
        let layout = Layout::contiguous(&[1, t, s]);
        let buffer = self.alloc(t * s)?;
        let (mut p, out) = build(Program::new(), || {
            let i = Ex::index();
            let width = i.lit(s as f64);
            ex::le(ex::remainder(i, width), ex::trunc_divide(i, width))
        });
        p.outputs.push(out.0);
        self.map(&p, &layout.shape, &[], &[GpuArg { buffer: &buffer, dtype: DType::Bool, layout: &layout }])?;
        Ok((buffer, layout))
    }

    fn masks(self: &Arc<Self>, p: &AttentionParams, mask: Option<&GpuArg>, z: &Sizes, q: &GpuArg) -> Result<Masks> {
        let user = match mask {
            Some(m) => {
                let shape = [&q.layout.shape[..q.layout.ndim() - 2], &[z.t, z.s]].concat();
                Some((m.dtype, m.layout.broadcast_to(&shape)?))
            }
            None => None,
        };
        let causal = if p.causal { Some(self.causal_mask(z.t, z.s)?) } else { None };
        Ok(Masks { user, causal })
    }

    /// (q, k, v, mask) -> out, logsumexp of each row.
    pub(crate) fn attention(
        self: &Arc<Self>,
        p: &AttentionParams,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        if outs[0].layout.numel() == 0 {
            return Ok(());
        }
        let plain: Result<SmallVec<[Plain; 4]>> = inputs.iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let args: SmallVec<[GpuArg; 4]> = plain.iter().map(Plain::arg).collect();
        let z = sizes(&args[0], &args[1]);
        if let Some(given) = flash_sizes(&args[0], &args[1], &args[2], args.get(3)) {
            return self.flash(p, &given, outs);
        }
        let masks = self.masks(p, args.get(3), &z, &args[0])?;
        let (q, k, v) = (Heads::of(self, &args[0])?, Heads::of(self, &args[1])?, Heads::of(self, &args[2])?);
        let out = Work::contiguous(self, &outs[0])?;
        let lse = Work::contiguous(self, &outs[1])?;
        let e = v.layout.shape[2];
        let (out_heads, lse_heads) = (out.reshaped(&[z.lead, z.t, e]), lse.reshaped(&[z.lead, z.t, 1]));
        for (from, to) in turns(&z) {
            let scores = Work::temporary(self, DType::F32, &[to - from, z.t, z.s])?;
            let (ql, kl, vl) = (q.part(from, to), swapped(&k.part(from, to)), v.part(from, to));
            self.product(&q.arg(&ql), &k.arg(&kl), &scores.arg(), p.scale)?;
            let note = lse_heads.slice(0, from, to, 1);
            let note = GpuArg { layout: &note, ..lse.arg() };
            self.masked(&masks, args.get(3), &scores, from, |source| {
                self.softmax(source, 2, false, &scores.arg(), Some(&note))
            })?;
            let ol = out_heads.slice(0, from, to, 1);
            self.product(&scores.arg(), &v.arg(&vl), &GpuArg { layout: &ol, ..out.arg() }, 1.0)?;
        }
        out.finish(self, &outs[0])?;
        lse.finish(self, &outs[1])
    }

    /// Calls `f` with the scores as a source, masks applied.
    fn masked(
        self: &Arc<Self>,
        masks: &Masks,
        mask: Option<&GpuArg>,
        scores: &Work,
        from: usize,
        f: impl FnOnce(&GpuSource) -> Result<()>,
    ) -> Result<()> {
        let shape = scores.layout.shape.clone();
        let user = match (&masks.user, mask) {
            (Some((dtype, layout)), Some(m)) => Some((*dtype, self.mask_part(layout, m, from, shape[0])?)),
            _ => None,
        };
        let causal = masks.causal.as_ref().map(|(b, l)| Ok((b, l.broadcast_to(&shape)?))).transpose()?;
        let mut leaves: SmallVec<[GpuArg; 3]> = SmallVec::from_slice(&[scores.arg()]);
        if let Some((dtype, (buffer, layout))) = &user {
            leaves.push(GpuArg { buffer, dtype: *dtype, layout });
        }
        if let Some((buffer, layout)) = &causal {
            leaves.push(GpuArg { buffer, dtype: DType::Bool, layout });
        }
        let (mut p, out) = build(Program::new(), || {
            let mut x = Ex::leaf(DType::F32);
            let none = x.lit(f64::NEG_INFINITY);
            if let Some((dtype, _)) = &user {
                let m = Ex::leaf(*dtype);
                x = if *dtype == DType::Bool { ex::where_(m, x, none) } else { x + m.cast(DType::F32) };
            }
            if causal.is_some() {
                x = ex::where_(Ex::leaf(DType::Bool), x, none);
            }
            x
        });
        p.outputs.push(out.0);
        f(&GpuSource { program: &p, leaves: &leaves, shape: &shape })
    }

    /// The mask of some heads, its leading dims as one (copied where strides do not allow it).
    fn mask_part(
        self: &Arc<Self>,
        layout: &Layout,
        mask: &GpuArg,
        from: usize,
        count: usize,
    ) -> Result<(Buffer, Layout)> {
        let n = layout.ndim();
        let lead: usize = layout.shape[..n - 2].iter().product();
        let heads = Heads::of(self, &GpuArg { layout, ..*mask })?;
        let shape = [lead, layout.shape[n - 2], layout.shape[n - 1]];
        let all = heads.layout.broadcast_to(&shape)?;
        Ok((heads.buffer.clone(), all.slice(0, from, from + count, 1)))
    }

    /// (g, q, k, v, out, logsumexp, mask) -> gradients of q, k, v.
    pub(crate) fn attention_grad(
        self: &Arc<Self>,
        p: &AttentionParams,
        inputs: &[GpuSource],
        outs: &[GpuArg],
    ) -> Result<()> {
        if outs[0].layout.numel() == 0 {
            return Ok(());
        }
        let plain: Result<SmallVec<[Plain; 8]>> = inputs.iter().map(|s| Plain::of(self, s)).collect();
        let plain = plain?;
        let args: SmallVec<[GpuArg; 8]> = plain.iter().map(Plain::arg).collect();
        let z = sizes(&args[1], &args[2]);
        if let Some(given) = flash_sizes(&args[1], &args[2], &args[3], args.get(6)) {
            return self.flash_grad(p, &given, [args[0], args[4], args[5]], outs);
        }
        let masks = self.masks(p, args.get(6), &z, &args[1])?;
        let heads: Result<SmallVec<[Heads; 5]>> = args[..5].iter().map(|a| Heads::of(self, a)).collect();
        let heads = heads?;
        let lse = Heads::of(self, &GpuArg { layout: &args[5].layout.unsqueeze(args[5].layout.ndim()), ..args[5] })?;
        let works: Result<SmallVec<[Work; 3]>> = outs.iter().map(|o| Work::contiguous(self, o)).collect();
        let works = works?;
        let flat = |i: usize| works[i].reshaped(&heads[1 + i].layout.shape);
        let flats = [flat(0), flat(1), flat(2)];
        for (from, to) in turns(&z) {
            let parts: SmallVec<[Layout; 5]> = heads.iter().map(|h| h.part(from, to)).collect();
            let [g, q, k, v, o] = [0, 1, 2, 3, 4].map(|i| heads[i].arg(&parts[i]));
            let grads: [Layout; 3] = [0, 1, 2].map(|i| flats[i].slice(0, from, to, 1));
            let [dq, dk, dv] = [0, 1, 2].map(|i| GpuArg { layout: &grads[i], ..works[i].arg() });
            let shape = [to - from, z.t, z.s];
            let scores = Work::temporary(self, DType::F32, &shape)?;
            let kt = swapped(k.layout);
            self.product(&q, &GpuArg { layout: &kt, ..k }, &scores.arg(), p.scale)?;
            // p = exp(scores - logsumexp)
            let lse_part = lse.part(from, to).broadcast_to(&shape)?;
            self.masked(&masks, args.get(6), &scores, from, |s| {
                let mut prog = s.program.clone();
                let l = prog.load(DType::F32);
                let x = prog.outputs[0];
                // the sum of a query that sees nothing is no shift: its scores are all -inf, and exp gives 0
                let (mut prog, e) = build(prog, || {
                    let l = Ex(l);
                    ex::exp(Ex(x) - ex::where_(ex::isinf(l), l.lit(0.0), l))
                });
                prog.outputs[0] = e.0;
                let mut leaves: SmallVec<[GpuArg; 4]> = SmallVec::from_slice(s.leaves);
                leaves.push(lse.arg(&lse_part));
                self.map(&prog, &shape, &leaves, &[scores.arg()])
            })?;
            let pt = swapped(&scores.layout);
            self.product(&GpuArg { layout: &pt, ..scores.arg() }, &g, &dv, 1.0)?;
            let ds = Work::temporary(self, DType::F32, &shape)?;
            let vt = swapped(v.layout);
            self.product(&g, &GpuArg { layout: &vt, ..v }, &ds.arg(), 1.0)?;
            self.score_grad(&scores, &ds, &g, &o, p.scale)?;
            self.product(&ds.arg(), &k, &dq, 1.0)?;
            let dst = swapped(&ds.layout);
            self.product(&GpuArg { layout: &dst, ..ds.arg() }, &q, &dk, 1.0)?;
        }
        for (w, o) in works.iter().zip(outs) {
            w.finish(self, o)?;
        }
        Ok(())
    }

    /// ds = p * (dp - rowsum(g * out)) * scale, in place of dp.
    fn score_grad(self: &Arc<Self>, p: &Work, dp: &Work, g: &GpuArg, out: &GpuArg, scale: f64) -> Result<()> {
        let shape = p.layout.shape.clone();
        let (mut prog, y) =
            build(Program::new(), || Ex::leaf(g.dtype).cast(DType::F32) * Ex::leaf(out.dtype).cast(DType::F32));
        prog.outputs.push(y.0);
        let leaves = [*g, *out];
        let rows = Work::temporary(self, DType::F32, &[shape[0], shape[1], 1])?;
        let source = GpuSource { program: &prog, leaves: &leaves, shape: &g.layout.shape };
        let axes = rtorch_ir::prim::Axes::from_slice(&[2]);
        self.reduce(rtorch_ir::prim::ReduceOp::Sum, &axes, &source, &rows.arg(), DType::F32)?;
        let (mut prog, y) = build(Program::new(), || {
            let (p, dp, d) = (Ex::leaf(DType::F32), Ex::leaf(DType::F32), Ex::leaf(DType::F32));
            p * (dp - d) * scale
        });
        prog.outputs.push(y.0);
        let d = rows.layout.broadcast_to(&shape)?;
        self.map(&prog, &shape, &[p.arg(), dp.arg(), GpuArg { layout: &d, ..rows.arg() }], &[dp.arg()])
    }
}

/// The operands where `flash.rs` takes them.
fn flash_sizes<'a>(q: &GpuArg<'a>, k: &GpuArg<'a>, v: &GpuArg<'a>, mask: Option<&GpuArg<'a>>) -> Option<Given<'a>> {
    let four = [q, k, v].into_iter().chain(mask).all(|a| a.layout.ndim() == 4);
    let given = Given { q: *q, k: *k, v: *v, mask: mask.copied() };
    (four && flash::suits(q.layout.shape[2], q.layout.shape[3], v.layout.shape[3])).then_some(given)
}

fn sizes(q: &GpuArg, k: &GpuArg) -> Sizes {
    let n = q.layout.ndim();
    Sizes { lead: q.layout.shape[..n - 2].iter().product(), t: q.layout.shape[n - 2], s: k.layout.shape[n - 2] }
}

/// Ranges of heads whose scores fit the budget.
fn turns(z: &Sizes) -> impl Iterator<Item = (usize, usize)> + use<> {
    let step = (SCORES / (4 * z.t * z.s).max(1)).max(1);
    let lead = z.lead;
    (0..lead).step_by(step).map(move |i| (i, (i + step).min(lead)))
}
