//! Pointwise compositions: operators that are one expression over rows of the table, hence one fused program, rounded
//! once, with their gradient from the rows. With `dest` the result is written there (`clamp_`, `out=`).

use rtorch_ir::program::{Ex, ex};
use rtorch_ir::{DType, Result, Scalar, ScalarOp, ensure, storage_dtypes};

use super::complex;
use super::convert::to_dtype;
use super::nn::rule::{self, Save};
use super::pointwise::{Arg, Rule, binary, compose, compose_given, into, result_type, unary, where_};
use crate::tensor::Tensor;

type Dest<'a> = Option<&'a Tensor>;

/// `clamp`: NaN stays; where the bounds cross, the upper one wins. The gradient at a bound passes.
/// `alone` says that PyTorch's function of one bound was called (`clamp_min`).
pub fn clamp(x: &Tensor, lo: Option<Arg>, hi: Option<Arg>, alone: bool, dest: Dest) -> Result<Tensor> {
    ensure!(lo.is_some() || hi.is_some(), runtime, "torch.clamp: At least one of 'min' or 'max' must not be None");
    let keep_low = |a: Ex, b: Ex| ex::where_(ex::lt(a, b), b, propagate(a, b));
    let keep_high = |a: Ex, b: Ex| ex::where_(ex::gt(a, b), b, propagate(a, b));
    let (target, x) = (x, Arg::T(x));
    let tensors = [lo, hi].iter().flatten().any(|a| matches!(a, Arg::T(_)));
    let one = |of_number: &'static str, of_tensor: &'static str| if tensors { of_tensor } else { of_number };
    let both = one("ClampBackward1", "ClampBackward0");
    match (lo, hi) {
        (Some(lo), Some(hi)) => {
            compose("clamp", both, Rule::Same, &[x, lo, hi], dest, |a| keep_high(keep_low(a[0], a[1]), a[2]))
        }
        (Some(lo), None) => {
            let name = if alone { one("ClampMinBackward0", "ClampMinBackward1") } else { both };
            compose("clamp_min", name, Rule::Same, &[x, lo], dest, |a| keep_low(a[0], a[1]))
        }
        (None, Some(hi)) => {
            let name = if alone { one("ClampMaxBackward0", "ClampMaxBackward1") } else { both };
            compose("clamp_max", name, Rule::Same, &[x, hi], dest, |a| keep_high(a[0], a[1]))
        }
        (None, None) => super::shape::alias(target),
    }
}

/// `a`, or the bound when that is NaN (floats only).
fn propagate(a: Ex, bound: Ex) -> Ex {
    if a.dtype().is_float() { ex::where_(ex::isnan(bound), bound, a) } else { a }
}

/// x + value * a * b.
pub fn addcmul(x: &Tensor, a: &Tensor, b: &Tensor, value: Scalar, dest: Dest) -> Result<Tensor> {
    let integral = [x, a, b].iter().all(|t| t.dtype().is_integral());
    let value = if integral && value.imag() == 0.0 { Scalar::Int(value.to_i64()) } else { value };
    let args = [Arg::T(x), Arg::T(a), Arg::T(b), Arg::S(value)];
    compose("addcmul", "AddcmulBackward0", Rule::Same, &args, dest, |a| a[0] + a[3] * a[1] * a[2])
}

/// x + value * a / b, floats only.
pub fn addcdiv(x: &Tensor, a: &Tensor, b: &Tensor, value: Scalar, dest: Dest) -> Result<Tensor> {
    ensure!(
        result_type(&[Arg::T(a), Arg::T(b)])?.is_differentiable(),
        runtime,
        "Integer division with addcdiv is no longer supported, and in a future release addcdiv will perform a true \
         division \
         of tensor1 and tensor2. The historic addcdiv behavior can be implemented as (input + value * \
         torch.trunc(tensor1 / \
         tensor2)).to(input.dtype) for integer inputs and as (input + value * tensor1 / tensor2) for float inputs."
    );
    let args = [Arg::T(x), Arg::T(a), Arg::T(b), Arg::S(value)];
    compose("addcdiv", "AddcdivBackward0", Rule::Same, &args, dest, |a| a[0] + a[3] * (a[1] / a[2]))
}

/// Linear interpolation, in the form that is exact at both ends.
pub fn lerp(x: &Tensor, end: &Tensor, weight: Arg, dest: Dest) -> Result<Tensor> {
    ensure!(
        x.dtype() == end.dtype(),
        runtime,
        "expected dtype {} for `end` but got dtype {}",
        x.dtype().name(),
        end.dtype().name()
    );
    let name = if matches!(weight, Arg::S(_)) { "LerpBackward0" } else { "LerpBackward1" };
    if x.dtype().is_complex() {
        return compose("lerp_complex", name, Rule::Same, &[Arg::T(x), Arg::T(end), weight], dest, |a| {
            a[0] + a[2] * (a[1] - a[0])
        });
    }
    compose("lerp", name, Rule::FloatOnly, &[Arg::T(x), Arg::T(end), weight], dest, |a| {
        let d = a[1] - a[0];
        let small = ex::lt(ex::abs(a[2]), a[2].lit(0.5));
        ex::where_(small, a[0] + a[2] * d, a[1] - d * (-a[2] + 1.0))
    })
}

/// a + alpha * b (or minus).
pub fn add_alpha(a: Arg, b: Arg, alpha: Scalar, minus: bool, dest: Dest) -> Result<Tensor> {
    let common = result_type(&[a, b])?;
    ensure!(
        !(common.is_integral() && matches!(alpha, Scalar::Float(_) | Scalar::Complex(..))),
        runtime,
        "For integral input tensors, argument alpha must not be a floating point number."
    );
    ensure!(
        common == DType::Bool || !matches!(alpha, Scalar::Bool(_)),
        runtime,
        "Boolean alpha only supported for Boolean results."
    );
    ensure!(
        common.is_complex() || alpha.imag() == 0.0 && !matches!(alpha, Scalar::Complex(..)),
        runtime,
        "For non-complex input tensors, argument alpha must not be a complex number."
    );
    let alpha = if common == DType::Bool { Scalar::Bool(alpha.is_true()) } else { alpha };
    let (name, grad) = if minus { ("sub_alpha", "SubBackward0") } else { ("add_alpha", "AddBackward0") };
    compose(name, grad, Rule::Same, &[a, b, Arg::S(alpha)], dest, move |a| {
        if minus { a[0] - a[1] * a[2] } else { a[0] + a[1] * a[2] }
    })
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident $grad:literal $rule:ident |$a:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name(x: &Tensor, dest: Dest) -> Result<Tensor> {
            compose(stringify!($name), $grad, Rule::$rule, &[Arg::T(x)], dest, |args| {
                let $a = args[0];
                $body
            })
        }
    )*};
}

/// Angle in the complex plane: pi for negative numbers, NaN kept.
pub fn angle(x: &Tensor, dest: Dest) -> Result<Tensor> {
    if x.dtype().is_complex() && dest.is_none() { super::complex::angle(x) } else { real_angle(x, dest) }
}

fn real_angle(x: &Tensor, dest: Dest) -> Result<Tensor> {
    let body = |a: &[Ex]| {
        let a = a[0];
        let turned = ex::where_(ex::lt(a, a.lit(0.0)), a.lit(std::f64::consts::PI), a.lit(0.0));
        ex::where_(ex::isnan(a), a, turned)
    };
    compose_given("real_angle", "AngleBackward0", Rule::Float, &[Arg::T(x)], dest, body, |_, _, g| g.lit(0.0))
}

/// A number in the place of every element; the gradient is zero, not absent.
pub fn filled(x: &Tensor, value: Scalar) -> Result<Tensor> {
    let args = [Arg::T(x), Arg::S(value)];
    compose_given("filled", "FillBackward0", Rule::FloatOnly, &args, None, |a| a[1], |_, _, g| g.lit(0.0))
}

/// The loss of smooth_l1 (`slope` 1 / beta) and huber (`slope` 1) from the difference: a parabola within `width` of 0,
/// straight beyond.
pub fn rounded_distance(d: &Tensor, width: f64, divided: bool) -> Result<Tensor> {
    // the difference cut to the width; the loss is near * (d - near / 2) on either side of it
    let near = |a: &[Ex]| ex::where_(ex::gt(a[0], a[1]), a[1], ex::where_(ex::lt(a[0], -a[1]), -a[1], a[0]));
    let scaled = |v: Ex, a: &[Ex]| if divided { v / a[1] } else { v };
    let (name, grad) = if divided { ("smooth_l1", "SmoothL1LossBackward0") } else { ("huber", "HuberLossBackward0") };
    let body = |a: &[Ex]| {
        let n = near(a);
        scaled(n * (a[0] - n * 0.5), a)
    };
    compose_given(name, grad, Rule::FloatOnly, &[Arg::T(d), width.into()], None, body, |a, _, g| scaled(near(a), a) * g)
}

/// Records `m`, the mantissas of x, as a function of x: both differ by a power of two.
pub fn link_mantissa(x: &Tensor, m: &Tensor) -> Result<()> {
    rule::record("FrexpBackward0", &[x], &[m], &[Save::Input(x), Save::Output(m, 0)], |b| {
        let (x, m, g) = (b.saved(0)?, b.saved(1)?, b.grad(0)?);
        let args = [Arg::T(&g), Arg::T(&x), Arg::T(&m)];
        let dx = compose("mantissa_grad", "MulBackward0", Rule::Same, &args, None, |a| {
            // zeros, infinities and NaN are their own mantissas
            let same = ex::where_(ex::eq(a[1], a[2]), a[0], a[2] / a[1] * a[0]);
            ex::where_(ex::isnan(a[1]), a[0], same)
        })?;
        Ok(vec![Some(dx)])
    })
}

unary! {
    /// Radians to degrees.
    rad2deg "Rad2DegBackward0" RealFloat |a| a * (180.0 / std::f64::consts::PI);
    /// Degrees to radians.
    deg2rad "Deg2RadBackward0" RealFloat |a| a * (std::f64::consts::PI / 180.0);
    /// The part after the point, with the sign of the number.
    frac "FracBackward0" FloatOnly |a| a - ex::trunc(a);
    /// sin(pi x) / (pi x), 1 at 0.
    sinc "SincBackward0" Float |a| {
        let zero = ex::eq(a, a.lit(0.0));
        let p = ex::where_(zero, a.lit(1.0), a) * std::f64::consts::PI;
        ex::where_(zero, a.lit(1.0), ex::sin(p) / p)
    };
    /// Finite?
    isfinite "" Bool |a| if a.dtype().is_differentiable() {
        ex::logical_not(ex::logical_or(ex::isnan(a), ex::isinf(a)))
    } else {
        ex::eq(a, a)
    };
    isposinf "" RealBool |a| if a.dtype().is_float() { ex::eq(a, a.lit(f64::INFINITY)) } else { ex::ne(a, a) };
    isneginf "" RealBool |a| if a.dtype().is_float() { ex::eq(a, a.lit(f64::NEG_INFINITY)) } else { ex::ne(a, a) };
    /// -x log(x); 0 at 0, -inf below.
    entr "SpecialEntrBackward0" RealFloat |a| {
        let zero = ex::eq(a, a.lit(0.0));
        let low = ex::where_(ex::lt(a, a.lit(0.0)), a.lit(f64::NEG_INFINITY), a);
        ex::where_(zero, a.lit(0.0), ex::where_(ex::le(a, a.lit(0.0)), low, -a * ex::log(a)))
    };
    /// Area under the standard normal's curve up to x.
    ndtr "MulBackward1" RealFloat |a| ex::erfc(a * -std::f64::consts::FRAC_1_SQRT_2) * 0.5;
}

/// log(x / (1 - x)), x clamped to [eps, 1 - eps] where eps is given.
pub fn logit(x: &Tensor, eps: Option<f64>, dest: Dest) -> Result<Tensor> {
    let log_odds = |a: Ex| ex::log(a / (-a + 1.0));
    let slope = |x: Ex, g: Ex| {
        let spread = (x.lit(1.0) - x) * x;
        ex::where_(ex::lt(spread, x.lit(0.0)), x.lit(f64::NAN), g / spread)
    };
    const GRAD: &str = "LogitBackward0";
    let Some(e) = eps else {
        let (body, given) = (|a: &[Ex]| log_odds(a[0]), |a: &[Ex], _: Ex, g: Ex| slope(a[0], g));
        return compose_given("logit", GRAD, Rule::RealFloat, &[Arg::T(x)], dest, body, given);
    };
    let body = |a: &[Ex]| {
        let low = ex::where_(ex::lt(a[0], a[1]), a[1], a[0]);
        log_odds(ex::where_(ex::gt(low, a[2]), a[2], low))
    };
    compose("logit_eps", GRAD, Rule::Float, &[Arg::T(x), e.into(), (1.0 - e).into()], dest, body)
}

/// x log(y), 0 where x is 0 (unless y is NaN).
pub fn xlogy(x: Arg, y: Arg, dest: Dest) -> Result<Tensor> {
    compose("xlogy", "XlogyBackward0", Rule::RealFloat, &[x, y], dest, |a| x_times(a[0], a[1], ex::log))
}

/// x log(1 + y), 0 where x is 0 (unless y is NaN).
pub fn xlog1py(x: Arg, y: Arg, dest: Dest) -> Result<Tensor> {
    compose("xlog1py", "SpecialXlog1PyBackward0", Rule::RealFloat, &[x, y], dest, |a| x_times(a[0], a[1], ex::log1p))
}

fn x_times(x: Ex, y: Ex, f: fn(Ex) -> Ex) -> Ex {
    let zero = ex::logical_and(ex::eq(x, x.lit(0.0)), ex::logical_not(ex::isnan(y)));
    // the untaken branch must not poison the gradient
    let safe = ex::where_(zero, y.lit(1.0), y);
    ex::where_(zero, x * 0.0, x * f(safe))
}

/// log(exp(a) + exp(b)) without overflow.
pub fn logaddexp(a: &Tensor, b: &Tensor, dest: Dest) -> Result<Tensor> {
    let args = [Arg::T(a), Arg::T(b)];
    if result_type(&args)?.is_complex() {
        return into(complex_log_sum(a, b)?, dest);
    }
    compose("logaddexp", "LogaddexpBackward0", Rule::FloatOnly, &args, dest, |x| {
        log_sum(x[0], x[1], ex::exp, ex::log1p)
    })
}

/// log(exp(a) + exp(b)) of complex numbers, from the one with the larger real part.
fn complex_log_sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let common = result_type(&[Arg::T(a), Arg::T(b)])?;
    let (p, q) = (to_dtype(a, common)?, to_dtype(b, common)?);
    let (re_p, re_q) = (complex::part(&p, 0)?, complex::part(&q, 0)?);
    let first = binary(ScalarOp::Ge, Arg::T(&re_p), Arg::T(&re_q))?;
    let (large, small) = (where_(&first, Arg::T(&p), Arg::T(&q))?, where_(&first, Arg::T(&q), Arg::T(&p))?);
    let share = unary(ScalarOp::Exp, &super::sub(&small, &large)?)?;
    let sum = super::add(&large, &unary(ScalarOp::Log1p, &share)?)?;
    // equal infinities: their difference is NaN, the answer is the infinity
    let equal = binary(ScalarOp::Eq, Arg::T(&re_p), Arg::T(&re_q))?;
    let stuck = binary(ScalarOp::LogicalAnd, Arg::T(&equal), Arg::T(&unary(ScalarOp::IsInf, &re_p)?))?;
    let out = where_(&stuck, Arg::T(&large), Arg::T(&sum))?;
    crate::autograd::composite::collapse("LogaddexpBackward0", &[a, b], &[&out]);
    Ok(out)
}

/// log2(2^a + 2^b) without overflow.
pub fn logaddexp2(a: &Tensor, b: &Tensor, dest: Dest) -> Result<Tensor> {
    let args = [Arg::T(a), Arg::T(b)];
    let log2_1p = |x: Ex| ex::log1p(x) * std::f64::consts::LOG2_E;
    compose("logaddexp2", "Logaddexp2Backward0", Rule::FloatOnly, &args, dest, |x| {
        log_sum(x[0], x[1], ex::exp2, log2_1p)
    })
}

fn log_sum(a: Ex, b: Ex, power: fn(Ex) -> Ex, log_1p: fn(Ex) -> Ex) -> Ex {
    // equal infinities: their difference is NaN, the answer is the infinity
    let both = ex::logical_and(ex::isinf(a), ex::eq(a, b));
    let a_safe = ex::where_(both, a.lit(0.0), a);
    let b_safe = ex::where_(both, b.lit(0.0), b);
    let top = ex::maximum(a_safe, b_safe);
    let gap = -ex::abs(a_safe - b_safe);
    ex::where_(both, a, top + log_1p(power(gap)))
}

/// a * 2^b.
pub fn ldexp(a: Arg, b: Arg, dest: Dest) -> Result<Tensor> {
    // the power once for each exponent, where these are the fewer
    let common = result_type(&[a, b])?;
    if let (Arg::T(x), Arg::T(e), DType::F32 | DType::F64) = (a, b, common)
        && e.numel() < x.numel()
    {
        let power = super::unary(rtorch_ir::ScalarOp::Exp2, &super::convert::to_dtype(e, common)?)?;
        let args = [a, Arg::T(&power)];
        return compose("ldexp_power", "LdexpBackward0", Rule::Float, &args, dest, |x| x[0] * x[1]);
    }
    compose("ldexp", "LdexpBackward0", Rule::Float, &[a, b], dest, |x| x[0] * ex::exp2(x[1]))
}

/// 0 below zero, `values` at zero, 1 above.
pub fn heaviside(x: &Tensor, values: &Tensor, dest: Dest) -> Result<Tensor> {
    ensure!(
        x.dtype() == values.dtype(),
        runtime,
        "heaviside is not yet implemented for tensors with different dtypes."
    );
    compose("heaviside", "", Rule::Same, &[Arg::T(x), Arg::T(values)], dest, |a| {
        let zero = a[0].lit(0.0);
        ex::where_(ex::eq(a[0], zero), a[1], ex::where_(ex::lt(a[0], zero), zero, a[0].lit(1.0)))
    })
}

/// NaN and infinities replaced (by default 0 and the dtype's largest and smallest).
pub fn nan_to_num(x: &Tensor, nan: Option<f64>, pos: Option<f64>, neg: Option<f64>, dest: Dest) -> Result<Tensor> {
    if x.dtype().is_complex() {
        let y = nan_to_num(&super::complex::view_as_real(x)?, nan, pos, neg, None)?;
        let y = super::complex::view_as_complex(&y)?;
        return match dest {
            Some(d) => crate::inplace::copy_(d, &y).map(|()| d.clone()),
            None => Ok(y),
        };
    }
    if x.dtype().is_integral() {
        return match dest {
            Some(d) => Ok(d.clone()),
            None => super::shape::clone(x),
        };
    }
    let top = match x.dtype() {
        DType::F16 => 65504.0,
        DType::BF16 => f32::from_bits(0x7f7f_0000) as f64,
        DType::F64 | DType::C128 => f64::MAX,
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F32
        | DType::C64
        | storage_dtypes!() => f32::MAX as f64,
    };
    let args = [Arg::T(x), nan.unwrap_or(0.0).into(), pos.unwrap_or(top).into(), neg.unwrap_or(-top).into()];
    compose("nan_to_num", "NanToNumBackward0", Rule::Same, &args, dest, |a| {
        let low = ex::where_(ex::eq(a[0], a[0].lit(f64::NEG_INFINITY)), a[3], a[0]);
        let high = ex::where_(ex::eq(a[0], a[0].lit(f64::INFINITY)), a[2], low);
        ex::where_(ex::isnan(a[0]), a[1], high)
    })
}

/// The same for complex numbers, with absolute values in the plane.
fn complex_isclose(a: &Tensor, b: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
    use rtorch_ir::ScalarOp;
    let (a, b) = (a.detach(), b.detach());
    let same = super::binary(ScalarOp::Eq, Arg::T(&a), Arg::T(&b))?;
    let gap = super::unary(ScalarOp::Abs, &super::sub(&a, &b)?)?;
    let size = super::unary(ScalarOp::Abs, &b)?;
    let args = [Arg::T(&gap), Arg::T(&size), rtol.into(), atol.into()];
    let near = compose("isclose_complex", "", Rule::Bool, &args, None, |x| {
        let finite = ex::logical_not(ex::logical_or(ex::isinf(x[0]), ex::isinf(x[1])));
        ex::logical_and(finite, ex::le(x[0], x[3] + ex::abs(x[2] * x[1])))
    })?;
    let mut y = super::binary(ScalarOp::LogicalOr, Arg::T(&same), Arg::T(&near))?;
    if equal_nan {
        let missing = |t: &Tensor| super::unary(ScalarOp::IsNan, t);
        let both = super::binary(ScalarOp::LogicalAnd, Arg::T(&missing(&a)?), Arg::T(&missing(&b)?))?;
        y = super::binary(ScalarOp::LogicalOr, Arg::T(&y), Arg::T(&both))?;
    }
    Ok(y)
}

/// |a - b| <= atol + rtol * |b|, exactly equal infinities included.
pub fn isclose(a: &Tensor, b: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
    ensure!(a.dtype() == b.dtype(), runtime, "{} did not match {}", a.dtype().cpp_name(), b.dtype().cpp_name());
    ensure!(
        rtol >= 0.0 && atol >= 0.0,
        runtime,
        "rtol and atol must be greater than or equal to zero, but got {rtol} and {atol}"
    );
    if a.dtype().is_complex() {
        return complex_isclose(a, b, rtol, atol, equal_nan);
    }
    let float = a.dtype().is_float();
    let name = if equal_nan { "isclose_nan" } else { "isclose" };
    let args = [Arg::T(a), Arg::T(b), rtol.into(), atol.into()];
    if !float {
        let (a, b) = (super::convert::to_dtype(a, DType::F64)?, super::convert::to_dtype(b, DType::F64)?);
        return isclose(&a, &b, rtol, atol, equal_nan);
    }
    compose(name, "", Rule::Bool, &args, None, move |x| {
        let same = ex::eq(x[0], x[1]);
        let near = ex::le(ex::abs(x[0] - x[1]), x[3] + ex::abs(x[2] * x[1]));
        let finite = ex::logical_not(ex::logical_or(ex::isinf(x[0]), ex::isinf(x[1])));
        let near = ex::logical_or(same, ex::logical_and(finite, near));
        if equal_nan { ex::logical_or(near, ex::logical_and(ex::isnan(x[0]), ex::isnan(x[1]))) } else { near }
    })
}

/// Rounded to `decimals` places.
pub fn round_decimals(x: &Tensor, decimals: i64, dest: Dest) -> Result<Tensor> {
    let scale = 10f64.powi(decimals.unsigned_abs().min(400) as i32);
    let up = decimals >= 0;
    compose(
        if up { "round_places" } else { "round_tens" },
        "RoundBackward1",
        Rule::FloatOnly,
        &[Arg::T(x), scale.into()],
        dest,
        move |a| {
            if up { ex::round(a[0] * a[1]) / a[1] } else { ex::round(a[0] / a[1]) * a[1] }
        },
    )
}

/// Powers in double precision.
pub fn float_power(a: Arg, b: Arg) -> Result<Tensor> {
    let wide = |x: Arg| -> Result<Option<Tensor>> {
        match x {
            Arg::T(t) => to_dtype(t, if t.dtype().is_complex() { DType::C128 } else { DType::F64 }).map(Some),
            Arg::S(_) => Ok(None),
        }
    };
    let (ta, tb) = (wide(a)?, wide(b)?);
    let a = ta.as_ref().map_or(a, Arg::T);
    let b = tb.as_ref().map_or(b, Arg::T);
    super::binary(rtorch_ir::ScalarOp::Pow, a, b)
}
