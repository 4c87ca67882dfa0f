//! Programs on complex numbers as programs on their parts: `lower` replaces every complex value by two real ones. So a
//! row has one derivative, the real one, and the gradient of a complex operator (PyTorch's convention: the derivatives
//! with respect to the real and the imaginary part, as one complex number) follows from it.
//! Formulas with branch cuts: W. Kahan, "Branch cuts for complex elementary functions" (1987).

use crate::dtype::{DType, Scalar};
use crate::program::{Ex, Inst, Program, build, ex, ex::*};
use crate::table::ScalarOp;

/// Which part of which leaf of the complex program a leaf of the lowered one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Real(usize),
    Imag(usize),
    /// The leaf was real already.
    Whole(usize),
}

/// A complex number as two values, or a real one.
#[derive(Clone, Copy)]
struct Cx {
    re: Ex,
    im: Option<Ex>,
}

impl Cx {
    fn new(re: Ex, im: Ex) -> Cx {
        Cx { re, im: Some(im) }
    }
    fn real(re: Ex) -> Cx {
        Cx { re, im: None }
    }
    fn imag(self) -> Ex {
        self.im.unwrap_or_else(|| self.re.lit(0.0))
    }
}

/// The program over parts, and what its leaves are; one output for a real result, else real and imaginary part. None
/// where a row has no complex meaning.
pub fn lower(p: &Program) -> Option<(Program, Vec<Part>)> {
    let mut leaves = Vec::new();
    let (mut out, ends) = build(Program::new(), || {
        let mut values: Vec<Cx> = Vec::with_capacity(p.values.len());
        for (inst, dtype) in &p.values {
            let v = match *inst {
                Inst::Load(n) => load(*dtype, n as usize, &mut leaves),
                Inst::Const(n) => constant(p.consts[n as usize].scalar, *dtype),
                Inst::Index => Cx::real(Ex::index()),
                Inst::Cast(a) => cast(values[a as usize], *dtype),
                Inst::Op(op, a) => {
                    let args = a.map(|r| values[r as usize]);
                    if args[..op.row().arity].iter().all(|x| x.im.is_none()) {
                        let plain = args.map(|x| x.re);
                        Cx::real(Ex::apply(op, &plain[..op.row().arity]))
                    } else {
                        apply(op, args)?
                    }
                }
            };
            values.push(v);
        }
        let y = values[p.outputs[0] as usize];
        Some(if p.dtype(p.outputs[0]).is_complex() { Cx::new(y.re, y.imag()) } else { y })
    });
    let y = ends?;
    out.outputs.push(y.re.0);
    out.outputs.extend(y.im.map(|im| im.0));
    Some((out, leaves))
}

fn load(dtype: DType, n: usize, leaves: &mut Vec<Part>) -> Cx {
    if !dtype.is_complex() {
        leaves.push(Part::Whole(n));
        return Cx::real(Ex::leaf(dtype));
    }
    leaves.extend([Part::Real(n), Part::Imag(n)]);
    Cx::new(Ex::leaf(dtype.real()), Ex::leaf(dtype.real()))
}

fn constant(v: Scalar, dtype: DType) -> Cx {
    if !dtype.is_complex() {
        return Cx::real(Ex::constant(v, dtype));
    }
    let part = |f: f64| Ex::constant(Scalar::Float(f), dtype.real());
    if v.imag() == 0.0 { Cx::real(part(v.to_f64())) } else { Cx::new(part(v.to_f64()), part(v.imag())) }
}

fn cast(x: Cx, to: DType) -> Cx {
    match x.im {
        Some(im) if to.is_complex() => Cx::new(x.re.cast(to.real()), im.cast(to.real())),
        Some(im) if to == DType::Bool => Cx::real(logical_or(x.re.cast(to), im.cast(to))),
        Some(_) => Cx::real(x.re.cast(to)),
        None if to.is_complex() => {
            let re = x.re.cast(to.real());
            Cx::new(re, re.lit(0.0))
        }
        None => Cx::real(x.re.cast(to)),
    }
}

fn apply(op: ScalarOp, x: [Cx; 3]) -> Option<Cx> {
    let (a, b) = (x[0], x[1]);
    Some(match op {
        ScalarOp::Add => Cx::new(a.re + b.re, a.imag() + b.imag()),
        ScalarOp::Sub => Cx::new(a.re - b.re, a.imag() - b.imag()),
        ScalarOp::Mul => mul(a, b),
        ScalarOp::Div => div(a, b),
        ScalarOp::Pow => pow(a, b),
        ScalarOp::Neg => Cx::new(-a.re, -a.imag()),
        ScalarOp::Square => mul(a, a),
        ScalarOp::Reciprocal => div(Cx::new(a.re.lit(1.0), a.re.lit(0.0)), a),
        ScalarOp::Eq => Cx::real(logical_and(eq(a.re, b.re), eq(a.imag(), b.imag()))),
        ScalarOp::Ne => Cx::real(logical_or(ne(a.re, b.re), ne(a.imag(), b.imag()))),
        ScalarOp::IsNan | ScalarOp::IsInf => Cx::real(logical_or(Ex::apply(op, &[a.re]), Ex::apply(op, &[a.imag()]))),
        ScalarOp::Where => {
            let (p, q) = (x[1], x[2]);
            Cx::new(where_(a.re, p.re, q.re), where_(a.re, p.imag(), q.imag()))
        }
        ScalarOp::Abs => Cx::real(abs_of(a)),
        _ => return transcendental(op, a),
    })
}

fn mul(a: Cx, b: Cx) -> Cx {
    Cx::new(a.re * b.re - a.imag() * b.imag(), a.re * b.imag() + a.imag() * b.re)
}

/// Scaled by the larger part of the divisor, so that squares do not overflow.
fn div(a: Cx, b: Cx) -> Cx {
    let s = maximum(abs(b.re), abs(b.imag()));
    let (c, d) = (b.re / s, b.imag() / s);
    let (p, q) = (a.re / s, a.imag() / s);
    let n = c * c + d * d;
    Cx::new((p * c + q * d) / n, (q * c - p * d) / n)
}

/// Is it 0?
fn zero(a: Cx) -> Ex {
    logical_and(eq(a.re, a.re.lit(0.0)), eq(a.imag(), a.re.lit(0.0)))
}

/// The number, with 1 for 0: where a function or its derivative has a pole there that is answered apart.
fn nonzero(a: Cx) -> Cx {
    Cx::new(where_(zero(a), a.re.lit(1.0), a.re), a.imag())
}

/// |a|, with the derivative 0 at 0.
fn abs_of(a: Cx) -> Ex {
    let b = nonzero(a);
    where_(zero(a), a.re.lit(0.0), hypot(b.re, b.imag()))
}

fn log_of(a: Cx) -> Cx {
    Cx::new(log(hypot(a.re, a.imag())), atan2(a.imag(), a.re))
}

/// exp(b log a), with 0^0 = 1 and 0^b = 0.
fn pow(a: Cx, b: Cx) -> Cx {
    let l = log_of(nonzero(a));
    let e = mul(b, l);
    let size = exp(e.re);
    let none = zero(a);
    let one = where_(eq(b.re, b.re.lit(0.0)), a.re.lit(1.0), a.re.lit(0.0));
    Cx::new(where_(none, one, size * cos(e.imag())), where_(none, a.re.lit(0.0), size * sin(e.imag())))
}

/// The root with the nonnegative real part.
fn sqrt_of(z: Cx) -> Cx {
    let a = nonzero(z);
    let (x, y) = (a.re, a.imag());
    let right = ge(x, x.lit(0.0));
    let t = sqrt((hypot(x, y) + where_(right, x, -x)) * 0.5);
    let half = y / (t * 2.0);
    let none = zero(z);
    let re = where_(right, t, abs(half));
    let im = where_(right, half, where_(signbit(y), -t, t));
    Cx::new(where_(none, x.lit(0.0), re), where_(none, y, im))
}

fn turned(a: Cx) -> Cx {
    Cx::new(-a.imag(), a.re)
}
fn turned_back(a: Cx) -> Cx {
    Cx::new(a.imag(), -a.re)
}
fn scaled(a: Cx, by: f64) -> Cx {
    Cx::new(a.re * by, a.imag() * by)
}
fn plus(a: Cx, by: f64) -> Cx {
    Cx::new(a.re + by, a.imag())
}

/// Beyond this the tangents' hyperbolic parts are 1 to the last bit.
const FLAT: f64 = 20.0;

fn tanh_of(a: Cx) -> Cx {
    let (x, y) = (a.re, a.imag());
    let flat = ge(abs(x), x.lit(FLAT));
    let inner = where_(flat, x.lit(0.0), x);
    let (s, c) = (sinh(inner), cos(y));
    let d = s * s + c * c;
    let tail = sin(y) * c * exp(abs(x) * -2.0) * 4.0;
    Cx::new(where_(flat, sign(x), s * cosh(inner) / d), where_(flat, tail, sin(y) * c / d))
}

fn asin_of(z: Cx) -> Cx {
    let a = sqrt_of(plus(scaled(z, -1.0), 1.0));
    let b = sqrt_of(plus(z, 1.0));
    Cx::new(atan2(z.re, mul(a, b).re), asinh(a.re * b.imag() - a.imag() * b.re))
}

fn acos_of(z: Cx) -> Cx {
    let a = sqrt_of(plus(scaled(z, -1.0), 1.0));
    let b = sqrt_of(plus(z, 1.0));
    Cx::new(atan2(a.re, b.re) * 2.0, asinh(b.re * a.imag() - b.imag() * a.re))
}

fn acosh_of(z: Cx) -> Cx {
    let a = sqrt_of(plus(z, -1.0));
    let b = sqrt_of(plus(z, 1.0));
    Cx::new(asinh(a.re * b.re + a.imag() * b.imag()), atan2(a.imag(), b.re) * 2.0)
}

fn atanh_of(z: Cx) -> Cx {
    let (x, y) = (z.re, z.imag());
    let left = -x + 1.0;
    let near = left * left + y * y;
    Cx::new(log1p(x * 4.0 / near) * 0.25, atan2(y * 2.0, left * (x + 1.0) - y * y) * 0.5)
}

fn log1p_of(z: Cx) -> Cx {
    let (x, y) = (z.re, z.imag());
    let small = lt(abs(x) + abs(y), x.lit(0.5));
    let kept = where_(small, x * (x + 2.0) + y * y, x.lit(0.0));
    Cx::new(where_(small, log1p(kept) * 0.5, log(hypot(x + 1.0, y))), atan2(y, x + 1.0))
}

fn transcendental(op: ScalarOp, z: Cx) -> Option<Cx> {
    let (x, y) = (z.re, z.imag());
    Some(match op {
        ScalarOp::Exp => Cx::new(exp(x) * cos(y), exp(x) * sin(y)),
        ScalarOp::Exp2 => transcendental(ScalarOp::Exp, scaled(z, std::f64::consts::LN_2))?,
        ScalarOp::Expm1 => {
            let h = sin(y * 0.5);
            Cx::new(expm1(x) * cos(y) - h * h * 2.0, exp(x) * sin(y))
        }
        ScalarOp::Log => log_of(z),
        ScalarOp::Log2 => scaled(log_of(z), std::f64::consts::LOG2_E),
        ScalarOp::Log10 => scaled(log_of(z), std::f64::consts::LOG10_E),
        ScalarOp::Log1p => log1p_of(z),
        ScalarOp::Sqrt => sqrt_of(z),
        ScalarOp::Rsqrt => div(Cx::new(x.lit(1.0), x.lit(0.0)), sqrt_of(z)),
        ScalarOp::Sin => Cx::new(sin(x) * cosh(y), cos(x) * sinh(y)),
        ScalarOp::Cos => Cx::new(cos(x) * cosh(y), -(sin(x) * sinh(y))),
        ScalarOp::Tan => turned_back(tanh_of(turned(z))),
        ScalarOp::Sinh => Cx::new(sinh(x) * cos(y), cosh(x) * sin(y)),
        ScalarOp::Cosh => Cx::new(cosh(x) * cos(y), sinh(x) * sin(y)),
        ScalarOp::Tanh => tanh_of(z),
        ScalarOp::Asin => asin_of(z),
        ScalarOp::Acos => acos_of(z),
        ScalarOp::Atan => turned_back(atanh_of(turned(z))),
        ScalarOp::Asinh => turned_back(asin_of(turned(z))),
        ScalarOp::Acosh => acosh_of(z),
        ScalarOp::Atanh => atanh_of(z),
        ScalarOp::Sigmoid => {
            let half = plus(tanh_of(scaled(z, 0.5)), 1.0);
            scaled(half, 0.5)
        }
        _ => return None,
    })
}

/// |z| of a complex number's parts; its derivative is 0 at 0.
pub fn abs_parts(re: Ex, im: Ex) -> Ex {
    abs_of(Cx::new(re, im))
}

/// The angle of a complex number's parts; its derivative is 0 at 0.
pub fn angle_parts(re: Ex, im: Ex) -> Ex {
    let z = Cx::new(re, im);
    let b = nonzero(z);
    where_(zero(z), ex::atan2(im.lit(0.0), im.lit(1.0)), ex::atan2(b.imag(), b.re))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{self, Val};

    #[test]
    fn functions_agree_with_their_inverses() {
        let pairs = [
            (ScalarOp::Exp, ScalarOp::Log),
            (ScalarOp::Sqrt, ScalarOp::Square),
            (ScalarOp::Asin, ScalarOp::Sin),
            (ScalarOp::Acos, ScalarOp::Cos),
            (ScalarOp::Atan, ScalarOp::Tan),
            (ScalarOp::Asinh, ScalarOp::Sinh),
            (ScalarOp::Acosh, ScalarOp::Cosh),
            (ScalarOp::Atanh, ScalarOp::Tanh),
            (ScalarOp::Log1p, ScalarOp::Expm1),
        ];
        for (f, g) in pairs {
            for at in [[0.3, 0.7], [-0.8, 0.45], [0.15, -1.2], [-0.4, -0.3]] {
                let (mut p, y) = build(Program::new(), || {
                    let z = Ex::leaf(DType::C128);
                    Ex::apply(g, &[Ex::apply(f, &[z])])
                });
                p.outputs.push(y.0);
                let (low, leaves) = lower(&p).unwrap_or_else(|| panic!("{f:?} has no complex meaning"));
                assert_eq!(leaves, [Part::Real(0), Part::Imag(0)]);
                low.verify().unwrap();
                let got = oracle::run(&low, &[Val::Float(at[0]), Val::Float(at[1])], 0);
                for k in 0..2 {
                    assert!((got[k].float() - at[k]).abs() < 1e-9, "{f:?} {g:?} at {at:?}: {got:?}");
                }
            }
        }
    }

    #[test]
    fn rows_without_a_complex_meaning_are_refused() {
        let (mut p, y) = build(Program::new(), || ex::floor(Ex::leaf(DType::C64)));
        p.outputs.push(y.0);
        assert!(lower(&p).is_none());
    }
}
