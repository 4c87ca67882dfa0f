//! Activations: each one pointwise program. The bodies are written so that the derived gradient is PyTorch's at the
//! kinks (relu'(0) = 0), and so that a branch not taken never puts inf * 0 into it. Softmax is a primitive.

use std::sync::{Arc, OnceLock};

use rtorch_ir::layout::normalize_dim;
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Error, Prim, Program, Result, Scalar, ensure};
use smallvec::SmallVec;

use crate::dispatch::{self, prim1};
use crate::inplace;
use crate::kernel::Kernel;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, compose, not_implemented};
use crate::ops::shape;
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
    float_op("elu", "EluBackward0", x, &[alpha * scale, scale, input_scale], dest, |a| {
        let negative = ex::le(a[0], a[0].lit(0.0));
        ex::where_(negative, ex::expm1(only(negative, a[0]) * a[3]) * a[1], a[0] * a[2])
    })
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
    float_op("silu", "SiluBackward0", x, &[], dest, |a| a[0] * ex::sigmoid(a[0]))
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
    float_op("softplus", "SoftplusBackward0", x, &[beta, threshold], None, |a| {
        let z = a[0] * a[1];
        let linear = ex::gt(z, a[2]);
        let inside = ex::where_(linear, z.lit(0.0), z);
        // a factor's derivative is a product, a divisor's a division
        ex::where_(linear, a[0], ex::log1p(ex::exp(inside)) * (z.lit(1.0) / a[1]))
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
    float_op("hardsigmoid", "HardsigmoidBackward0", x, &[], dest, |a| {
        let x = a[0];
        let inner = ex::where_(ex::ge(x, x.lit(3.0)), x.lit(1.0), (x + 3.0) * SIXTH);
        ex::where_(ex::le(x, x.lit(-3.0)), x.lit(0.0), inner)
    })
}

/// x outside [-lambd, lambd], else 0.
pub fn hardshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    float_op("hardshrink", "HardshrinkBackward0", x, &[lambd], None, |a| {
        let inside = ex::logical_and(ex::ge(a[0], -a[1]), ex::le(a[0], a[1]));
        ex::where_(inside, a[0].lit(0.0), a[0])
    })
}

/// x moved towards 0 by lambd, 0 inside [-lambd, lambd]; NaN stays.
pub fn softshrink(x: &Tensor, lambd: f64) -> Result<Tensor> {
    ensure!(lambd >= 0.0, runtime, "lambda must be greater or equal to 0, but found to be {lambd}.");
    float_op("softshrink", "SoftshrinkBackward0", x, &[lambd], None, |a| {
        let low = ex::where_(ex::lt(a[0], -a[1]), a[0] + a[1], a[0] * 0.0);
        ex::where_(ex::gt(a[0], a[1]), a[0] - a[1], low)
    })
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
    let args = [Arg::T(&halves[0]), Arg::T(&halves[1])];
    compose("glu", "GluBackward0", Rule::FloatOnly, &args, None, |a| a[0] * ex::sigmoid(a[1]))
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
