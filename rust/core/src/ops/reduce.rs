//! Reductions: sum, mean, extremes, variance, norms, running values.

use rtorch_ir::layout::{normalize_dim, normalize_dims};
use rtorch_ir::prim::{Axes, ReduceOp, ScanOp, reduced_shape};
use rtorch_ir::{DType, Error, Prim, Result, Scalar, ScalarOp, Shape, ensure};
use smallvec::SmallVec;

use super::convert::to_dtype;
use super::pointwise::{Arg, Rule, compose, default_dtype, not_implemented};
use crate::dispatch::{prim, prim1};
use crate::tensor::Tensor;

/// Dims of a reduction: none given means all.
pub fn axes_of(dims: &[i64], ndim: usize) -> Result<Axes> {
    if dims.is_empty() { Ok((0..ndim).collect()) } else { normalize_dims(dims, ndim) }
}

fn reduce(name: &'static str, op: ReduceOp, x: &Tensor, axes: Axes, keepdim: bool, dtype: DType) -> Result<Tensor> {
    prim1(name, Prim::Reduce { op, axes, keepdim, dtype }, &[x])
}

/// Sum over dims (all if empty), in `dtype` (integers sum in int64).
pub fn sum(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let out = dtype.unwrap_or(if x.dtype().is_integral() { DType::I64 } else { x.dtype() });
    let axes = axes_of(dims, x.ndim())?;
    let wide = x.dtype().is_storage() && x.dtype().is_int();
    let x = if (dtype.is_some() || wide) && x.dtype() != out { to_dtype(x, out)? } else { x.clone() };
    let name = if dims.is_empty() { "SumBackward0" } else { "SumBackward1" };
    reduce(name, ReduceOp::Sum, &x, axes, keepdim, out)
}

/// Summed to a shape that broadcasts to x's: the gradient of broadcasting.
pub fn sum_to(x: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let have = x.shape();
    if have.as_slice() == shape {
        return Ok(x.clone());
    }
    let lead = have.len() - shape.len();
    let axes: Axes = (0..have.len()).filter(|&d| d < lead || (shape[d - lead] == 1 && have[d] != 1)).collect();
    if axes.is_empty() {
        return super::shape::reshape_to(x, Shape::from_slice(shape));
    }
    let y = reduce("SumBackward1", ReduceOp::Sum, x, axes, true, x.dtype())?;
    super::shape::reshape_to(&y, Shape::from_slice(shape))
}

pub fn mean(x: &Tensor, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let out = dtype.unwrap_or(x.dtype());
    ensure!(
        out.is_differentiable(),
        runtime,
        "mean(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. Got: {}",
        x.dtype().cpp_name()
    );
    let axes = axes_of(dims, x.ndim())?;
    let x = to_dtype(x, out)?;
    let n: usize = axes.iter().map(|&d| x.size(d)).product();
    // sum in the wider type, so that 16-bit floats round once
    let inner = if matches!(out, DType::F16 | DType::BF16) { DType::F32 } else { out };
    let total = reduce("SumBackward1", ReduceOp::Sum, &x, axes, keepdim, inner)?;
    let name = if dims.is_empty() { "MeanBackward0" } else { "MeanBackward1" };
    let y = compose("mean_of_sum", name, Rule::Same, &[Arg::T(&total), Arg::S(Scalar::Float(n as f64))], None, |a| {
        a[0] / a[1]
    })?;
    to_dtype(&y, out)
}

pub fn prod(x: &Tensor, dim: Option<i64>, keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let out = dtype.unwrap_or(if x.dtype().is_integral() { DType::I64 } else { x.dtype() });
    let axes = match dim {
        None => (0..x.ndim()).collect(),
        Some(d) => normalize_dims(&[d], x.ndim())?,
    };
    let x = if x.dtype() == out { x.clone() } else { to_dtype(x, out)? };
    if x.dtype().is_complex() {
        return super::complex::prod(&x, &axes, keepdim);
    }
    reduce(if dim.is_some() { "ProdBackward1" } else { "ProdBackward0" }, ReduceOp::Prod, &x, axes, keepdim, out)
}

fn refuse_empty(name: &str, x: &Tensor, axes: &[usize]) -> Result<()> {
    for &d in axes {
        ensure!(x.size(d) != 0, index, "{name}(): Expected reduction dim {d} to have non-zero size.");
    }
    Ok(())
}

fn refuse_complex(name: &str, x: &Tensor) -> Result<()> {
    if x.dtype().is_complex() { Err(not_implemented(name, x.dtype())) } else { Ok(()) }
}

/// `amax` (or `amin`): gradients go in equal parts to all that tie.
pub fn amax(x: &Tensor, dims: &[i64], keepdim: bool, largest: bool) -> Result<Tensor> {
    let name = if largest { "amax" } else { "amin" };
    refuse_complex(name, x)?;
    let axes = axes_of(dims, x.ndim())?;
    ensure!(
        !dims.is_empty() || x.numel() > 0,
        runtime,
        "{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the \
         'dim' argument."
    );
    refuse_empty(name, x, &axes)?;
    let op = if largest { ReduceOp::Max } else { ReduceOp::Min };
    reduce(if largest { "AmaxBackward0" } else { "AminBackward0" }, op, x, axes, keepdim, x.dtype())
}

/// `x.max()` over everything.
pub fn max_all(x: &Tensor, largest: bool) -> Result<Tensor> {
    let name = if largest { "max" } else { "min" };
    refuse_complex(name, x)?;
    ensure!(
        x.numel() > 0,
        runtime,
        "{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the \
         'dim' \
         argument."
    );
    let op = if largest { ReduceOp::Max } else { ReduceOp::Min };
    let axes = (0..x.ndim()).collect();
    reduce(if largest { "MaxBackward1" } else { "MinBackward1" }, op, x, axes, false, x.dtype())
}

/// `x.max(dim)`: values and positions.
pub fn max_dim(x: &Tensor, dim: i64, keepdim: bool, largest: bool) -> Result<(Tensor, Tensor)> {
    let name = if largest { "max" } else { "min" };
    refuse_complex(name, x)?;
    let axis = normalize_dim(dim, x.ndim())?;
    if x.ndim() == 0 {
        let index = super::factory::zeros(&[], DType::I64, x.device())?;
        return Ok((super::shape::clone(x)?, index));
    }
    refuse_empty(name, x, &[axis])?;
    let grad = if largest { "MaxBackward0" } else { "MinBackward0" };
    let mut r = prim(grad, Prim::Extreme { largest, axis, keepdim }, &[x])?;
    let index = r.pop().ok_or_else(|| Error::runtime("max: no positions"))?;
    Ok((r.swap_remove(0), index))
}

pub fn argmax(x: &Tensor, dim: Option<i64>, keepdim: bool, largest: bool) -> Result<Tensor> {
    let name = if largest { "argmax" } else { "argmin" };
    refuse_complex(name, x)?;
    let op = if largest { ReduceOp::ArgMax } else { ReduceOp::ArgMin };
    let axes: Axes = match dim {
        None => {
            ensure!(
                x.numel() > 0,
                index,
                "{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim \
                 with \
                 the 'dim' argument."
            );
            (0..x.ndim()).collect()
        }
        Some(d) => normalize_dims(&[d], x.ndim())?,
    };
    refuse_empty(name, x, &axes)?;
    if x.ndim() == 0 {
        return super::factory::zeros(&[], DType::I64, x.device());
    }
    // a bool orders as an integer
    let x = if x.dtype() == DType::Bool { to_dtype(x, DType::U8)? } else { x.detach() };
    reduce("", op, &x, axes, keepdim, DType::I64)
}

pub fn any(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    any_all(x, dims, keepdim, ReduceOp::Any)
}
pub fn all(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    any_all(x, dims, keepdim, ReduceOp::All)
}

fn any_all(x: &Tensor, dims: &[i64], keepdim: bool, op: ReduceOp) -> Result<Tensor> {
    let axes = axes_of(dims, x.ndim())?;
    let out = if x.dtype() == DType::U8 { DType::U8 } else { DType::Bool };
    let b = to_dtype(&x.detach(), DType::Bool)?;
    let y = reduce("", op, &b, axes, keepdim, DType::Bool)?;
    to_dtype(&y, out)
}

pub fn var_mean(x: &Tensor, dims: &[i64], correction: f64, keepdim: bool) -> Result<(Tensor, Tensor)> {
    if x.dtype().is_complex() {
        let (a, p) = var_mean(&super::complex::part(x, 0)?, dims, correction, keepdim)?;
        let (b, q) = var_mean(&super::complex::part(x, 1)?, dims, correction, keepdim)?;
        return Ok((super::add(&a, &b)?, super::complex::join(&p, &q)?));
    }
    ensure!(
        x.dtype().is_float(),
        runtime,
        "std and var only support floating point and complex dtypes, got {}",
        x.dtype().cpp_name()
    );
    let axes = axes_of(dims, x.ndim())?;
    let n: usize = axes.iter().map(|&d| x.size(d)).product();
    if correction >= n as f64 {
        crate::warn::once(
            "std(): degrees of freedom is <= 0. Correction should be strictly less than the reduction factor (input \
                           numel divided by output numel).",
        );
    }
    let mut r = prim("VarMeanBackward0", Prim::VarMean { axes, keepdim, correction }, &[x])?;
    let mean = r.pop().ok_or_else(|| Error::runtime("var_mean: no mean"))?;
    Ok((r.swap_remove(0), mean))
}

pub fn var(x: &Tensor, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
    Ok(var_mean(x, dims, correction, keepdim)?.0)
}

pub fn std(x: &Tensor, dims: &[i64], correction: f64, keepdim: bool) -> Result<Tensor> {
    super::unary(ScalarOp::Sqrt, &var(x, dims, correction, keepdim)?)
}

/// log(sum(exp(x))), shifted by the maximum.
pub fn logsumexp(x: &Tensor, dims: &[i64], keepdim: bool) -> Result<Tensor> {
    let x = if x.dtype().is_differentiable() { x.clone() } else { to_dtype(x, default_dtype())? };
    let axes = axes_of(dims, x.ndim())?;
    if axes.iter().any(|&d| x.size(d) == 0) {
        return super::factory::full(
            &reduced_shape(&x.shape(), &axes, keepdim),
            Scalar::Float(f64::NEG_INFINITY),
            x.dtype(),
            x.device(),
        );
    }
    let size = x.detach();
    let size = if size.dtype().is_complex() { super::complex::part(&size, 0)? } else { size };
    let top = amax(&size, dims, true, true)?;
    let body = |a: &[rtorch_ir::Ex]| {
        use rtorch_ir::program::ex;
        ex::where_(ex::isinf(a[0]), a[0].lit(0.0), a[0])
    };
    let shift = compose("finite_or_zero", "", Rule::Same, &[Arg::T(&top)], None, body)?;
    let e = super::unary(ScalarOp::Exp, &super::sub(&x, &shift)?)?;
    let s = super::unary(ScalarOp::Log, &sum(&e, dims, true, None)?)?;
    let y = super::add(&s, &shift)?;
    if keepdim {
        return Ok(y);
    }
    super::shape::reshape_to(&y, reduced_shape(&x.shape(), &axes, false))
}

/// Running `logsumexp` of complex numbers, shifted by their largest real part and in double precision: what is less
/// than the largest by more than 700 counts as nothing.
pub fn log_cumsum_exp_complex(x: &Tensor, dim: i64) -> Result<Tensor> {
    let wide = to_dtype(x, DType::C128)?;
    if x.numel() == 0 {
        return super::shape::clone(x);
    }
    let top = amax(&super::complex::part(&wide.detach(), 0)?, &[dim], true, true)?;
    let e = super::unary(ScalarOp::Exp, &super::sub(&wide, &top)?)?;
    let running = scan("CumsumBackward0", ScanOp::Sum, &e, dim, None)?.swap_remove(0);
    let y = super::add(&super::unary(ScalarOp::Log, &running)?, &top)?;
    to_dtype(&y, x.dtype())
}

/// Vector norm of order `p` over dims.
pub fn norm(x: &Tensor, p: f64, dims: &[i64], keepdim: bool, dtype: Option<DType>) -> Result<Tensor> {
    let x = match dtype {
        Some(d) => to_dtype(x, d)?,
        None => x.clone(),
    };
    ensure!(
        x.dtype().is_differentiable(),
        runtime,
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got {}",
        x.dtype().cpp_name()
    );
    let x = if x.dtype().is_complex() { super::complex::abs(&x)? } else { x };
    let out = x.dtype();
    // 16-bit floats: squares and sums in float32, rounded once
    let x = if matches!(out, DType::F16 | DType::BF16) { to_dtype(&x, DType::F32)? } else { x };
    let abs = || super::unary(ScalarOp::Abs, &x);
    let y = if p == f64::INFINITY {
        amax(&abs()?, dims, keepdim, true)?
    } else if p == f64::NEG_INFINITY {
        amax(&abs()?, dims, keepdim, false)?
    } else if p == 0.0 {
        // counts what is not zero; differentiable, with a gradient of zero
        use rtorch_ir::program::ex;
        let ones = compose("norm_zero", "LinalgVectorNormBackward0", Rule::Same, &[Arg::T(&x)], None, |a| {
            ex::where_(ex::ne(a[0], a[0].lit(0.0)), a[0].lit(1.0), a[0] * 0.0)
        })?;
        sum(&ones, dims, keepdim, None)?
    } else if p == 1.0 {
        sum(&abs()?, dims, keepdim, None)?
    } else if p == 2.0 {
        let s = sum(&super::unary(ScalarOp::Square, &x)?, dims, keepdim, None)?;
        safe_root(&s, 2.0)?
    } else {
        let powered = if p < 1.0 {
            safe_power(&abs()?, p)
        } else {
            super::binary(ScalarOp::Pow, Arg::T(&abs()?), Arg::S(Scalar::Float(p)))
        }?;
        safe_root(&sum(&powered, dims, keepdim, None)?, p)?
    };
    to_dtype(&y, out)
}

/// The power `p` < 1, whose gradient at 0 is 0 (it would be infinite).
fn safe_power(x: &Tensor, p: f64) -> Result<Tensor> {
    use rtorch_ir::program::ex;
    let args = [Arg::T(x), Arg::S(Scalar::Float(p))];
    compose("norm_power", "LinalgVectorNormBackward0", Rule::FloatOnly, &args, None, |a| {
        let zero = ex::eq(a[0], a[0].lit(0.0));
        let power = ex::pow(ex::where_(zero, a[0].lit(1.0), a[0]), a[1]);
        ex::where_(zero, a[0].lit(if p > 0.0 { 0.0 } else { f64::INFINITY }), power)
    })
}

/// The root of order `p`, whose gradient at 0 is 0 (the subgradient PyTorch's norm gives).
fn safe_root(s: &Tensor, p: f64) -> Result<Tensor> {
    use rtorch_ir::program::ex;
    let args = [Arg::T(s), Arg::S(Scalar::Float(1.0 / p))];
    compose("norm_root", "LinalgVectorNormBackward0", Rule::FloatOnly, &args, None, |a| {
        let zero = ex::eq(a[0], a[0].lit(0.0));
        let safe = ex::where_(zero, a[0].lit(1.0), a[0]);
        let root = if p == 2.0 { ex::sqrt(safe) } else { ex::pow(safe, a[1]) };
        // 0 to a negative power is infinite
        ex::where_(zero, a[0].lit(if p > 0.0 { 0.0 } else { f64::INFINITY }), root)
    })
}

pub fn scan(
    name: &'static str,
    op: ScanOp,
    x: &Tensor,
    dim: i64,
    dtype: Option<DType>,
) -> Result<SmallVec<[Tensor; 3]>> {
    let axis = normalize_dim(dim, x.ndim())?;
    let sums = matches!(op, ScanOp::Sum | ScanOp::Prod);
    let out = dtype.unwrap_or(if sums && x.dtype().is_integral() { DType::I64 } else { x.dtype() });
    let x = to_dtype(x, out)?;
    if x.dtype().is_complex() && x.ndim() > 0 && op == ScanOp::Prod {
        return Ok(SmallVec::from_iter([super::complex::cumprod(&x, axis)?]));
    }
    if x.ndim() == 0 {
        let one = super::shape::reshape(&x, &[1])?;
        let r = prim(name, Prim::Scan { op, axis: 0 }, &[&one])?;
        return r.iter().map(|t| super::shape::reshape(t, &[])).collect();
    }
    prim(name, Prim::Scan { op, axis }, &[&x])
}
