//! Normalisations: layer, RMS, group and batch norm over their fused primitives; batch norm in evaluation is one
//! pointwise program.

use rtorch_ir::program::ex;
use rtorch_ir::{DType, Prim, Result, Scalar, ScalarOp, Shape, ensure};
use smallvec::SmallVec;

use super::{missing, push, sizes_text};
use crate::autograd::mode;
use crate::dispatch::prim;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, compose, not_implemented};
use crate::ops::shape;
use crate::tensor::Tensor;

/// The parameters in x's dtype: 16-bit inputs may come with float32 parameters.
fn in_dtype(name: &str, x: &Tensor, p: Option<&Tensor>) -> Result<Option<Tensor>> {
    let Some(p) = p else { return Ok(None) };
    if p.dtype() == x.dtype() {
        return Ok(Some(p.clone()));
    }
    let mixed = matches!(x.dtype(), DType::F16 | DType::BF16) && p.dtype() == DType::F32;
    ensure!(
        mixed,
        runtime,
        "{name}: mixed dtype (CPU): expect parameter to have scalar type of {}, got {}",
        x.dtype().cpp_name(),
        p.dtype().cpp_name()
    );
    to_dtype(p, x.dtype()).map(Some)
}

/// How many trailing dims are normalised, checked.
fn normalized_dims(x: &Tensor, normalized: &[i64], params: [Option<&Tensor>; 2]) -> Result<usize> {
    let (s, k) = (x.shape(), normalized.len());
    ensure!(
        k >= 1,
        runtime,
        "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got \
         normalized_shape = {normalized:?}"
    );
    for (name, p) in ["weight", "bias"].iter().zip(params) {
        if let Some(p) = p {
            ensure!(
                p.shape().iter().map(|&v| v as i64).eq(normalized.iter().copied()),
                runtime,
                "Expected {name} to be of same shape as normalized_shape, but got {name} of shape {} and \
                 normalized_shape \
                 = {normalized:?}",
                sizes_text(&p.shape())
            );
        }
    }
    let tail = s.len().checked_sub(k).map(|n| &s[n..]);
    let star: Vec<String> = normalized.iter().map(|v| v.to_string()).collect();
    ensure!(
        tail.is_some_and(|t| t.iter().map(|&v| v as i64).eq(normalized.iter().copied())),
        runtime,
        "Given normalized_shape={normalized:?}, expected input with shape [*, {}], but got input of size{}",
        star.join(", "),
        sizes_text(&s)
    );
    Ok(k)
}

/// (y, mean, 1 / standard deviation), the statistics of x's rank.
fn layer_parts(
    name: &'static str,
    x: &Tensor,
    dims: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    rms: bool,
) -> Result<[Tensor; 3]> {
    let (w, b) = (in_dtype(name, x, weight)?, in_dtype(name, x, bias)?);
    if !x.dtype().is_float() {
        return Err(not_implemented("LayerNormKernelImpl", x.dtype()));
    }
    if x.numel() == 0 {
        let y = scaled_empty(name, x, w.as_ref(), b.as_ref())?;
        let mut s = x.shape();
        let lead = s.len() - dims;
        s[lead..].fill(1);
        return Ok([y, Tensor::empty(&s, x.dtype(), x.device())?, Tensor::empty(&s, x.dtype(), x.device())?]);
    }
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[x]);
    let weight = push(&mut args, w.as_ref());
    let bias = push(&mut args, b.as_ref());
    let mut r = prim(name, Prim::LayerNorm { dims, eps, weight, bias, rms }, &args)?;
    let (Some(rstd), Some(mean), Some(y)) = (r.pop(), r.pop(), r.pop()) else { return Err(missing(name)) };
    Ok([y, mean.detach(), rstd.detach()])
}

/// A tensor without elements times w plus b: nothing to normalise, but the graph goes on.
fn scaled_empty(name: &str, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
    let inputs: SmallVec<[&Tensor; 3]> = [Some(x), w, b].into_iter().flatten().collect();
    let mut y = shape::clone(x)?;
    if let Some(w) = w {
        y = crate::ops::mul(&y, w)?;
    }
    if let Some(b) = b {
        y = crate::ops::add(&y, b)?;
    }
    crate::autograd::composite::collapse(name, &inputs, &[&y]);
    Ok(y)
}

fn layer(
    name: &'static str,
    x: &Tensor,
    dims: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
    rms: bool,
) -> Result<Tensor> {
    let [y, ..] = layer_parts(name, x, dims, weight, bias, eps, rms)?;
    Ok(y)
}

pub fn layer_norm(
    x: &Tensor,
    normalized: &[i64],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let dims = normalized_dims(x, normalized, [weight, bias])?;
    layer("NativeLayerNormBackward0", x, dims, weight, bias, eps, false)
}

/// The mean and 1 / standard deviation as PyTorch's CPU kernels give them: in the dtype of the parameters, without any
/// in the input's.
fn statistics([y, mean, rstd]: [Tensor; 3], x: &Tensor, parameter: Option<&Tensor>) -> Result<[Tensor; 3]> {
    let dtype = parameter.unwrap_or(x).dtype();
    if !x.device().is_cpu() || !matches!(dtype, DType::F16 | DType::BF16) {
        return Ok([y, mean, rstd]);
    }
    Ok([y, to_dtype(&mean, dtype)?, to_dtype(&rstd, dtype)?])
}

/// `native_layer_norm`: (y, mean, 1 / standard deviation).
pub fn native_layer_norm(
    x: &Tensor,
    normalized: &[i64],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<[Tensor; 3]> {
    let dims = normalized_dims(x, normalized, [weight, bias])?;
    statistics(layer_parts("NativeLayerNormBackward0", x, dims, weight, bias, eps, false)?, x, weight.or(bias))
}

/// x / sqrt(mean(x^2) + eps) * weight (Zhang & Sennrich 2019); eps None is the dtype's machine epsilon.
pub fn rms_norm(x: &Tensor, normalized: &[i64], weight: Option<&Tensor>, eps: Option<f64>) -> Result<Tensor> {
    ensure!(
        x.ndim() >= normalized.len(),
        value,
        "Input tensor must have at least {} dimensions, but got {}",
        normalized.len(),
        x.ndim()
    );
    if !x.dtype().is_float() && !x.dtype().is_complex() {
        return Err(not_implemented("rms_norm", x.dtype()));
    }
    let dims = normalized_dims(x, normalized, [weight, None])?;
    let double = matches!(x.dtype(), DType::F64 | DType::C128);
    let eps = eps.unwrap_or(if double { f64::EPSILON } else { f32::EPSILON as f64 });
    let half = matches!(x.dtype(), DType::F16 | DType::BF16);
    if x.dtype().is_complex() || !half && weight.is_some_and(|w| w.dtype() != x.dtype()) {
        return mixed_rms_norm(x, dims, weight, eps);
    }
    layer(if half { "ToCopyBackward0" } else { "MulBackward0" }, x, dims, weight, None, eps, true)
}

/// `rms_norm` of complex numbers (by the mean of their squares, not of their absolute values) and of a weight in
/// another dtype, in which it is applied; the result is of x's.
fn mixed_rms_norm(x: &Tensor, dims: usize, weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let axes: Vec<i64> = (1..=dims as i64).map(|d| -d).collect();
    let mean = crate::ops::reduce::mean(&crate::ops::mul(x, x)?, &axes, true, None)?;
    let shifted = crate::ops::binary(ScalarOp::Add, Arg::T(&mean), Arg::S(eps.into()))?;
    let y = crate::ops::mul(x, &crate::ops::unary(ScalarOp::Rsqrt, &shifted)?)?;
    let y = if let Some(w) = weight { crate::ops::mul(&y, w)? } else { y };
    to_dtype(&y, x.dtype())
}

/// A vector over dim 1 of an n-dimensional tensor.
fn channels(t: &Tensor, n: usize) -> Result<Tensor> {
    let mut column = Shape::from_elem(1, n - 1);
    column[0] = t.numel();
    shape::reshape_to(t, column)
}

/// y * w + b over dim 1, as one program under `name`.
fn affine(name: &'static str, y: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>) -> Result<Tensor> {
    let n = y.ndim();
    let (w, b) = (w.map(|t| channels(t, n)).transpose()?, b.map(|t| channels(t, n)).transpose()?);
    match (&w, &b) {
        (Some(w), Some(b)) => {
            compose("affine", name, Rule::Same, &[Arg::T(y), Arg::T(w), Arg::T(b)], None, |a| a[0] * a[1] + a[2])
        }
        (Some(w), None) => compose("affine_w", name, Rule::Same, &[Arg::T(y), Arg::T(w)], None, |a| a[0] * a[1]),
        (None, Some(b)) => compose("affine_b", name, Rule::Same, &[Arg::T(y), Arg::T(b)], None, |a| a[0] + a[1]),
        (None, None) => Ok(y.clone()),
    }
}

pub fn group_norm(x: &Tensor, groups: i64, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
    let [y, ..] = group_parts(x, groups, weight, bias, eps)?;
    Ok(y)
}

/// `native_group_norm`: (y, mean, 1 / standard deviation), the statistics as [n, groups] and differentiable too.
pub fn native_group_norm(
    x: &Tensor,
    groups: i64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<[Tensor; 3]> {
    let [y, mean, rstd] = group_parts(x, groups, weight, bias, eps)?;
    let derived = crate::autograd::record::wanted(&[x]) || crate::autograd::forward::any(&[x]);
    if !derived || x.numel() == 0 {
        return statistics([y, mean, rstd], x, weight.or(bias));
    }
    let rows = shape::reshape(x, &[x.size(0) as i64, groups, -1])?;
    let (var, mean) = crate::ops::reduce::var_mean(&rows, &[-1], 0.0, false)?;
    let rstd = compose(
        "gn_rstd",
        "NativeGroupNormBackward0",
        Rule::FloatOnly,
        &[Arg::T(&var), Arg::S(eps.into())],
        None,
        |a| ex::rsqrt(a[0] + a[1]),
    )?;
    statistics([y, mean, rstd], x, weight.or(bias))
}

fn group_parts(
    x: &Tensor,
    groups: i64,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<[Tensor; 3]> {
    let name = "NativeGroupNormBackward0";
    let (n, s) = (x.ndim(), x.shape());
    ensure!(n >= 2, runtime, "Expected at least 2 dimensions for input tensor but received {n}");
    ensure!(groups > 0, runtime, "Expected num groups to be greater than 0, got {groups}");
    let g = groups as usize;
    ensure!(
        s[1].is_multiple_of(g),
        runtime,
        "Expected number of channels in input to be divisible by num_groups, but got input of shape {} and \
         num_groups={groups}",
        sizes_text(&s)
    );
    for (what, p) in [("weight", weight), ("bias", bias)] {
        if let Some(p) = p {
            ensure!(
                p.ndim() == 1 && p.size(0) == s[1],
                runtime,
                "Expected {what} to be a vector of size equal to the number of channels in input, but got {what} of \
                 shape \
                 {} and input of shape {}",
                sizes_text(&p.shape()),
                sizes_text(&s)
            );
        }
    }
    let (w, b) = (in_dtype("group_norm", x, weight)?, in_dtype("group_norm", x, bias)?);
    let width: usize = s[1..].iter().product::<usize>() / g;
    let rows = shape::reshape_to(x, SmallVec::from_slice(&[s[0], g, width]))?;
    let [y, mean, rstd] = layer_parts(name, &rows, 1, None, None, eps, false)?;
    let stats: Shape = SmallVec::from_slice(&[s[0], g]);
    let y = affine(name, &shape::reshape_to(&y, s)?, w.as_ref(), b.as_ref())?;
    Ok([y, shape::reshape_to(&mean, stats.clone())?, shape::reshape_to(&rstd, stats)?])
}

fn check_batch_norm(x: &Tensor, named: [(&str, Option<&Tensor>); 4]) -> Result<()> {
    let n = x.ndim();
    ensure!(n >= 2, runtime, "batch_norm: expected input with at least 2 dimensions, got {n}");
    for (name, t) in named {
        if let Some(t) = t {
            ensure!(t.numel() == x.size(1), runtime, "{name} should contain {} elements not {}", x.size(1), t.numel());
        }
    }
    if !x.dtype().is_float() {
        return Err(not_implemented("batch_norm", x.dtype()));
    }
    Ok(())
}

/// Training: normalises by the batch's own statistics, and moves the running ones towards them in place.
/// Evaluation: by the running ones.
#[derive(Clone, Copy)]
pub struct BatchNorm<'a> {
    pub mean: Option<&'a Tensor>,
    pub var: Option<&'a Tensor>,
    pub weight: Option<&'a Tensor>,
    pub bias: Option<&'a Tensor>,
    pub training: bool,
    pub momentum: f64,
    pub eps: f64,
}

pub fn batch_norm(x: &Tensor, p: &BatchNorm) -> Result<Tensor> {
    let [y, ..] = batch_parts(x, p)?;
    Ok(y)
}

/// `native_batch_norm`: (y, mean, 1 / standard deviation) of the batch; no statistics in evaluation.
pub fn native_batch_norm(x: &Tensor, p: &BatchNorm) -> Result<[Tensor; 3]> {
    let [y, mean, var] = batch_parts(x, p)?;
    if var.numel() == 0 {
        return Ok([y, mean, var]);
    }
    let rstd = compose("bn_rstd", "", Rule::FloatOnly, &[Arg::T(&var), Arg::S(p.eps.into())], None, |a| {
        ex::rsqrt(a[0] + a[1])
    })?;
    statistics([y, mean, rstd], x, p.weight.or(p.bias).or(p.mean))
}

/// The result, and of training the batch's mean and biased variance.
fn batch_parts(x: &Tensor, p: &BatchNorm) -> Result<[Tensor; 3]> {
    let none = || Tensor::empty(&[0], x.dtype(), x.device());
    let named = [("running_mean", p.mean), ("running_var", p.var), ("weight", p.weight), ("bias", p.bias)];
    if x.ndim() == 1 && x.numel() == 0 {
        return Ok([shape::clone(x)?, none()?, none()?]);
    }
    if x.numel() == 0 && x.dtype().is_float() {
        // nothing to normalise and no statistics to look at, but the graph goes on
        let (w, b) = (in_dtype("batch_norm", x, p.weight)?, in_dtype("batch_norm", x, p.bias)?);
        let first = |t: Option<Tensor>| t.filter(|t| t.numel() > 0).map(|t| shape::select(&t, 0, 0)).transpose();
        return Ok([
            scaled_empty("NativeBatchNormBackward0", x, first(w)?.as_ref(), first(b)?.as_ref())?,
            none()?,
            none()?,
        ]);
    }
    check_batch_norm(x, named)?;
    let (w, b) = (in_dtype("batch_norm", x, p.weight)?, in_dtype("batch_norm", x, p.bias)?);
    let name = "NativeBatchNormBackward0";
    if !p.training {
        let (Some(mean), Some(var)) = (p.mean, p.var) else {
            return Err(rtorch_ir::Error::runtime(
                "Expected running_mean and running_var to be defined in evaluation mode",
            ));
        };
        return Ok([evaluate(name, x, mean, var, w.as_ref(), b.as_ref(), p.eps)?, none()?, none()?]);
    }
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[x]);
    let weight = push(&mut args, w.as_ref());
    let bias = push(&mut args, b.as_ref());
    let mut r = prim(name, Prim::BatchNorm { eps: p.eps, weight, bias }, &args)?;
    let (Some(var), Some(mean), Some(y)) = (r.pop(), r.pop(), r.pop()) else { return Err(missing(name)) };
    let _off = mode::Guard::new(false);
    if let Some(running) = p.mean {
        track(running, &mean.detach(), p.momentum, 1.0)?;
    }
    if let Some(running) = p.var {
        let n = (x.numel() / x.size(1)) as f64;
        // the running variance is the unbiased one
        track(running, &var.detach(), p.momentum, n / (n - 1.0))?;
    }
    Ok([y, mean.detach(), var.detach()])
}

/// running = (1 - momentum) * running + momentum * factor * new
fn track(running: &Tensor, new: &Tensor, momentum: f64, factor: f64) -> Result<()> {
    let number = |v: f64| Arg::S(Scalar::Float(v));
    let args = [Arg::T(running), Arg::T(new), number(1.0 - momentum), number(momentum), number(factor)];
    compose("running_stat", "", Rule::FloatOnly, &args, Some(running), |a| a[0] * a[2] + a[1] * a[4] * a[3])?;
    Ok(())
}

fn evaluate(
    name: &'static str,
    x: &Tensor,
    mean: &Tensor,
    var: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    let n = x.ndim();
    let rstd = compose("bn_rstd", "", Rule::FloatOnly, &[Arg::T(&var.detach()), Arg::S(eps.into())], None, |a| {
        ex::rsqrt(a[0] + a[1])
    })?;
    let (mean, rstd) = (channels(&mean.detach(), n)?, channels(&rstd, n)?);
    let (w, b) = (w.map(|t| channels(t, n)).transpose()?, b.map(|t| channels(t, n)).transpose()?);
    let mut args: SmallVec<[Arg; 5]> = SmallVec::from_slice(&[Arg::T(x), Arg::T(&mean), Arg::T(&rstd)]);
    args.extend(w.as_ref().map(Arg::T));
    args.extend(b.as_ref().map(Arg::T));
    // float32 statistics of a 16-bit input do not widen the result
    let y = match (w.is_some(), b.is_some()) {
        (true, true) => compose("bn_eval", name, Rule::Same, &args, None, |a| (a[0] - a[1]) * a[2] * a[3] + a[4]),
        (true, false) => compose("bn_eval_w", name, Rule::Same, &args, None, |a| (a[0] - a[1]) * a[2] * a[3]),
        (false, true) => compose("bn_eval_b", name, Rule::Same, &args, None, |a| (a[0] - a[1]) * a[2] + a[3]),
        (false, false) => compose("bn_eval_plain", name, Rule::Same, &args, None, |a| (a[0] - a[1]) * a[2]),
    }?;
    to_dtype(&y, x.dtype())
}
