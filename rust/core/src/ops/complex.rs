//! Complex arithmetic as real arithmetic on the parts: a complex tensor is a real one with pairs in its last dimension.
//! No gradients here: complex autograd is not part of the core yet.

use rtorch_ir::{DType, Layout, Result, Scalar, ScalarOp, Shape};

use super::convert::to_dtype;
use super::pointwise::{Arg, result_type};
use super::{binary, shape, unary};
use crate::inplace;
use crate::tensor::{Parts, Tensor};

/// The real (0) or imaginary (1) parts as a view of the same memory.
pub fn part(x: &Tensor, which: usize) -> Tensor {
    let p = x.parts();
    let layout = Layout {
        shape: p.layout.shape.clone(),
        strides: p.layout.strides.iter().map(|s| s * 2).collect(),
        offset: p.layout.offset * 2 + which,
    };
    let out = Parts { dtype: p.dtype.real(), layout, storage: p.storage, version: p.version };
    Tensor::from_parts(out)
}

/// A complex tensor from its parts.
pub fn join(re: &Tensor, im: &Tensor) -> Result<Tensor> {
    let s = rtorch_ir::shape::broadcast(&re.shape(), &im.shape())?;
    let out = Tensor::empty(&s, re.dtype().complex(), re.device())?;
    inplace::copy_(&part(&out, 0), re)?;
    inplace::copy_(&part(&out, 1), im)?;
    Ok(out)
}

/// Real and imaginary parts of an argument in the real dtype behind `dtype`; None for an imaginary part of zero.
fn split(a: Arg, dtype: DType, like: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
    let real = dtype.real();
    match a {
        Arg::T(t) if t.dtype().is_complex() => Ok((to_dtype(&part(t, 0), real)?, Some(to_dtype(&part(t, 1), real)?))),
        Arg::T(t) => Ok((to_dtype(&t.detach(), real)?, None)),
        Arg::S(s) => {
            let make = |v: f64| super::factory::full(&[], Scalar::Float(v), real, like.device());
            let im = if matches!(s, Scalar::Complex(..)) { Some(make(s.imag())?) } else { None };
            Ok((make(s.to_f64())?, im))
        }
    }
}

fn zeros(like: &Tensor) -> Result<Tensor> {
    super::factory::zeros_like(like)
}

fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Add, Arg::T(a), Arg::T(b))
}
fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Sub, Arg::T(a), Arg::T(b))
}
fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Mul, Arg::T(a), Arg::T(b))
}
fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Div, Arg::T(a), Arg::T(b))
}

/// A row of two arguments on complex numbers, or None where complex numbers have no such row.
pub fn binary_op(op: ScalarOp, a: Arg, b: Arg) -> Result<Option<Tensor>> {
    let dtype = result_type(&[a, b]);
    let ((Arg::T(like), _) | (_, Arg::T(like))) = (a, b) else { return Ok(None) };
    let ((ar, ai), (br, bi)) = (split(a, dtype, like)?, split(b, dtype, like)?);
    let (ai, bi) = (ai.map_or_else(|| zeros(&ar), Ok)?, bi.map_or_else(|| zeros(&br), Ok)?);
    Ok(Some(match op {
        ScalarOp::Add => join(&add(&ar, &br)?, &add(&ai, &bi)?)?,
        ScalarOp::Sub => join(&sub(&ar, &br)?, &sub(&ai, &bi)?)?,
        ScalarOp::Mul => product((&ar, &ai), (&br, &bi))?,
        ScalarOp::Div => quotient((&ar, &ai), (&br, &bi))?,
        ScalarOp::Pow => power((&ar, &ai), (&br, &bi))?,
        ScalarOp::Eq | ScalarOp::Ne => {
            let (re, im) = (binary(op, Arg::T(&ar), Arg::T(&br))?, binary(op, Arg::T(&ai), Arg::T(&bi))?);
            binary(
                if op == ScalarOp::Eq { ScalarOp::LogicalAnd } else { ScalarOp::LogicalOr },
                Arg::T(&re),
                Arg::T(&im),
            )?
        }
        _ => return Ok(None),
    }))
}

fn product(a: (&Tensor, &Tensor), b: (&Tensor, &Tensor)) -> Result<Tensor> {
    let re = sub(&mul(a.0, b.0)?, &mul(a.1, b.1)?)?;
    let im = add(&mul(a.0, b.1)?, &mul(a.1, b.0)?)?;
    join(&re, &im)
}

fn quotient(a: (&Tensor, &Tensor), b: (&Tensor, &Tensor)) -> Result<Tensor> {
    // scaled by the larger part of the divisor, so that squares do not overflow
    let scale = binary(ScalarOp::Maximum, Arg::T(&unary(ScalarOp::Abs, b.0)?), Arg::T(&unary(ScalarOp::Abs, b.1)?))?;
    let (br, bi) = (div(b.0, &scale)?, div(b.1, &scale)?);
    let (ar, ai) = (div(a.0, &scale)?, div(a.1, &scale)?);
    let norm = add(&mul(&br, &br)?, &mul(&bi, &bi)?)?;
    let re = div(&add(&mul(&ar, &br)?, &mul(&ai, &bi)?)?, &norm)?;
    let im = div(&sub(&mul(&ai, &br)?, &mul(&ar, &bi)?)?, &norm)?;
    join(&re, &im)
}

/// exp(b log a), with 0^0 = 1 and 0^b = 0.
fn power(a: (&Tensor, &Tensor), b: (&Tensor, &Tensor)) -> Result<Tensor> {
    let size = binary(ScalarOp::Hypot, Arg::T(a.0), Arg::T(a.1))?;
    let angle = binary(ScalarOp::Atan2, Arg::T(a.1), Arg::T(a.0))?;
    let log = unary(ScalarOp::Log, &size)?;
    let grow = unary(ScalarOp::Exp, &sub(&mul(b.0, &log)?, &mul(b.1, &angle)?)?)?;
    let turn = add(&mul(b.1, &log)?, &mul(b.0, &angle)?)?;
    let zero = binary(ScalarOp::Eq, Arg::T(&size), Arg::S(Scalar::Int(0)))?;
    let one = to_dtype(&binary(ScalarOp::Eq, Arg::T(b.0), Arg::S(Scalar::Int(0)))?, size.dtype())?;
    let re = mul(&grow, &unary(ScalarOp::Cos, &turn)?)?;
    let im = mul(&grow, &unary(ScalarOp::Sin, &turn)?)?;
    let re = super::pointwise::where_(&zero, Arg::T(&one), Arg::T(&re))?;
    let im = super::pointwise::where_(&zero, Arg::S(Scalar::Int(0)), Arg::T(&im))?;
    join(&re, &im)
}

/// A row of one argument on complex numbers, or None.
pub fn unary_op(op: ScalarOp, x: &Tensor) -> Result<Option<Tensor>> {
    let (re, im) = (part(x, 0), part(x, 1));
    Ok(Some(match op {
        ScalarOp::Neg => join(&unary(op, &re)?, &unary(op, &im)?)?,
        ScalarOp::Abs => binary(ScalarOp::Hypot, Arg::T(&re), Arg::T(&im))?,
        ScalarOp::Square => product((&re, &im), (&re, &im))?,
        ScalarOp::Reciprocal => {
            let one = super::factory::full(&Shape::new(), 1.into(), re.dtype(), re.device())?;
            quotient((&one, &zeros(&one)?), (&re, &im))?
        }
        ScalarOp::Exp => {
            let size = unary(ScalarOp::Exp, &re)?;
            join(&mul(&size, &unary(ScalarOp::Cos, &im)?)?, &mul(&size, &unary(ScalarOp::Sin, &im)?)?)?
        }
        ScalarOp::Log => {
            let size = binary(ScalarOp::Hypot, Arg::T(&re), Arg::T(&im))?;
            join(&unary(ScalarOp::Log, &size)?, &binary(ScalarOp::Atan2, Arg::T(&im), Arg::T(&re))?)?
        }
        ScalarOp::IsNan | ScalarOp::IsInf => {
            binary(ScalarOp::LogicalOr, Arg::T(&unary(op, &re)?), Arg::T(&unary(op, &im)?))?
        }
        ScalarOp::LogicalNot => unary(op, &to_dtype(&x.detach(), DType::Bool)?)?,
        _ => return Ok(None),
    }))
}

/// The conjugate, as a copy.
pub fn conj(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_complex() {
        return shape::alias(x);
    }
    join(&part(x, 0), &unary(ScalarOp::Neg, &part(x, 1))?)
}

/// `where` on complex numbers.
pub fn where_(c: &Tensor, a: Arg, b: Arg) -> Result<Tensor> {
    let dtype = result_type(&[a, b]);
    let ((ar, ai), (br, bi)) = (split(a, dtype, c)?, split(b, dtype, c)?);
    let (ai, bi) = (ai.map_or_else(|| zeros(&ar), Ok)?, bi.map_or_else(|| zeros(&br), Ok)?);
    let pick = |x: &Tensor, y: &Tensor| super::pointwise::where_(c, Arg::T(x), Arg::T(y));
    join(&pick(&ar, &br)?, &pick(&ai, &bi)?)
}
