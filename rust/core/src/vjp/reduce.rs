//! Reductions and running values.

use rtorch_ir::prim::{ReduceOp, ScanOp, ScatterOp};
use rtorch_ir::program::ex;
use rtorch_ir::{Prim, Result, ScalarOp, Shape};
use smallvec::{SmallVec, smallvec};

use super::{Cotangents, Ctx};
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

pub fn saves(op: ReduceOp) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 2]>) {
    match op {
        ReduceOp::Prod => (smallvec![0], smallvec![0]),
        ReduceOp::Max | ReduceOp::Min => (smallvec![0], smallvec![0]),
        ReduceOp::Sum | ReduceOp::Any | ReduceOp::All | ReduceOp::ArgMax | ReduceOp::ArgMin => {
            (SmallVec::new(), SmallVec::new())
        }
    }
}

/// A reduced tensor with its axes back as size 1.
fn unreduce(t: &Tensor, shape: &[usize], axes: &[usize], keepdim: bool) -> Result<Tensor> {
    if keepdim {
        return Ok(t.clone());
    }
    let kept: Shape = shape.iter().enumerate().map(|(i, &s)| if axes.contains(&i) { 1 } else { s }).collect();
    shape::reshape_to(t, kept)
}

pub fn reduce(c: &Ctx, op: ReduceOp, axes: &[usize], keepdim: bool) -> Result<Cotangents> {
    let shape = c.shape(0);
    let g = unreduce(&c.grad(0)?, &shape, axes, keepdim)?;
    Ok(vec![match op {
        ReduceOp::Sum => Some(shape::expand_to(&ops::convert::to_dtype(&g, c.node.inputs[0].dtype)?, &shape)?),
        ReduceOp::Max | ReduceOp::Min => {
            let x = c.input(0)?;
            let y = unreduce(&c.output(0)?, &shape, axes, keepdim)?;
            let hit = ops::binary(ScalarOp::Eq, Arg::T(&x), Arg::T(&y))?;
            let hit = ops::convert::to_dtype(&hit, x.dtype())?;
            let dims: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
            let count = if axes.is_empty() { hit.clone() } else { ops::reduce::sum(&hit, &dims, true, None)? };
            Some(ops::mul(&hit, &ops::div(&g, &count)?)?)
        }
        ReduceOp::Prod => Some(prod(&c.input(0)?, &unreduce(&c.output(0)?, &shape, axes, keepdim)?, &g, axes)?),
        ReduceOp::Any | ReduceOp::All | ReduceOp::ArgMax | ReduceOp::ArgMin => None,
    }])
}

/// y/x where no factor is zero; with zeros, the product of the others, from running products of both sides.
fn prod(x: &Tensor, y: &Tensor, g: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let zero = ops::unary(ScalarOp::LogicalNot, &x.detach())?;
    // whether a sample of a batch has a zero is not asked: the way that is right for all
    let any_zero =
        crate::batch::is_batched(&zero) || ops::convert::item(&ops::reduce::any(&zero, &[], false)?)?.is_true();
    let nested = crate::autograd::mode::is_enabled();
    if !any_zero && !nested {
        return ops::div(&ops::mul(g, y)?, x);
    }
    // the axes as one last dimension
    let n = x.ndim();
    let mut order: Vec<usize> = (0..n).filter(|d| !axes.contains(d)).collect();
    order.extend_from_slice(axes);
    let kept = n - axes.len();
    let rows = shape::permute_raw(x, &order)?;
    let full = rows.shape();
    let mut flat = Shape::from_slice(&full[..kept]);
    flat.push(full[kept..].iter().product());
    let rows = shape::reshape_to(&rows, flat.clone())?;
    let others = products_of_others(&rows)?;
    let mut back: Shape = order.iter().copied().collect();
    for (i, &d) in order.iter().enumerate() {
        back[d] = i;
    }
    let others = shape::permute_raw(&shape::reshape_to(&others, full)?, &back)?;
    ops::mul(g, &others)
}

/// For each element of the last dimension, the product of all others.
fn products_of_others(x: &Tensor) -> Result<Tensor> {
    let n = x.size(x.ndim() - 1) as i64;
    if n == 0 {
        return Ok(x.clone());
    }
    let mut one = x.shape();
    let last = one.len() - 1;
    one[last] = 1;
    let ones = ops::factory::ones(&one, x.dtype(), x.device())?;
    let cumprod = |t: &Tensor| -> Result<Tensor> {
        Ok(ops::reduce::scan("CumprodBackward0", ScanOp::Prod, t, -1, None)?.swap_remove(0))
    };
    let before = cumprod(&shape::cat(&[ones.clone(), shape::slice(x, -1, Some(0), Some(n - 1), 1)?], -1)?)?;
    let flipped = shape::flip(x, &[-1])?;
    let after = cumprod(&shape::cat(&[ones, shape::slice(&flipped, -1, Some(0), Some(n - 1), 1)?], -1)?)?;
    ops::mul(&before, &shape::flip(&after, &[-1])?)
}

/// The cotangent goes to the positions.
pub fn extreme(c: &Ctx, axis: usize, keepdim: bool) -> Result<Cotangents> {
    let shape = c.shape(0);
    let g = unreduce(&c.grad(0)?, &shape, &[axis], keepdim)?;
    let index = unreduce(&c.output(1)?, &shape, &[axis], keepdim)?;
    let p = Prim::Scatter { axis, op: ScatterOp::Add };
    Ok(vec![Some(super::index::added("ScatterAddBackward0", p, &shape, &index, &g)?)])
}

/// d var = 2 (x - mean) / (n - correction), d mean = 1 / n.
pub fn var_mean(c: &Ctx, axes: &[usize], keepdim: bool, correction: f64) -> Result<Cotangents> {
    let shape = c.shape(0);
    let n: usize = axes.iter().map(|&a| shape[a]).product();
    let mut out: Option<Tensor> = None;
    if c.has(0) {
        let g = unreduce(&c.grad(0)?, &shape, axes, keepdim)?;
        let x = c.input(0)?;
        let dims: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        // under the tape the mean is a function of x too
        let mean = if crate::autograd::mode::is_enabled() && !dims.is_empty() {
            ops::reduce::mean(&x, &dims, true, None)?
        } else {
            unreduce(&c.output(1)?, &shape, axes, keepdim)?
        };
        let scale = 2.0 / (n as f64 - correction).max(0.0);
        out = Some(compose(
            "var_grad",
            "VarBackward0",
            Rule::Same,
            &[Arg::T(&g), Arg::T(&x), Arg::T(&mean), Arg::S(scale.into())],
            None,
            |a| a[0] * (a[1] - a[2]) * a[3],
        )?);
    }
    if c.has(1) {
        let g = unreduce(&c.grad(1)?, &shape, axes, keepdim)?;
        let d = shape::expand_to(&ops::mul_scalar(&g, 1.0 / n as f64)?, &shape)?;
        out = Some(match out {
            Some(o) => ops::add(&o, &d)?,
            None => d,
        });
    }
    Ok(vec![out])
}

fn reversed_cumsum(x: &Tensor, axis: usize) -> Result<Tensor> {
    let d = axis as i64;
    let r = ops::reduce::scan("CumsumBackward0", ScanOp::Sum, &shape::flip(x, &[d])?, d, None)?.swap_remove(0);
    shape::flip(&r, &[d])
}

pub fn scan(c: &Ctx, op: ScanOp, axis: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    Ok(vec![Some(match op {
        ScanOp::Sum => reversed_cumsum(&g, axis)?,
        ScanOp::Max | ScanOp::Min => {
            let p = Prim::Scatter { axis, op: ScatterOp::Add };
            super::index::added("ScatterAddBackward0", p, &c.shape(0), &c.output(1)?, &g)?
        }
        ScanOp::LogSumExp => {
            // sum over j >= i of g_j exp(x_i - y_j)
            let (x, y) = (c.input(0)?, c.output(0)?);
            let body = |a: &[rtorch_ir::Ex]| {
                // split by sign so that logarithms exist
                ex::where_(ex::gt(a[0], a[0].lit(0.0)), ex::log(a[0]) - a[1], a[0].lit(f64::NEG_INFINITY))
            };
            let part = |g: &Tensor| -> Result<Tensor> {
                let w = compose("logcumsumexp_part", "", Rule::Same, &[Arg::T(g), Arg::T(&y)], None, body)?;
                let d = axis as i64;
                let s = ops::reduce::scan("", ScanOp::LogSumExp, &shape::flip(&w, &[d])?, d, None)?.swap_remove(0);
                compose("exp_of_sum", "", Rule::Same, &[Arg::T(&shape::flip(&s, &[d])?), Arg::T(&x)], None, |a| {
                    ex::exp(a[0] + a[1])
                })
            };
            ops::sub(&part(&g)?, &part(&ops::unary(ScalarOp::Neg, &g)?)?)?
        }
        ScanOp::Prod => {
            // the adjoint of a complex derivative is its conjugate (an alias of real numbers)
            let (x, y) = (ops::complex::conj(&c.input(0)?)?, ops::complex::conj(&c.output(0)?)?);
            cumprod(&g, &x, &y, axis)?
        }
    })])
}

/// Where no factor is zero: reversed cumsum of g*y, over x. With zeros (or under the tape): one row at a time of the
/// Jacobian, d y_k / d x_i = product of the others up to k.
fn cumprod(g: &Tensor, x: &Tensor, y: &Tensor, axis: usize) -> Result<Tensor> {
    let zero = ops::unary(ScalarOp::LogicalNot, &x.detach())?;
    // whether a sample of a batch has a zero is not asked: the way that is right for all
    let any_zero =
        crate::batch::is_batched(&zero) || ops::convert::item(&ops::reduce::any(&zero, &[], false)?)?.is_true();
    if !any_zero && !crate::autograd::mode::is_enabled() {
        return ops::div(&reversed_cumsum(&ops::mul(g, y)?, axis)?, x);
    }
    let n = x.size(axis) as i64;
    let d = axis as i64;
    let mut parts = Vec::new();
    for i in 0..n {
        // products without factor i, of the prefixes that contain it
        let before = if i == 0 {
            let s = shape::slice(x, d, Some(0), Some(1), 1)?;
            ops::factory::full_like(&s.detach(), 1.into())?
        } else {
            let s = shape::slice(x, d, Some(0), Some(i), 1)?;
            ops::reduce::prod(&s, Some(d), true, None)?
        };
        let after = shape::slice(x, d, Some(i + 1), Some(n), 1)?;
        let all = shape::cat(&[before, after], d)?;
        let run = ops::reduce::scan("CumprodBackward0", ScanOp::Prod, &all, d, None)?.swap_remove(0);
        let gi = shape::slice(g, d, Some(i), Some(n), 1)?;
        parts.push(ops::reduce::sum(&ops::mul(&run, &gi)?, &[d], true, None)?);
    }
    if parts.is_empty() {
        return ops::factory::zeros(&x.shape(), x.dtype(), x.device());
    }
    shape::cat(&parts, d)
}
