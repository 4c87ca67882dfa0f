//! vmap: tensors with batch dimensions that their operators do not see. A batched tensor shows the layout of one
//! sample; how the samples lie in memory stands in `Parts::batch`. So views need no rule at all, pointwise programs
//! run over the whole batch, and primitives have a rule each (`rules`): nothing here knows an operator by name. The
//! graph records the operator as one sample sees it, and its derivative runs batched in the same way.

pub mod rules;
mod state;

use std::sync::Arc;

use rtorch_ir::shape::broadcast;
use rtorch_ir::{Error, Layout, Prim, Result, Shape, ensure};
use smallvec::{SmallVec, smallvec};

pub use state::{Randomness, active, enter, exit, randomness, used};

use crate::autograd::{mode, record};
use crate::defer::{self, Operand};
use crate::dispatch;
use crate::kernel::Kernel;
use crate::ops;
use crate::tensor::{Parts, Tensor};
use crate::view::ViewOp;

/// One batch dimension: which vmap it belongs to (later ones are inner), and how its samples lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Axis {
    pub level: u64,
    pub size: usize,
    pub stride: isize,
}

/// The batch dimensions of a tensor, outer first; None for nearly every tensor.
pub type Batch = Option<Arc<[Axis]>>;

pub type Axes = SmallVec<[Axis; 2]>;

fn axes(t: &Tensor) -> Axes {
    t.with(|p| p.batch.as_deref().map_or_else(Axes::new, Axes::from_slice))
}

fn stored(axes: Axes) -> Batch {
    if axes.is_empty() { None } else { Some(axes.as_slice().into()) }
}

pub fn is_batched(t: &Tensor) -> bool {
    state::used() && t.with(|p| p.batch.is_some())
}

/// The levels of a tensor, for the graph.
pub fn levels(t: &Tensor) -> Option<Arc<[u64]>> {
    if !state::used() {
        return None;
    }
    t.with(|p| p.batch.as_ref().map(|b| b.iter().map(|a| a.level).collect()))
}

#[inline]
pub fn any(ts: &[&Tensor]) -> bool {
    state::used() && ts.iter().any(|t| t.with(|p| p.batch.is_some()))
}

/// The refusal of what needs the bytes of one sample.
pub fn refuse(t: &Tensor, what: &str) -> Result<()> {
    ensure!(
        !is_batched(t),
        runtime,
        "vmap: It looks like you're calling {what} on a Tensor. We don't support vmap over calling {what} on a Tensor, \
         please try to rewrite what you're doing with other operations."
    );
    Ok(())
}

/// All batch dimensions that occur, outer first.
fn union(ts: &[&Tensor]) -> Axes {
    let mut all = Axes::new();
    for t in ts {
        for a in axes(t) {
            if !all.iter().any(|b| b.level == a.level) {
                all.push(a);
            }
        }
    }
    all.sort_by_key(|a| a.level);
    all
}

/// The layout over batch dimensions `all`, then ones up to `rank`, then the tensor's own dimensions.
fn spread(p: &Parts, all: &[Axis], rank: usize) -> Layout {
    let own = p.batch.as_deref().unwrap_or(&[]);
    let mut l = Layout { shape: Shape::new(), strides: SmallVec::new(), offset: p.layout.offset };
    for a in all {
        l.shape.push(a.size);
        l.strides.push(own.iter().find(|b| b.level == a.level).map_or(0, |b| b.stride));
    }
    for _ in p.layout.ndim()..rank {
        l.shape.push(1);
        l.strides.push(0);
    }
    l.shape.extend_from_slice(&p.layout.shape);
    l.strides.extend_from_slice(&p.layout.strides);
    l
}

/// The batch dimensions of a view, whose elements may be of another size.
pub fn in_elements(batch: &Batch, dtype: rtorch_ir::DType, op: &ViewOp) -> Batch {
    let b = batch.as_deref()?;
    let (from, to) = (dtype.size() as isize, op.dtype(dtype).size() as isize);
    if from == to {
        return batch.clone();
    }
    Some(b.iter().map(|a| Axis { stride: a.stride * from / to, ..*a }).collect())
}

/// Where all samples of a tensor lie.
pub fn whole(p: &Parts) -> Layout {
    match &p.batch {
        None => p.layout.clone(),
        Some(b) => spread(p, b, p.layout.ndim()),
    }
}

fn operand(t: &Tensor, all: &[Axis], rank: usize) -> Operand {
    t.with(|p| Operand { value: p.storage.value(), layout: spread(p, all, rank), dtype: p.dtype })
}

/// Operands of a write to `target`, over all its samples.
pub fn operands_for(target: &Tensor, inputs: &[&Tensor]) -> Result<SmallVec<[Operand; 3]>> {
    let (own, rank) = (axes(target), target.ndim());
    for a in union(inputs) {
        ensure!(
            own.iter().any(|b| b.level == a.level),
            runtime,
            "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in \
             extra_args that has more elements than `self`. This happened due to `other` being vmapped over but `self` \
             not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace arithmetic. \
             If said operator is being called inside the PyTorch framework, please file a bug report instead."
        );
    }
    Ok(inputs.iter().map(|t| operand(t, &own, rank)).collect())
}

/// A tensor of fresh memory laid out as `l`, whose first dimensions are the batch dimensions `all`.
fn adopt(
    value: crate::storage::Value,
    l: Layout,
    all: &[Axis],
    like: (rtorch_ir::DType, crate::device::Device),
) -> Tensor {
    let t = Tensor::from_value(value, l, like.0, like.1);
    let p = t.parts();
    let k = all.len();
    let batch = (0..k).map(|i| Axis { level: all[i].level, size: p.layout.shape[i], stride: p.layout.strides[i] });
    let batch = stored(batch.collect());
    let layout = Layout {
        shape: Shape::from_slice(&p.layout.shape[k..]),
        strides: SmallVec::from_slice(&p.layout.strides[k..]),
        offset: p.layout.offset,
    };
    Tensor::from_parts(Parts { layout, batch, ..p })
}

/// A pointwise op over the whole batch.
pub fn map(name: &'static str, kernel: &Arc<Kernel>, inputs: &[&Tensor]) -> Result<Tensor> {
    let device = dispatch::same_device(inputs)?;
    let mut shape = Shape::new();
    for t in inputs {
        shape = broadcast(&shape, &t.shape())?;
    }
    let all = union(inputs);
    let operands: SmallVec<[Operand; 3]> = inputs.iter().map(|t| operand(t, &all, shape.len())).collect();
    let layout = dispatch::map_layout(&operands.iter().map(|o| &o.layout).collect::<SmallVec<[&Layout; 4]>>())?;
    let value = defer::map(kernel, operands, layout.clone(), device)?;
    let out = adopt(value, layout, &all, (kernel.dtype(), device));
    record::record_map(name, kernel, inputs, &out)?;
    Ok(out)
}

/// A pointwise op of one operand, each sample in a given memory order.
pub fn map_with_layout(name: &'static str, kernel: &Arc<Kernel>, x: &Tensor, layout: Layout) -> Result<Tensor> {
    let all = axes(x);
    let mut l = layout;
    let mut stride = l.numel().max(1) as isize;
    for a in all.iter().rev() {
        l.shape.insert(0, a.size);
        l.strides.insert(0, stride);
        stride *= a.size.max(1) as isize;
    }
    let value = defer::map(kernel, smallvec![operand(x, &all, x.ndim())], l.clone(), x.device())?;
    let out = adopt(value, l, &all, (kernel.dtype(), x.device()));
    record::record_map(name, kernel, &[x], &out)?;
    Ok(out)
}

/// A primitive over the whole batch, by its rule for the innermost batch dimension.
pub fn prim(name: &'static str, p: &Prim, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 3]>> {
    dispatch::same_device(inputs)?;
    let all = union(inputs);
    let Some(axis) = all.last() else { return Err(Error::runtime("vmap: no batch dimension")) };
    let outs = {
        let _off = mode::Guard::new(false);
        let ins: Vec<rules::In> = inputs
            .iter()
            .map(|t| match front(&t.detach(), axis.level) {
                // one sample for all
                Some(f) if f.with(|p| p.layout.strides[0]) == 0 => {
                    Ok(rules::In { t: ops::shape::select(&f, 0, 0)?, batched: false })
                }
                Some(t) => Ok(rules::In { t, batched: true }),
                None => Ok(rules::In { t: t.detach(), batched: false }),
            })
            .collect::<Result<_>>()?;
        let made = rules::apply(p, &ins, axis.size)?;
        let made: Result<SmallVec<[Tensor; 3]>> = made.into_iter().map(|t| back(&t, axis.level)).collect();
        made?
    };
    record::record_prim(name, p, inputs, &outs)?;
    Ok(outs)
}

/// The tensor with its dimension `level` shown first, outside of the graph; None where it has none.
fn front(t: &Tensor, level: u64) -> Option<Tensor> {
    let p = t.parts();
    let own = p.batch.as_deref()?;
    let a = own.iter().find(|a| a.level == level)?;
    let mut layout = p.layout.clone();
    layout.shape.insert(0, a.size);
    layout.strides.insert(0, a.stride);
    let batch = stored(own.iter().filter(|a| a.level != level).copied().collect());
    Some(Tensor::from_parts(Parts { layout, batch, ..p }))
}

/// The tensor with its first dimension hidden as `level`, outside of the graph.
fn back(t: &Tensor, level: u64) -> Result<Tensor> {
    let p = t.parts();
    ensure!(p.layout.ndim() > 0, runtime, "vmap: a tensor without dimensions has none to map over");
    let mut layout = p.layout.clone();
    let axis = Axis { level, size: layout.shape.remove(0), stride: layout.strides.remove(0) };
    let mut all = p.batch.as_deref().map_or_else(Axes::new, Axes::from_slice);
    all.push(axis);
    all.sort_by_key(|a| a.level);
    Ok(Tensor::from_parts(Parts { layout, batch: stored(all), ..p }))
}

// ---- in and out of a batch, for the graph

/// `t` with its first dimension as the batch dimension of a vmap.
pub fn wrap(t: &Tensor, level: u64) -> Result<Tensor> {
    let out = back(t, level)?;
    let size = t.size(0);
    ops::nn::rule::record("BatchBackward0", &[t], &[&out], &[], move |b| {
        let g = b.grad(0)?;
        Ok(vec![Some(peel(&g, level, size)?)])
    })?;
    Ok(out)
}

/// The way back: the batch dimension first; samples that are all the same are expanded.
pub fn peel(t: &Tensor, level: u64, size: usize) -> Result<Tensor> {
    let Some(out) = front(t, level) else {
        let mut shape = t.shape();
        shape.insert(0, size);
        return ops::shape::expand_to(&ops::shape::unsqueeze(t, 0)?, &shape);
    };
    ops::nn::rule::record("UnbatchBackward0", &[t], &[&out], &[], move |b| Ok(vec![Some(wrap(&b.grad(0)?, level)?)]))?;
    Ok(out)
}

/// The tensor as a sample of every vmap that is running, so that what is derived from it is a sample's own.
pub fn lift(t: &Tensor) -> Result<Tensor> {
    let own = axes(t);
    let mut out = t.clone();
    for (level, size) in active() {
        if !own.iter().any(|a| a.level == level) {
            out = wrap(&peel(&out, level, size)?, level)?;
        }
    }
    Ok(out)
}

/// The sum over batch dimensions that the operator of a node had and one of its inputs had not.
pub fn sum_foreign(g: &Tensor, outputs: &[u64], input: Option<&[u64]>) -> Result<Tensor> {
    let mut g = g.clone();
    for a in axes(&g) {
        if outputs.contains(&a.level) && !input.is_some_and(|i| i.contains(&a.level)) {
            g = ops::reduce::sum(&peel(&g, a.level, a.size)?, &[0], false, None)?;
        }
    }
    Ok(g)
}

/// Gives a tensor the contents of `made`, whose first dimensions are the running vmaps where it has more than `t`.
pub fn put(t: &Tensor, made: &Tensor) -> Result<()> {
    let mut full = made.clone();
    if made.ndim() > t.ndim() {
        for (level, _) in active() {
            full = back(&full, level)?;
        }
    }
    let own = axes(t);
    if axes(&full).iter().all(|a| own.iter().any(|b| b.level == a.level)) {
        return crate::inplace::copy_(t, &full);
    }
    ensure!(
        t.use_count() == 1,
        runtime,
        "vmap: Cannot ask for different inplace randomness on an unbatched tensor. If this is necessary for your \
         usage, please file an issue with functorch."
    );
    t.set_parts(full.parts());
    Ok(())
}

/// A copy of `t`, just made and known to nobody, with memory of its own for each sample of `like`.
pub fn cover(t: Tensor, like: &[&Tensor]) -> Result<Tensor> {
    if !any(like) {
        return Ok(t);
    }
    let own = axes(&t);
    let mut out = t;
    for a in union(like) {
        if !own.iter().any(|b| b.level == a.level) {
            let full = peel(&out, a.level, a.size)?;
            out = wrap(&ops::shape::clone_contiguous(&full)?, a.level)?;
        }
    }
    Ok(out)
}
