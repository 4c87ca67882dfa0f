//! Derivatives of the special functions of `Prim::Special` (DLMF 10.6, 10.29, 8.8, 5.15), where PyTorch has them or
//! they are one of the others.

use rtorch_ir::{Error, Result, ScalarOp, SpecialFn};

use super::{Cotangents, Ctx};
use crate::ops::pointwise::{Arg, where_};
use crate::ops::special::{one, polygamma};
use crate::ops::{self, binary, mul, sub, unary};
use crate::tensor::Tensor;

fn sign(x: &Tensor) -> Result<Tensor> {
    unary(ScalarOp::Sign, x)
}

/// y / x, and `at_zero` where x is 0.
fn over(y: &Tensor, x: &Tensor, at_zero: f64) -> Result<Tensor> {
    let zero = binary(ScalarOp::Eq, Arg::T(x), Arg::S(0.0.into()))?;
    let safe = where_(&zero, Arg::S(1.0.into()), Arg::T(x))?;
    where_(&zero, Arg::S(at_zero.into()), Arg::T(&ops::div(y, &safe)?))
}

/// x^(a-1) e^-x / Gamma(a): what the incomplete gamma function integrates.
fn density(a: &Tensor, x: &Tensor) -> Result<Tensor> {
    let power = mul(&binary(ScalarOp::Sub, Arg::T(a), Arg::S(1.0.into()))?, &unary(ScalarOp::Log, x)?)?;
    unary(ScalarOp::Exp, &sub(&sub(&power, x)?, &unary(ScalarOp::Lgamma, a)?)?)
}

/// d f / d x for the functions of one argument.
fn slope(c: &Ctx, f: SpecialFn, x: &Tensor) -> Result<Option<Tensor>> {
    let y = || c.output(0);
    Ok(Some(match f {
        SpecialFn::I0 => one(SpecialFn::I1, x)?,
        SpecialFn::I0e => sub(&one(SpecialFn::I1e, x)?, &mul(&sign(x)?, &y()?)?)?,
        SpecialFn::I1 => sub(&one(SpecialFn::I0, x)?, &over(&y()?, x, 0.5)?)?,
        SpecialFn::I1e => {
            let rest = mul(&sign(x)?, &y()?)?;
            sub(&sub(&one(SpecialFn::I0e, x)?, &over(&y()?, x, 0.5)?)?, &rest)?
        }
        SpecialFn::K0 => unary(ScalarOp::Neg, &one(SpecialFn::K1, x)?)?,
        SpecialFn::K0e => sub(&y()?, &one(SpecialFn::K1e, x)?)?,
        SpecialFn::K1 => unary(ScalarOp::Neg, &ops::add(&one(SpecialFn::K0, x)?, &ops::div(&y()?, x)?)?)?,
        SpecialFn::K1e => sub(&sub(&y()?, &one(SpecialFn::K0e, x)?)?, &ops::div(&y()?, x)?)?,
        SpecialFn::J0 => unary(ScalarOp::Neg, &one(SpecialFn::J1, x)?)?,
        SpecialFn::J1 => sub(&one(SpecialFn::J0, x)?, &over(&y()?, x, 0.5)?)?,
        SpecialFn::Y0 => unary(ScalarOp::Neg, &one(SpecialFn::Y1, x)?)?,
        SpecialFn::Y1 => sub(&one(SpecialFn::Y0, x)?, &ops::div(&y()?, x)?)?,
        SpecialFn::SphericalJ0 => over(&sub(&unary(ScalarOp::Cos, x)?, &y()?)?, x, 0.0)?,
        SpecialFn::Polygamma(n) => polygamma(i64::from(n) + 1, x)?,
        SpecialFn::Ndtri => {
            let half = ops::mul_scalar(&unary(ScalarOp::Square, &y()?)?, 0.5)?;
            ops::mul_scalar(&unary(ScalarOp::Exp, &half)?, std::f64::consts::TAU.sqrt())?
        }
        SpecialFn::LogNdtr => {
            let half = ops::mul_scalar(&unary(ScalarOp::Square, x)?, -0.5)?;
            ops::mul_scalar(&unary(ScalarOp::Exp, &sub(&half, &y()?)?)?, 1.0 / std::f64::consts::TAU.sqrt())?
        }
        SpecialFn::AiryAi
        | SpecialFn::Zeta
        | SpecialFn::Gammainc
        | SpecialFn::Gammaincc
        | SpecialFn::ChebyshevT
        | SpecialFn::ChebyshevU
        | SpecialFn::ChebyshevV
        | SpecialFn::ChebyshevW
        | SpecialFn::ShiftedChebyshevT
        | SpecialFn::ShiftedChebyshevU
        | SpecialFn::ShiftedChebyshevV
        | SpecialFn::ShiftedChebyshevW
        | SpecialFn::HermiteH
        | SpecialFn::HermiteHe
        | SpecialFn::LaguerreL
        | SpecialFn::LegendreP => return Ok(None),
    }))
}

fn missing(f: SpecialFn, argument: &str) -> Error {
    Error::runtime(format!("the derivative for '{argument}' of {} is not implemented.", f.name()))
}

pub fn special(c: &Ctx, f: SpecialFn) -> Result<Cotangents> {
    let g = c.grad(0)?;
    match f {
        SpecialFn::Gammainc | SpecialFn::Gammaincc => {
            if c.wants(0) {
                return Err(missing(f, "input"));
            }
            let d = mul(&g, &density(&c.input(0)?, &c.input(1)?)?)?;
            let d = if f == SpecialFn::Gammaincc { unary(ScalarOp::Neg, &d)? } else { d };
            Ok(vec![None, Some(d)])
        }
        SpecialFn::Zeta => {
            if c.wants(0) {
                return Err(missing(f, "input"));
            }
            // d zeta(s, q) / d q = -s zeta(s + 1, q)
            let (s, q) = (c.input(0)?, c.input(1)?);
            let up = binary(ScalarOp::Add, Arg::T(&s), Arg::S(1.0.into()))?;
            let z = mul(&s, &ops::special::two(f, Arg::T(&up), Arg::T(&q))?)?;
            Ok(vec![None, Some(unary(ScalarOp::Neg, &mul(&g, &z)?)?)])
        }
        _ => {
            let x = c.input(0)?;
            let Some(d) = slope(c, f, &x)? else { return Err(missing(f, "input")) };
            let mut out = vec![Some(mul(&g, &d)?)];
            out.resize(c.inputs(), None);
            Ok(out)
        }
    }
}
