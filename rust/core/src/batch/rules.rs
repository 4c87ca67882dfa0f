//! One rule per primitive: the same primitive (or another) over an extra first dimension. What has no rule of its own
//! runs sample by sample (`each`), which is always right.

use rtorch_ir::prim::{Axes, ConvParams, ReduceOp, ScatterOp};
use rtorch_ir::{DType, Error, Layout, Prim, Result, Shape};
use smallvec::{SmallVec, smallvec};

use crate::dispatch::{prim, prim1};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

/// An operand: with the batch dimension first, or one for all samples.
pub struct In {
    pub t: Tensor,
    pub batched: bool,
}

type Outs = SmallVec<[Tensor; 3]>;

impl In {
    /// With the batch dimension first.
    fn full(&self, n: usize) -> Result<Tensor> {
        if self.batched {
            return Ok(self.t.clone());
        }
        let mut s = self.t.shape();
        s.insert(0, n);
        shape::expand_to(&shape::unsqueeze(&self.t, 0)?, &s)
    }
    /// One sample.
    fn at(&self, i: usize) -> Result<Tensor> {
        if self.batched { shape::select(&self.t, 0, i as i64) } else { Ok(self.t.clone()) }
    }
}

fn all(x: &[In], n: usize) -> Result<Vec<Tensor>> {
    x.iter().map(|i| i.full(n)).collect()
}

/// The primitive with the batch as one more leading dimension.
fn leading(p: Prim, x: &[In], n: usize) -> Result<Outs> {
    let full = all(x, n)?;
    let refs: SmallVec<[&Tensor; 4]> = full.iter().collect();
    prim("", p, &refs)
}

/// Sample by sample.
fn each(p: &Prim, x: &[In], n: usize) -> Result<Outs> {
    if n == 0 {
        return Err(Error::runtime("vmap: a batch of no samples"));
    }
    let mut columns: Vec<Vec<Tensor>> = Vec::new();
    for i in 0..n {
        let one: Vec<Tensor> = x.iter().map(|a| a.at(i)).collect::<Result<_>>()?;
        let refs: SmallVec<[&Tensor; 4]> = one.iter().collect();
        for (k, t) in prim("", p.clone(), &refs)?.into_iter().enumerate() {
            if columns.len() <= k {
                columns.push(Vec::with_capacity(n));
            }
            columns[k].push(t);
        }
    }
    columns.iter().map(|c| shape::stack(c, 0)).collect()
}

fn shifted(axes: &Axes) -> Axes {
    axes.iter().map(|a| a + 1).collect()
}

/// (B, n, ...) as (B * n, ...).
fn folded(t: &Tensor) -> Result<Tensor> {
    let s = t.shape();
    let mut f: Shape = smallvec![s[0] * s[1]];
    f.extend_from_slice(&s[2..]);
    shape::reshape_to(t, f)
}

/// The way back.
fn unfolded(t: &Tensor, n: usize) -> Result<Tensor> {
    let s = t.shape();
    let mut f: Shape = smallvec![n, s[0] / n.max(1)];
    f.extend_from_slice(&s[1..]);
    shape::reshape_to(t, f)
}

/// The batch as part of the first dimension of every operand and result.
fn in_first(p: Prim, x: &[In], n: usize) -> Result<Outs> {
    let flat: Vec<Tensor> = x.iter().map(|a| folded(&a.full(n)?)).collect::<Result<_>>()?;
    let refs: SmallVec<[&Tensor; 4]> = flat.iter().collect();
    prim("", p, &refs)?.iter().map(|t| unfolded(t, n)).collect()
}

/// (B, n, c, ...) as (n, B * c, ...): the batch as part of the channels.
fn to_channels(t: &Tensor) -> Result<Tensor> {
    let mut order: Vec<usize> = (0..t.ndim()).collect();
    order.swap(0, 1);
    let s = t.shape();
    let mut f: Shape = smallvec![s[1], s[0] * s[2]];
    f.extend_from_slice(&s[3..]);
    shape::reshape_to(&shape::permute_raw(t, &order)?, f)
}

fn from_channels(t: &Tensor, n: usize) -> Result<Tensor> {
    let s = t.shape();
    let mut f: Shape = smallvec![s[0], n, s[1] / n.max(1)];
    f.extend_from_slice(&s[2..]);
    let wide = shape::reshape_to(t, f)?;
    let mut order: Vec<usize> = (0..wide.ndim()).collect();
    order.swap(0, 1);
    shape::permute_raw(&wide, &order)
}

/// 0, 1, ... along the batch, in the shape (B, 1, ...) expanded to `s`.
fn samples(s: &[usize], like: &Tensor) -> Result<Tensor> {
    let end = rtorch_ir::Scalar::Int(s[0] as i64);
    let (zero, one) = (rtorch_ir::Scalar::Int(0), rtorch_ir::Scalar::Int(1));
    let row = ops::factory::arange(zero, end, one, DType::I64, like.device())?;
    let mut thin = Shape::from_elem(1, s.len());
    thin[0] = s[0];
    shape::expand_to(&shape::reshape_to(&row, thin)?, s)
}

pub fn apply(p: &Prim, x: &[In], n: usize) -> Result<Outs> {
    if x.iter().all(|i| !i.batched) {
        // all samples are the same: computed once
        let refs: SmallVec<[&Tensor; 4]> = x.iter().map(|i| &i.t).collect();
        return prim("", p.clone(), &refs)?.into_iter().map(|t| In { t, batched: false }.full(n)).collect();
    }
    match p {
        Prim::Reduce { op, axes, keepdim, dtype } => {
            let flat = matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) && axes.len() != 1;
            if flat {
                return each(p, x, n);
            }
            leading(Prim::Reduce { op: *op, axes: shifted(axes), keepdim: *keepdim, dtype: *dtype }, x, n)
        }
        Prim::Extreme { largest, axis, keepdim } => {
            leading(Prim::Extreme { largest: *largest, axis: axis + 1, keepdim: *keepdim }, x, n)
        }
        Prim::VarMean { axes, keepdim, correction } => {
            leading(Prim::VarMean { axes: shifted(axes), keepdim: *keepdim, correction: *correction }, x, n)
        }
        Prim::Scan { op, axis } => leading(Prim::Scan { op: *op, axis: axis + 1 }, x, n),
        Prim::MatMul { bias, .. } => matmul(p, x, n, *bias),
        Prim::Conv { params, bias } => conv(p, x, n, params, *bias),
        Prim::ConvGradInput { params, input } => conv_grad_input(x, n, params, input),
        Prim::ConvGradWeight { params, weight } => conv_grad_weight(x, n, params, weight),
        Prim::MaxPool { .. }
        | Prim::AvgPool { .. }
        | Prim::AdaptiveAvgPool { .. }
        | Prim::AdaptiveMaxPool { .. }
        | Prim::GridSample(_)
        | Prim::GridSampleGrad(_)
        | Prim::Distance { .. }
        | Prim::DistanceGrad(_)
        | Prim::Resize { .. } => in_first(p.clone(), x, n),
        Prim::ResizeGrad { params, input } => {
            in_first(Prim::ResizeGrad { params: params.clone(), input: many(input, n) }, x, n)
        }
        Prim::MaxPoolGrad { input } => in_first(Prim::MaxPoolGrad { input: many(input, n) }, x, n),
        Prim::AvgPoolGrad { params, input } => {
            in_first(Prim::AvgPoolGrad { params: params.clone(), input: many(input, n) }, x, n)
        }
        Prim::AdaptiveAvgPoolGrad { input } => in_first(Prim::AdaptiveAvgPoolGrad { input: many(input, n) }, x, n),
        Prim::Gather { axis } => leading(Prim::Gather { axis: axis + 1 }, x, n),
        Prim::Scatter { axis, op } => leading(Prim::Scatter { axis: axis + 1, op: *op }, x, n),
        Prim::IndexSelect { axis } => index_select(x, n, *axis),
        Prim::IndexAdd { axis, op } => index_add(p, x, n, *axis, *op),
        Prim::Index { n: dims } => index(x, n, *dims),
        Prim::IndexPut { n: dims, accumulate } => index_put(x, n, *dims, *accumulate),
        Prim::Cat { axis } => leading(Prim::Cat { axis: axis + 1 }, x, n),
        Prim::ScatterView { view, base } => leading(scatter_view(view, base, n), x, n),
        Prim::Sort { axis, descending, stable } => {
            leading(Prim::Sort { axis: axis + 1, descending: *descending, stable: *stable }, x, n)
        }
        Prim::TopK { k, axis, largest, sorted } => {
            leading(Prim::TopK { k: *k, axis: axis + 1, largest: *largest, sorted: *sorted }, x, n)
        }
        Prim::Nonzero => Err(Error::runtime(
            "vmap: It looks like you're attempting to use an operator whose output shape depends on the data: it is \
             not supported inside vmap.",
        )),
        Prim::Softmax { axis, log } => leading(Prim::Softmax { axis: axis + 1, log: *log }, x, n),
        Prim::SoftmaxGrad { axis, log } => leading(Prim::SoftmaxGrad { axis: axis + 1, log: *log }, x, n),
        Prim::LayerNorm { .. } if x[1..].iter().all(|i| !i.batched) => {
            let refs: SmallVec<[&Tensor; 4]> = x.iter().map(|i| &i.t).collect();
            prim("", p.clone(), &refs)
        }
        // gradients of the parameters would be summed over the batch
        Prim::LayerNorm { .. } | Prim::LayerNormGrad { .. } => each(p, x, n),
        Prim::CtcLoss(_) | Prim::CtcLossGrad(_) | Prim::EmbeddingBag { .. } => each(p, x, n),
        Prim::BatchNorm { .. } | Prim::BatchNormGrad { .. } => batch_norm(p, x, n),
        Prim::Attention(a) if !a.mask => in_first(p.clone(), x, n),
        Prim::AttentionGrad(a) if !a.mask => in_first(p.clone(), x, n),
        Prim::Attention(_) | Prim::AttentionGrad(_) => each(p, x, n),
        Prim::Linalg(_) | Prim::Special(_) => leading(p.clone(), x, n),
        Prim::Fft { kind, axes, scale } => leading(Prim::Fft { kind: *kind, axes: shifted(axes), scale: *scale }, x, n),
    }
}

fn many(s: &Shape, n: usize) -> Shape {
    let mut s = s.clone();
    s[0] *= n;
    s
}

/// One matrix for all samples is one tall product, otherwise one batched product.
fn matmul(p: &Prim, x: &[In], n: usize, bias: bool) -> Result<Outs> {
    let one_matrix = x[0].batched && !x[1].batched && x[1].t.ndim() == 2 && !bias;
    if one_matrix {
        return Ok(smallvec![unfolded(&prim1("", p.clone(), &[&folded(&x[0].t)?, &x[1].t])?, n)?]);
    }
    let mut full = all(x, n)?;
    if bias {
        // the bias of one sample may have fewer dimensions than its product
        while full[2].ndim() < full[0].ndim() {
            full[2] = shape::unsqueeze(&full[2], 1)?;
        }
    }
    let refs: SmallVec<[&Tensor; 4]> = full.iter().collect();
    prim("", p.clone(), &refs)
}

fn grouped(params: &ConvParams, n: usize) -> ConvParams {
    ConvParams { groups: params.groups * n, ..params.clone() }
}

fn conv(p: &Prim, x: &[In], n: usize, params: &ConvParams, bias: bool) -> Result<Outs> {
    if x[1..].iter().all(|i| !i.batched) {
        let flat = folded(&x[0].t)?;
        let mut refs: SmallVec<[&Tensor; 4]> = x.iter().map(|i| &i.t).collect();
        refs[0] = &flat;
        return Ok(smallvec![unfolded(&prim1("", p.clone(), &refs)?, n)?]);
    }
    // weights of their own: samples are groups of one convolution
    let mut ins = vec![to_channels(&x[0].full(n)?)?, folded(&x[1].full(n)?)?];
    if bias {
        ins.push(folded(&x[2].full(n)?)?);
    }
    let refs: SmallVec<[&Tensor; 4]> = ins.iter().collect();
    let y = prim1("", Prim::Conv { params: grouped(params, n), bias }, &refs)?;
    Ok(smallvec![from_channels(&y, n)?])
}

fn conv_grad_input(x: &[In], n: usize, params: &ConvParams, input: &Shape) -> Result<Outs> {
    if !x[1].batched {
        let q = Prim::ConvGradInput { params: params.clone(), input: many(input, n) };
        return Ok(smallvec![unfolded(&prim1("", q, &[&folded(&x[0].t)?, &x[1].t])?, n)?]);
    }
    let mut wide = input.clone();
    wide[1] *= n;
    let (g, w) = (to_channels(&x[0].full(n)?)?, folded(&x[1].t)?);
    let y = prim1("", Prim::ConvGradInput { params: grouped(params, n), input: wide }, &[&g, &w])?;
    Ok(smallvec![from_channels(&y, n)?])
}

fn conv_grad_weight(x: &[In], n: usize, params: &ConvParams, weight: &Shape) -> Result<Outs> {
    let (g, a) = (to_channels(&x[0].full(n)?)?, to_channels(&x[1].full(n)?)?);
    let q = Prim::ConvGradWeight { params: grouped(params, n), weight: many(weight, n) };
    Ok(smallvec![unfolded(&prim1("", q, &[&g, &a])?, n)?])
}

fn index_select(x: &[In], n: usize, axis: usize) -> Result<Outs> {
    if !x[1].batched {
        return Ok(smallvec![prim1("", Prim::IndexSelect { axis: axis + 1 }, &[&x[0].t, &x[1].t])?]);
    }
    if !x[0].batched && axis == 0 {
        return Ok(smallvec![prim1("", Prim::IndexSelect { axis }, &[&x[0].t, &x[1].t])?]);
    }
    // the axis beside the batch, both indexed at once, and the new dimensions back in the axis' place
    let a = x[0].full(n)?;
    let mut order: Vec<usize> = (0..a.ndim()).filter(|&d| d != axis + 1).collect();
    order.insert(1, axis + 1);
    let a = shape::permute_raw(&a, &order)?;
    let row = samples(&x[1].t.shape(), &a)?;
    let y = prim1("", Prim::Index { n: 2 }, &[&a, &row, &x[1].t])?;
    let new = x[1].t.ndim() - 1;
    let mut order: Vec<usize> = vec![0];
    order.extend(1 + new..1 + new + axis);
    order.extend(1..1 + new);
    order.extend(1 + new + axis..y.ndim());
    Ok(smallvec![shape::permute_raw(&y, &order)?])
}

fn index_add(p: &Prim, x: &[In], n: usize, axis: usize, op: ScatterOp) -> Result<Outs> {
    if x[1].batched {
        return each(p, x, n);
    }
    let (a, src) = (x[0].full(n)?, x[2].full(n)?);
    Ok(smallvec![prim1("", Prim::IndexAdd { axis: axis + 1, op }, &[&a, &x[1].t, &src])?])
}

/// The samples' numbers and the indices, all of one shape.
fn numbered(a: &Tensor, indices: &[In], n: usize) -> Result<Vec<Tensor>> {
    let mut found: Vec<Tensor> = Vec::with_capacity(indices.len() + 1);
    for i in indices {
        found.push(i.full(n)?);
    }
    let row = samples(&found[0].shape(), a)?;
    found.insert(0, row);
    Ok(found)
}

fn index(x: &[In], n: usize, dims: usize) -> Result<Outs> {
    if !x[0].batched {
        let full = all(&x[1..], n)?;
        let mut refs: SmallVec<[&Tensor; 4]> = smallvec![&x[0].t];
        refs.extend(full.iter());
        return Ok(smallvec![prim1("", Prim::Index { n: dims }, &refs)?]);
    }
    let found = numbered(&x[0].t, &x[1..], n)?;
    let mut refs: SmallVec<[&Tensor; 4]> = smallvec![&x[0].t];
    refs.extend(found.iter());
    Ok(smallvec![prim1("", Prim::Index { n: dims + 1 }, &refs)?])
}

fn index_put(x: &[In], n: usize, dims: usize, accumulate: bool) -> Result<Outs> {
    let (a, values) = (x[0].full(n)?, x[1].full(n)?);
    let found = numbered(&a, &x[2..], n)?;
    let mut refs: SmallVec<[&Tensor; 4]> = smallvec![&a, &values];
    refs.extend(found.iter());
    Ok(smallvec![prim1("", Prim::IndexPut { n: dims + 1, accumulate }, &refs)?])
}

fn scatter_view(view: &Layout, base: &Shape, n: usize) -> Prim {
    let (mut view, mut base) = (view.clone(), base.clone());
    view.shape.insert(0, n);
    view.strides.insert(0, base.iter().product::<usize>() as isize);
    base.insert(0, n);
    Prim::ScatterView { view, base }
}

/// Samples are further channels: statistics stay a sample's own.
fn batch_norm(p: &Prim, x: &[In], n: usize) -> Result<Outs> {
    // operands that are planes rather than channels
    let planes = if matches!(p, Prim::BatchNormGrad { .. }) { 2 } else { 1 };
    let mut ins = Vec::with_capacity(x.len());
    for (i, a) in x.iter().enumerate() {
        let full = a.full(n)?;
        ins.push(if i < planes { to_channels(&full)? } else { folded(&full)? });
    }
    let refs: SmallVec<[&Tensor; 4]> = ins.iter().collect();
    let made = prim("", p.clone(), &refs)?;
    made.iter().enumerate().map(|(i, t)| if i == 0 { from_channels(t, n) } else { unfolded(t, n) }).collect()
}
