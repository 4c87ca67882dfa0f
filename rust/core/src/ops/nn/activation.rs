//! Activations: each one pointwise program. The bodies are written so that the derived gradient is PyTorch's at the
//! kinks (relu'(0) = 0), and so that a branch not taken never puts inf * 0 into it. Softmax is a primitive.

use std::sync::{Arc, OnceLock};

use rtorch_ir::layout::normalize_dim;
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Error, Prim, Program, Result, Scalar, ensure};
use smallvec::SmallVec;

use super::rule::{self, Save};
use crate::autograd::{forward, mode, record};
use crate::dispatch::{self, prim1};
use crate::inplace;
use crate::kernel::Kernel;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, compose, compose_given, not_implemented};
use crate::ops::{several, shape};
use crate::tensor::Tensor;

/// Klambauer et al. 2017.
const SELU_ALPHA: f64 = 1.6732632423543772848170429916717;
const SELU_SCALE: f64 = 1.0507009873554804934193349852946;
/// Of the tanh approximation of GELU (Hendrycks & Gimpel 2016).
const GELU_CUBIC: f64 = 0.044715;

/// One program over a float tensor and numbers; with `dest`, written there.
fn float_op(
    name: &'static str,
    grad: &'static str,
    x: &Tensor,
    numbers: &[f64],
    dest: Option<&Tensor>,
    body: impl Fn(&[Ex]) -> Ex,
) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(not_implemented(name, x.dtype()));
    }
    let mut args: SmallVec<[Arg; 5]> = SmallVec::from_slice(&[Arg::T(x)]);
    args.extend(numbers.iter().map(|&v| Arg::S(v.into())));
    compose(name, grad, Rule::FloatOnly, &args, dest, body)
}

/// The same with its derivative given.
fn float_op_given(
    [name, grad]: [&'static str; 2],
    x: &Tensor,
    numbers: &[f64],
    dest: Option<&Tensor>,
    body: impl Fn(&[Ex]) -> Ex,
    given: impl Fn(&[Ex], Ex, Ex) -> Ex,
) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(not_implemented(name, x.dtype()));
    }
    let mut args: SmallVec<[Arg; 5]> = SmallVec::from_slice(&[Arg::T(x)]);
    args.extend(numbers.iter().map(|&v| Arg::S(v.into())));
    compose_given(name, grad, Rule::FloatOnly, &args, dest, body, given)
}

/// `where(c, a, 0)`: what the branch not taken computes with.
fn only(c: Ex, a: Ex) -> Ex {
    ex::where_(c, a, a.lit(0.0))
}

/// The kernels of relu by dtype. Its cotangent needs the result alone, so the input's memory is free at once.
fn relu_kernel(dtype: DType) -> Arc<Kernel> {
    static KERNELS: OnceLock<Vec<OnceLock<Arc<Kernel>>>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| DType::ALL.iter().map(|_| OnceLock::new()).collect());
    all[dtype as usize]
        .get_or_init(|| {
            let (mut p, y) = build(Program::new(), || {
                let x = Ex::leaf(dtype);
                ex::where_(ex::le(x, x.lit(0.0)), x.lit(0.0), x).cast(dtype)
            });
            p.outputs.push(y.0);
            if !dtype.is_float() {
                return Kernel::new(p);
            }
            let (mut d, g) = build(Program::new(), || {
                let (y, g) = (Ex::leaf(dtype), Ex::leaf(dtype));
                ex::where_(ex::le(y, y.lit(0.0)), g.lit(0.0), g).cast(dtype)
            });
            d.outputs.push(g.0);
            Kernel::from_result(p, d)
        })
        .clone()
}

/// max(0, x).
pub fn relu(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    let dtype = x.dtype();
    ensure!(dtype != DType::Bool, runtime, "Boolean inputs not supported for relu");
    if dtype.is_complex() {
        return Err(not_implemented("clamp_min_scalar", dtype));
    }
    match dest {
        None => dispatch::map("ReluBackward0", &relu_kernel(dtype), &[x]),
        Some(d) => {
            inplace::map("ReluBackward0", d, &relu_kernel(dtype), &[x])?;
            Ok(d.clone())
        }
    }
}

pub fn leaky_relu(x: &Tensor, slope: f64, dest: Option<&Tensor>) -> Result<Tensor> {
    float_op("leaky_relu", "LeakyReluBackward0", x, &[slope], dest, |a| {
        ex::where_(ex::gt(a[0], a[0].lit(0.0)), a[0], a[0] * a[1])
    })
}

/// x * scale where positive, else alpha * scale * (exp(x * input_scale) - 1).
pub fn elu(x: &Tensor, alpha: f64, scale: f64, input_scale: f64, dest: Option<&Tensor>) -> Result<Tensor> {
    let numbers = [alpha * scale, scale, input_scale];
    let body = |a: &[Ex]| {
        let negative = ex::le(a[0], a[0].lit(0.0));
        ex::where_(negative, ex::expm1(only(negative, a[0]) * a[3]) * a[1], a[0] * a[2])
    };
    // the result tells the branch, and what the exponential was; rounded to 16 bits it has too few digits for that
    if numbers.iter().all(|&v| v > 0.0) && matches!(x.dtype(), DType::F32 | DType::F64) {
        return float_op_given(["elu_by_result", "EluBackward0"], x, &numbers, dest, body, |a, y, g| {
            ex::where_(ex::le(y, y.lit(0.0)), (y + a[1]) * a[3] * g, g * a[2])
        });
    }
    float_op("elu", "EluBackward0", x, &numbers, dest, body)
}

pub fn selu(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    elu(x, SELU_ALPHA, SELU_SCALE, 1.0, dest)
}

pub fn celu(x: &Tensor, alpha: f64, dest: Option<&Tensor>) -> Result<Tensor> {
    ensure!(alpha != 0.0, runtime, "ZeroDivisionError: alpha cannot be 0 for CELU");
    elu(x, alpha, 1.0, 1.0 / alpha, dest)
}

/// x * sigmoid(x).
pub fn silu(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    float_op_given(
        ["silu", "SiluBackward0"],
        x,
        &[],
        dest,
        |a| a[0] * ex::sigmoid(a[0]),
        |a, _, g| {
            let s = ex::sigmoid(a[0]);
            ((s.lit(1.0) - s) * a[0] + 1.0) * s * g
        },
    )
}

/// x * P(X <= x) of the standard normal, by erf or (`tanh`) its approximation.
pub fn gelu(x: &Tensor, approximate: &str) -> Result<Tensor> {
    match approximate {
        "none" => float_op("GeluKernelImpl", "GeluBackward0", x, &[], None, |a| ex::gelu(a[0])),
        "tanh" => float_op("GeluKernelImplTanh", "GeluBackward0", x, &[], None, |a| {
            let x = a[0];
            let inner = (x + x * x * x * GELU_CUBIC) * (2.0 / std::f64::consts::PI).sqrt();
            x * (ex::tanh(inner) + 1.0) * 0.5
        }),
        _ => Err(Error::runtime("approximate argument must be either none or tanh.")),
    }
}

/// log(1 + exp(x)) without overflow.
fn soft_plus(x: Ex) -> Ex {
    ex::maximum(x, x.lit(0.0)) + ex::log1p(ex::exp(-ex::abs(x)))
}

/// x * tanh(log(1 + exp(x))).
pub fn mish(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    float_op("mish", "MishBackward0", x, &[], dest, |a| a[0] * ex::tanh(soft_plus(a[0])))
}

/// log(1 + exp(beta x)) / beta; linear above the threshold.
pub fn softplus(x: &Tensor, beta: f64, threshold: f64) -> Result<Tensor> {
    let body = |a: &[Ex]| {
        let z = a[0] * a[1];
        ex::where_(ex::gt(z, a[2]), a[0], ex::log1p(ex::exp(z)) * (z.lit(1.0) / a[1]))
    };
    float_op_given(["softplus", "SoftplusBackward0"], x, &[beta, threshold], None, body, |a, _, g| {
        let z = a[0] * a[1];
        ex::where_(ex::gt(z, a[2]), g, ex::sigmoid(z) * g)
    })
}

/// The kernels of log_sigmoid by dtype. Its derivative is 1 - exp of the result.
fn log_sigmoid_kernel(dtype: DType) -> Arc<Kernel> {
    static KERNELS: OnceLock<Vec<OnceLock<Arc<Kernel>>>> = OnceLock::new();
    let all = KERNELS.get_or_init(|| DType::ALL.iter().map(|_| OnceLock::new()).collect());
    all[dtype as usize]
        .get_or_init(|| {
            let inner = dtype.ctype().dtype();
            let (mut p, y) = build(Program::new(), || (-soft_plus(-Ex::leaf(dtype).cast(inner))).cast(dtype));
            p.outputs.push(y.0);
            let (mut d, g) = build(Program::new(), || {
                let (y, g) = (Ex::leaf(dtype).cast(inner), Ex::leaf(dtype).cast(inner));
                (-(g * ex::expm1(y))).cast(dtype)
            });
            d.outputs.push(g.0);
            Kernel::from_result(p, d)
        })
        .clone()
}

/// log(sigmoid(x)) without overflow.
pub fn log_sigmoid(x: &Tensor) -> Result<Tensor> {
    if !x.dtype().is_float() {
        return Err(not_implemented("log_sigmoid", x.dtype()));
    }
    dispatch::map("LogSigmoidBackward0", &log_sigmoid_kernel(x.dtype()), &[x])
}

/// x limited to [low, high]; no gradient at the ends.
pub fn hardtanh(x: &Tensor, low: Scalar, high: Scalar, dest: Option<&Tensor>) -> Result<Tensor> {
    let dtype = x.dtype();
    ensure!(dtype != DType::Bool, runtime, "Bool inputs not supported for hardtanh");
    if dtype.is_complex() {
        return Err(not_implemented("hardtanh", dtype));
    }
    let number = |s: Scalar| if dtype.is_integral() { Scalar::Int(s.to_i64()) } else { Scalar::Float(s.to_f64()) };
    let args = [Arg::T(x), Arg::S(number(low)), Arg::S(number(high))];
    compose("hardtanh", "HardtanhBackward0", Rule::Same, &args, dest, |a| {
        ex::where_(ex::le(a[0], a[1]), a[1], ex::where_(ex::ge(a[0], a[2]), a[2], a[0]))
    })
}

/// A division would take as long as the rest of these two, and their derivatives.
const SIXTH: f64 = 1.0 / 6.0;

/// x * relu6(x + 3) / 6 (Howard et al. 2019).
pub fn hardswish(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    float_op("hardswish", "HardswishBackward0", x, &[], dest, |a| {
        let x = a[0];
        let inner = ex::where_(ex::ge(x, x.lit(3.0)), x, x * (x + 3.0) * SIXTH);
        ex::where_(ex::le(x, x.lit(-3.0)), x.lit(0.0), inner)
    })
}

/// relu6(x + 3) / 6.
pub fn hardsigmoid(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    let body = |a: &[Ex]| {
        let y = a[0] + 3.0;
        let high = ex::where_(ex::gt(y, y.lit(6.0)), y.lit(6.0), y);
        ex::where_(ex::lt(y, y.lit(0.0)), y.lit(0.0), high) * SIXTH
    };
    float_op_given(["hardsigmoid", "HardsigmoidBackward0"], x, &[], dest, body, |a, _, g| {
        let x = a[0];
        let below = ex::where_(ex::ge(x, x.lit(3.0)), x.lit(0.0), g * SIXTH);
        ex::where_(ex::le(x, x.lit(-3.0)), x.lit(0.0), below)
    })
}

/// 0 where x lies in [-lambd, lambd], else v.
fn inside(a: &[Ex], v: Ex) -> Ex {
    ex::where_(ex::le(ex::abs(a[0]), a[1]), v.lit(0.0), v)
}

/// x outside [-lambd, lambd], else 0.
pub fn hardshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    let body = |a: &[Ex]| inside(a, a[0]);
    float_op_given(["hardshrink", "HardshrinkBackward0"], x, &[lambd], None, body, |a, _, g| inside(a, g))
}

/// x moved towards 0 by lambd, 0 inside [-lambd, lambd]; NaN stays.
pub fn softshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    ensure!(lambd >= 0.0, runtime, "lambda must be greater or equal to 0, but found to be {lambd}.");
    let body = |a: &[Ex]| {
        // what is cut off; zeros keep the sign
        let cut = ex::where_(ex::gt(a[0], a[1]), a[1], ex::where_(ex::lt(a[0], -a[1]), -a[1], a[0]));
        ex::copysign(a[0] - cut, a[0])
    };
    float_op_given(["softshrink", "SoftshrinkBackward0"], x, &[lambd], None, body, |a, _, g| inside(a, g))
}

/// x where greater than the threshold, else the value.
pub fn threshold(x: &Tensor, threshold: Scalar, value: Scalar, dest: Option<&Tensor>) -> Result<Tensor> {
    let dtype = x.dtype();
    if dtype.is_complex() || dtype == DType::Bool {
        return Err(not_implemented("threshold", dtype));
    }
    let number = |s: Scalar| if dtype.is_integral() { Scalar::Int(s.to_i64()) } else { Scalar::Float(s.to_f64()) };
    let args = [Arg::T(x), Arg::S(number(threshold)), Arg::S(number(value))];
    compose("threshold", "ThresholdBackward0", Rule::Same, &args, dest, |a| ex::where_(ex::le(a[0], a[1]), a[2], a[0]))
}

/// x where positive, else weight * x; one weight, or one per channel (dim 1).
pub fn prelu(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    ensure!(
        weight.ndim() <= 1,
        runtime,
        "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {}",
        weight.ndim()
    );
    ensure!(
        x.dtype() == weight.dtype(),
        runtime,
        "prelu: Type promoting not supported. Got {} and {}",
        x.dtype().cpp_name(),
        weight.dtype().cpp_name()
    );
    let n = x.ndim();
    let w = if weight.numel() == 1 {
        shape::reshape(weight, &[])?
    } else {
        ensure!(n > 0, runtime, "Not allow zero-dim input tensor.");
        let channels = if n > 1 { x.size(1) } else { 1 };
        ensure!(
            channels == weight.numel(),
            runtime,
            "Mismatch of parameter numbers and input channel size. Found parameter numbers = {} and channel size = \
             {channels}.",
            weight.numel()
        );
        let mut column = rtorch_ir::Shape::from_elem(1, n.saturating_sub(1));
        column[0] = weight.numel();
        shape::reshape_to(weight, column)?
    };
    compose("prelu", "PreluKernelBackward0", Rule::FloatOnly, &[Arg::T(x), Arg::T(&w)], None, |a| {
        ex::where_(ex::gt(a[0], a[0].lit(0.0)), a[0], a[1] * a[0])
    })
}

/// a * sigmoid(b) of the halves along a dim.
pub fn glu(x: &Tensor, dim: i64) -> Result<Tensor> {
    ensure!(x.ndim() > 0, runtime, "glu does not support scalars because halving size must be even");
    let d = normalize_dim(dim, x.ndim())?;
    let n = x.size(d) as i64;
    ensure!(n % 2 == 0, runtime, "Halving dimension must be even, but dimension {d} is size {n}");
    // one node for both halves: its gradient is one concatenation
    let halves = shape::split_sizes(x, &[n / 2, n / 2], dim)?;
    let gated = |a: &Tensor, b: &Tensor| {
        compose("glu", "GluBackward0", Rule::FloatOnly, &[Arg::T(a), Arg::T(b)], None, |a| a[0] * ex::sigmoid(a[1]))
    };
    if !x.dtype().is_float() || forward::any(&[x]) || !several::applies(&[x]) || !record::wanted(&[x]) {
        return gated(&halves[0], &halves[1]);
    }
    let out = {
        let _off = mode::Guard::new(false);
        gated(&halves[0].detach(), &halves[1].detach())?
    };
    rule::record("GluBackward0", &[x], &[&out], &[Save::Input(x)], move |b| {
        let (x, g) = (b.saved(0)?, b.grad(0)?);
        let halves = shape::split_sizes(&x, &[n / 2, n / 2], d as i64)?;
        let (a, gate) = (&halves[0], &halves[1]);
        if mode::is_enabled() || !several::applies(&[&x, &g]) {
            let by = |name, args: &[Arg], f: fn(&[Ex]) -> Ex| compose(name, "MulBackward0", Rule::Same, args, None, f);
            let first = by("glu_grad_value", &[Arg::T(&g), Arg::T(gate)], |a| a[0] * ex::sigmoid(a[1]))?;
            let second = by("glu_grad_gate", &[Arg::T(&g), Arg::T(a), Arg::T(gate)], |a| {
                let s = ex::sigmoid(a[2]);
                a[0] * s * a[1] * (s.lit(1.0) - s)
            })?;
            return Ok(vec![Some(shape::cat(&[first, second], d as i64)?)]);
        }
        let dx = Tensor::empty(&x.shape(), x.dtype(), x.device())?;
        let parts = shape::split_sizes(&dx, &[n / 2, n / 2], d as i64)?;
        several::write(&glu_grads(x.dtype()), &[&g, a, gate], &[&parts[0], &parts[1]])?;
        Ok(vec![Some(dx)])
    })?;
    Ok(out)
}

/// Both halves of glu's gradient from its cotangent, the value and the gate: one logistic function for both.
fn glu_grads(dtype: DType) -> Program {
    let inner = dtype.ctype().dtype();
    let (mut p, (first, second)) = build(Program::new(), || {
        let [g, a, gate] = [(); 3].map(|()| Ex::leaf(dtype).cast(inner));
        let s = ex::sigmoid(gate);
        let first = g * s;
        (first.cast(dtype), (first * a * (s.lit(1.0) - s)).cast(dtype))
    });
    p.outputs.extend([first.0, second.0]);
    p
}

/// softmax (or its logarithm) along a dim.
pub fn softmax(x: &Tensor, dim: i64, log: bool) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    if !x.dtype().is_float() {
        let name = if log { "log_softmax_lastdim_kernel_impl" } else { "softmax_lastdim_kernel_impl" };
        return Err(Error::not_implemented(format!("\"{name}\" not implemented for '{}'", x.dtype().cpp_name())));
    }
    let name = if log { "LogSoftmaxBackward0" } else { "SoftmaxBackward0" };
    if x.ndim() == 0 {
        let one = shape::reshape(x, &[1])?;
        return shape::reshape(&prim1(name, Prim::Softmax { axis: 0, log }, &[&one])?, &[]);
    }
    prim1(name, Prim::Softmax { axis, log }, &[x])
}

/// The same with `dtype=`: converted first.
pub fn softmax_in(x: &Tensor, dim: i64, log: bool, dtype: Option<DType>) -> Result<Tensor> {
    match dtype {
        Some(d) => softmax(&to_dtype(x, d)?, dim, log),
        None => softmax(x, dim, log),
    }
}
