//! Primitives on operands that exceed a binding: halved along a dim that the primitive treats element by element, until
//! every half fits. Which dims these are is one table here. Not here: pointwise programs, copies and plain reductions,
//! which run over windows by themselves (`map.rs`, `reduce.rs`).

use std::sync::Arc;

use rtorch_ir::{CType, Layout, Prim, Program, Result, ScalarOp, Shape};
use smallvec::{SmallVec, smallvec};

use crate::device::Device;
use crate::kernel::{broadcast, fits, uses_index};
use crate::work::{Work, word_dtype};
use crate::{GpuArg, GpuEpilogue, GpuSource};

/// What becomes of an output when the inputs are halved.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    /// Halved along a dim too.
    Dim(usize),
    /// The sum of what the halves give.
    Sum,
}

/// A way to halve a primitive: per input the dim, None where it stays whole.
struct Cut {
    ins: SmallVec<[Option<usize>; 6]>,
    outs: SmallVec<[Part; 3]>,
}

/// How a primitive may be halved along dim `d` of its first result (of its batch where results have none).
fn cut(prim: &Prim, d: usize, inputs: &[GpuSource], outs: &[GpuArg]) -> Option<Cut> {
    let everything =
        |d: usize| Cut { ins: smallvec![Some(d); inputs.len()], outs: smallvec![Part::Dim(d); outs.len()] };
    let first_only = |d: usize| {
        let mut c = everything(d);
        c.ins[1..].fill(None);
        c
    };
    let nd = inputs[0].shape.len();
    match prim {
        Prim::Softmax { axis, .. }
        | Prim::SoftmaxGrad { axis, .. }
        | Prim::Scan { axis, .. }
        | Prim::Sort { axis, .. }
        | Prim::TopK { axis, .. }
        | Prim::Gather { axis } => (d != *axis && d < nd).then(|| everything(d)),
        Prim::Scatter { axis, .. } => {
            let same = d < nd && inputs.iter().all(|s| s.shape.get(d) == inputs[0].shape.get(d));
            (d != *axis && same).then(|| everything(d))
        }
        Prim::IndexAdd { axis, .. } => (d != *axis && d < nd).then(|| {
            let mut c = everything(d);
            c.ins[1] = None;
            c
        }),
        Prim::IndexSelect { axis, .. } => Some(indexed(d, *axis, 1, inputs)),
        Prim::Index { n } => Some(indexed(d, 0, *n, inputs)),
        Prim::Extreme { axis, keepdim, .. } => kept(d, &[*axis], *keepdim, inputs, outs),
        Prim::VarMean { axes, keepdim, .. } => kept(d, axes, *keepdim, inputs, outs),
        Prim::MatMul { .. } => {
            let mut c = everything(d);
            if d + 2 == nd {
                c.ins[1] = None;
            } else if d + 1 == nd {
                c.ins[0] = None;
            }
            Some(c)
        }
        Prim::Conv { .. } | Prim::ConvGradInput { .. } => (d == 0).then(|| first_only(0)),
        Prim::ConvGradWeight { .. } => {
            (d == 0).then(|| Cut { ins: smallvec![Some(0), Some(0)], outs: smallvec![Part::Sum] })
        }
        Prim::MaxPool { .. }
        | Prim::MaxPoolGrad { .. }
        | Prim::AvgPool { .. }
        | Prim::AvgPoolGrad { .. }
        | Prim::AdaptiveAvgPool { .. }
        | Prim::AdaptiveAvgPoolGrad { .. }
        | Prim::AdaptiveMaxPool { .. }
        | Prim::Attention(_)
        | Prim::AttentionGrad(_) => (d < 2).then(|| everything(d)),
        Prim::LayerNorm { dims, .. } => (d + dims < nd).then(|| first_only(d)),
        Prim::LayerNormGrad { dims, .. } => (d + dims < nd).then(|| {
            let mut c = everything(d);
            c.ins[4..].fill(None);
            c.outs[1..].fill(Part::Sum);
            c
        }),
        Prim::Reduce { .. }
        | Prim::Cat { .. }
        | Prim::IndexPut { .. }
        | Prim::ScatterView { .. }
        | Prim::BatchNorm { .. }
        | Prim::BatchNormGrad { .. }
        | Prim::Nonzero
        | Prim::Linalg(_)
        | Prim::Fft { .. }
        | Prim::EmbeddingBag { .. }
        | Prim::CtcLoss(_)
        | Prim::CtcLossGrad(_)
        | Prim::GridSample(_)
        | Prim::GridSampleGrad(_)
        | Prim::Distance { .. }
        | Prim::DistanceGrad(_)
        | Prim::Resize { .. }
        | Prim::ResizeGrad { .. }
        | Prim::Special(_) => None,
    }
}

/// A cut of dim `d` of a result whose dims `axis..axis + n` of x were replaced by those of the indices.
fn indexed(d: usize, axis: usize, n: usize, inputs: &[GpuSource]) -> Cut {
    let k = inputs[1].shape.len();
    let of_index = d >= axis && d < axis + k;
    let mut ins: SmallVec<[Option<usize>; 6]> = smallvec![of_index.then(|| d - axis); inputs.len()];
    ins[0] = (!of_index).then(|| if d < axis { d } else { d - k + n });
    Cut { ins, outs: smallvec![Part::Dim(d)] }
}

/// A cut of a reduction's dim that is kept: `d` counts the operand's dims.
fn kept(d: usize, axes: &[usize], keepdim: bool, inputs: &[GpuSource], outs: &[GpuArg]) -> Option<Cut> {
    let whole = axes.contains(&d) || axes.is_empty() || d >= inputs[0].shape.len();
    let before = if keepdim { 0 } else { axes.iter().filter(|&&a| a < d).count() };
    (!whole).then(|| Cut { ins: smallvec![Some(d)], outs: smallvec![Part::Dim(d - before); outs.len()] })
}

/// The primitive for `n` elements along the cut dim, where it holds a shape.
fn resized(prim: &Prim, cut: &Cut, n: usize) -> Prim {
    let mut p = prim.clone();
    let resize = |shape: &mut Shape| {
        if let Part::Dim(d) = cut.outs[0] {
            shape[d] = n;
        }
    };
    match &mut p {
        Prim::ConvGradInput { input, .. }
        | Prim::MaxPoolGrad { input }
        | Prim::AvgPoolGrad { input, .. }
        | Prim::AdaptiveAvgPoolGrad { input } => resize(input),
        _ => {}
    }
    p
}

/// Elements along the cut dim.
fn length(cut: &Cut, inputs: &[GpuSource], outs: &[GpuArg]) -> usize {
    if let Part::Dim(d) = cut.outs[0] {
        return outs[0].layout.shape.get(d).copied().unwrap_or(1);
    }
    let first = cut.ins.iter().zip(inputs).find_map(|(d, s)| d.map(|d| (d, s)));
    first.map_or(1, |(d, s)| s.shape.get(d).copied().unwrap_or(1))
}

impl Device {
    /// Layouts of the operands, over their shapes, that do not fit a binding.
    fn too_large(&self, prim: &Prim, inputs: &[GpuSource], outs: &[GpuArg]) -> Result<SmallVec<[Layout; 2]>> {
        let mut list: SmallVec<[Layout; 2]> = SmallVec::new();
        for s in inputs {
            for leaf in s.leaves {
                let l = broadcast(leaf.layout, s.shape)?;
                if !fits(self, leaf.dtype, &l) {
                    list.push(l);
                }
            }
        }
        for o in outs {
            // smaller types are computed in whole words
            let words = Layout::contiguous(&o.layout.shape);
            if !fits(self, o.dtype, o.layout) || !fits(self, word_dtype(o.dtype), &words) {
                list.push(o.layout.clone());
            }
        }
        if let Prim::Sort { axis, .. } | Prim::TopK { axis, .. } = prim {
            // pairs of key and position, lines padded to powers of two
            let n = inputs[0].shape.get(*axis).copied().unwrap_or(1).max(1);
            let lines = inputs[0].shape.iter().product::<usize>() / n;
            let words = if inputs[0].program.ctype(inputs[0].program.outputs[0]) == CType::I64 { 3 } else { 2 };
            if (lines * n.next_power_of_two() * words * 4) as u64 > self.profile.binding {
                list.push(Layout::contiguous(inputs[0].shape));
            }
        }
        Ok(list)
    }

    /// Runs a primitive in halves where an operand exceeds a binding and there is a dim to halve; None where all fit,
    /// or nothing helps (the launch then says what does not fit).
    pub(crate) fn in_windows(
        self: &Arc<Self>,
        prim: &Prim,
        inputs: &[GpuSource],
        epilogue: Option<&GpuEpilogue>,
        outs: &[GpuArg],
    ) -> Option<Result<()>> {
        let large = match self.too_large(prim, inputs, outs) {
            Ok(l) if l.is_empty() => return None,
            Ok(l) => l,
            Err(e) => return Some(Err(e)),
        };
        if inputs.iter().any(|s| uses_index(s.program)) || epilogue.is_some_and(|e| uses_index(e.program)) {
            return None;
        }
        let dims = inputs[0].shape.len().max(outs[0].layout.ndim());
        let candidates = (0..dims).filter_map(|d| cut(prim, d, inputs, outs).map(|c| (d, c)));
        // the dim that reaches farthest in memory shrinks the operands most
        let reach = |d: usize| {
            let far = large.iter().map(|l| l.strides.get(d).map_or(0, |s| s.unsigned_abs()));
            far.max().unwrap_or(0)
        };
        let (_, best) = candidates.filter(|(_, c)| length(c, inputs, outs) > 1).max_by_key(|(d, _)| reach(*d))?;
        Some(self.halves(prim, &best, inputs, epilogue, outs))
    }

    fn halves(
        self: &Arc<Self>,
        prim: &Prim,
        cut: &Cut,
        inputs: &[GpuSource],
        epilogue: Option<&GpuEpilogue>,
        outs: &[GpuArg],
    ) -> Result<()> {
        let n = length(cut, inputs, outs);
        for (i, (from, to)) in [(0, n / 2), (n / 2, n)].into_iter().enumerate() {
            let shapes: SmallVec<[Shape; 6]> = inputs
                .iter()
                .zip(&cut.ins)
                .map(|(s, d)| {
                    let mut shape = Shape::from_slice(s.shape);
                    if let Some(d) = d {
                        shape[*d] = to - from;
                    }
                    shape
                })
                .collect();
            let layouts: Vec<Vec<Layout>> = inputs
                .iter()
                .zip(&cut.ins)
                .map(|(s, d)| s.leaves.iter().map(|l| sliced(l.layout, s.shape, *d, from, to)).collect())
                .collect::<Result<_>>()?;
            let leaves: Vec<Vec<GpuArg>> =
                inputs.iter().zip(&layouts).map(|(s, l)| with_layouts(s.leaves, l)).collect();
            let sources: SmallVec<[GpuSource; 6]> =
                (0..inputs.len()).map(|i| GpuSource { leaves: &leaves[i], shape: &shapes[i], ..inputs[i] }).collect();
            let sums = self.sums(cut, i, outs)?;
            let targets: SmallVec<[Layout; 3]> = outs
                .iter()
                .zip(&cut.outs)
                .map(|(o, part)| match part {
                    Part::Dim(d) => o.layout.slice(*d, from, to, 1),
                    Part::Sum => o.layout.clone(),
                })
                .collect();
            let args: SmallVec<[GpuArg; 3]> = (0..outs.len())
                .map(|i| match &sums[i] {
                    Some(w) => w.arg(),
                    None => GpuArg { layout: &targets[i], ..outs[i] },
                })
                .collect();
            let tail_layouts: Vec<Layout> = match (epilogue, cut.outs[0]) {
                (Some(e), Part::Dim(d)) => {
                    let shape = &outs[0].layout.shape;
                    e.leaves.iter().map(|l| sliced(l.layout, shape, Some(d), from, to)).collect::<Result<_>>()?
                }
                _ => Vec::new(),
            };
            let tail_leaves = epilogue.map_or(Vec::new(), |e| with_layouts(e.leaves, &tail_layouts));
            let tail = epilogue.map(|e| GpuEpilogue { leaves: &tail_leaves, ..*e });
            self.run(&resized(prim, cut, to - from), &sources, tail.as_ref(), &args)?;
            for (o, sum) in outs.iter().zip(&sums) {
                let Some(w) = sum else { continue };
                let mut p = Program::new();
                let (a, b) = (p.load(o.dtype), p.load(o.dtype));
                let (a, b) = (p.cast(a, word_dtype(o.dtype)), p.cast(b, word_dtype(o.dtype)));
                let r = p.op(ScalarOp::Add, &[a, b]);
                let r = p.cast(r, o.dtype);
                p.outputs.push(r);
                self.map(&p, &o.layout.shape, &[*o, w.arg()], &[*o])?;
            }
        }
        Ok(())
    }

    /// Memory for what the second half adds to outputs that are sums.
    fn sums(self: &Arc<Self>, cut: &Cut, half: usize, outs: &[GpuArg]) -> Result<SmallVec<[Option<Work>; 3]>> {
        let one = |(o, part): (&GpuArg, &Part)| {
            if half == 1 && *part == Part::Sum {
                Work::temporary(self, o.dtype, &o.layout.shape).map(Some)
            } else {
                Ok(None)
            }
        };
        outs.iter().zip(&cut.outs).map(one).collect()
    }
}

/// A layout over a shape, its elements `from..to` along a dim.
fn sliced(l: &Layout, shape: &[usize], dim: Option<usize>, from: usize, to: usize) -> Result<Layout> {
    let l = broadcast(l, shape)?;
    Ok(dim.map_or(l.clone(), |d| l.slice(d, from, to, 1)))
}

fn with_layouts<'a>(args: &[GpuArg<'a>], layouts: &'a [Layout]) -> Vec<GpuArg<'a>> {
    args.iter().zip(layouts).map(|(a, layout)| GpuArg { layout, ..*a }).collect()
}
