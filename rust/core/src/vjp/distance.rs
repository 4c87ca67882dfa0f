//! Distances of all pairs of rows.

use rtorch_ir::prim::Metric;
use rtorch_ir::{Prim, Result, Scalar, ScalarOp};

use super::{Cotangents, Ctx, by_composition};
use crate::dispatch::prim;
use crate::ops::pointwise::{Arg, unary, where_};
use crate::ops::{self, factory, reduce, shape};
use crate::tensor::Tensor;

/// With `upper`, no cotangent arrives for what was left out: `pdist` takes the others only.
pub fn distance(c: &Ctx, metric: Metric) -> Result<Cotangents> {
    let (x1, x2) = (c.input(0)?, c.input(1)?);
    if metric == Metric::Count {
        // a count has a gradient, which is zero
        let zero = |x: &Tensor| factory::zeros(&x.shape(), x.dtype(), x.device()).map(Some);
        return Ok(vec![zero(&x1)?, zero(&x2)?]);
    }
    let made = prim("", Prim::DistanceGrad(metric), &[&c.grad(0)?, &x1, &x2, &c.output(0)?])?;
    Ok(made.into_iter().map(Some).collect())
}

/// (g, x1, x2, distances) -> gradients of x1 and x2, which are differentiated as those of the composition.
pub fn distance_grad(c: &Ctx, metric: Metric) -> Result<Cotangents> {
    by_composition(
        &[c.input(0)?, c.input(1)?, c.input(2)?, c.input(3)?],
        |t| {
            let each = slopes(metric, [&t[0], &t[1], &t[2], &t[3]])?;
            let second = unary(ScalarOp::Neg, &reduce::sum(&each, &[1], false, None)?)?;
            Ok(vec![reduce::sum(&each, &[2], false, None)?, second])
        },
        c.grads,
    )
}

/// Each difference's part in the gradient of x1, (b, p, r, m).
fn slopes(metric: Metric, [g, x1, x2, d]: [&Tensor; 4]) -> Result<Tensor> {
    let apart = ops::sub(&shape::unsqueeze(x1, 2)?, &shape::unsqueeze(x2, 1)?)?;
    let (g, d) = (shape::unsqueeze(g, -1)?, shape::unsqueeze(d, -1)?);
    let zero = Arg::S(Scalar::Float(0.0));
    match metric {
        Metric::Count => ops::mul_scalar(&apart, 0.0),
        Metric::Sum => ops::mul(&g, &unary(ScalarOp::Sign, &apart)?),
        Metric::Euclid => {
            let some = ops::binary(ScalarOp::Ne, Arg::T(&d), zero)?;
            let divisor = where_(&some, Arg::T(&d), Arg::S(Scalar::Float(1.0)))?;
            let weight = where_(&some, Arg::T(&ops::div(&g, &divisor)?), zero)?;
            ops::mul(&weight, &apart)
        }
        Metric::Largest => {
            let size = unary(ScalarOp::Abs, &apart)?;
            let hit = ops::binary(ScalarOp::Eq, Arg::T(&size), Arg::T(&d))?;
            where_(&hit, Arg::T(&ops::mul(&g, &unary(ScalarOp::Sign, &apart)?)?), zero)
        }
    }
}
