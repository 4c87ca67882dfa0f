//! Draws by rejection, with a parameter for each element: gamma, Dirichlet, Poisson and binomial variates, and how the
//! first two move with their parameters (their gradients; `rtorch._ops.random` puts the two together). They are made
//! on the CPU; parameters on another device go there and the draws come back.

use rtorch_cpu::random::Variate;
use rtorch_ir::{DType, Result, Scalar, ScalarOp, ensure, storage_dtypes};

use super::fill::plain;
use super::{Generator, generator_for};
use crate::backend::cpu_arg;
use crate::device::Device;
use crate::dispatch;
use crate::ops::convert::{copy_to_if, to_dtype};
use crate::ops::pointwise::{Arg, not_implemented};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

/// A tensor's elements on the CPU, one after another, outside of the graph.
fn host(t: &Tensor) -> Result<Tensor> {
    let t = shape::contiguous(&copy_to_if(&t.detach(), Device::Cpu)?)?;
    t.force()?;
    Ok(t)
}

fn draw(kind: Variate, params: &[&Tensor], dtype: DType, generator: Option<&Generator>) -> Result<Tensor> {
    let device = params[0].device();
    dispatch::same_device(params)?;
    let g = generator_for(device, generator)?;
    let out = Tensor::empty(&params[0].shape(), dtype, Device::Cpu)?;
    let hosts: Vec<Tensor> = params.iter().map(|p| host(p)).collect::<Result<_>>()?;
    let windows = hosts.iter().map(dispatch::window).collect::<Result<Vec<_>>>()?;
    let args = windows.iter().map(cpu_arg).collect::<Result<Vec<_>>>()?;
    let to = dispatch::window(&out)?;
    g.with_twister(|rng| rtorch_cpu::random::variates(rng, kind, &args, cpu_arg(&to)?))?;
    copy_to_if(&out, device)
}

/// Smallest positive normal number of a floating dtype, which draws that round to zero become, and its largest number
/// below 1.
fn inside(dtype: DType) -> Result<(f64, f64)> {
    Ok(match dtype {
        DType::F16 => (2f64.powi(-14), 1.0 - 2f64.powi(-11)),
        DType::BF16 => (f32::MIN_POSITIVE as f64, 1.0 - 2f64.powi(-8)),
        DType::F32 => (f32::MIN_POSITIVE as f64, 1.0 - 2f64.powi(-24)),
        DType::F64 => (f64::MIN_POSITIVE, 1.0 - 2f64.powi(-53)),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::C64
        | DType::C128
        | storage_dtypes!() => {
            return Err(not_implemented("gamma_cpu", dtype));
        }
    })
}

fn number(v: f64) -> Arg<'static> {
    Arg::S(Scalar::Float(v))
}

/// `torch._standard_gamma`: variates of the given shapes and scale 1.
pub fn standard_gamma(concentration: &Tensor, generator: Option<&Generator>) -> Result<Tensor> {
    let dtype = concentration.dtype();
    let drawn = draw(Variate::Gamma, &[concentration], dtype, generator)?;
    ops::binary(ScalarOp::Maximum, Arg::T(&drawn), number(inside(dtype)?.0))
}

/// `torch._sample_dirichlet`: gamma variates divided by their sum over the last dimension.
pub fn dirichlet(concentration: &Tensor, generator: Option<&Generator>) -> Result<Tensor> {
    let dtype = concentration.dtype();
    let wide = plain(concentration, DType::F64)?;
    let drawn = draw(Variate::WideGamma, &[&wide], DType::F64, generator)?;
    let sum = ops::reduce::sum(&drawn, &[-1], true, None)?;
    let share = to_dtype(&ops::div(&drawn, &sum)?, dtype)?;
    let (least, most) = inside(dtype)?;
    let share = ops::binary(ScalarOp::Maximum, Arg::T(&share), number(least))?;
    ops::binary(ScalarOp::Minimum, Arg::T(&share), number(most))
}

/// `torch.poisson`: counts at the given rates, as floats.
pub fn poisson(rate: &Tensor, generator: Option<&Generator>) -> Result<Tensor> {
    draw(Variate::Poisson, &[rate], rate.dtype(), generator)
}

/// `torch.binomial`: hits among `count` tries (floats) of probability `prob`.
pub fn binomial(count: &Tensor, prob: &Tensor, generator: Option<&Generator>) -> Result<Tensor> {
    ensure!(
        count.dtype().is_float() && count.dtype() == prob.dtype(),
        value,
        "Binomial: count and probs must be floating tensors of one dtype, got {} and {}",
        count.dtype(),
        prob.dtype()
    );
    let both = rtorch_ir::shape::broadcast(&count.shape(), &prob.shape())?;
    let (n, p) = (shape::expand_to(&count.detach(), &both)?, shape::expand_to(&prob.detach(), &both)?);
    draw(Variate::Binomial, &[&n, &p], count.dtype(), generator)
}

fn implicit(inputs: &[&Tensor]) -> Result<Tensor> {
    dispatch::same_device(inputs)?;
    let mut both = inputs[0].shape();
    for t in inputs {
        both = rtorch_ir::shape::broadcast(&both, &t.shape())?;
    }
    let out = Tensor::empty(&both, DType::F64, Device::Cpu)?;
    let hosts =
        inputs.iter().map(|t| host(&shape::expand_to(&plain(t, DType::F64)?, &both)?)).collect::<Result<Vec<_>>>()?;
    let windows = hosts.iter().map(dispatch::window).collect::<Result<Vec<_>>>()?;
    let args = windows.iter().map(cpu_arg).collect::<Result<Vec<_>>>()?;
    let to = dispatch::window(&out)?;
    rtorch_cpu::random::implicit_gradients(&args, cpu_arg(&to)?)?;
    to_dtype(&copy_to_if(&out, inputs[0].device())?, inputs[0].dtype())
}

/// `torch._standard_gamma_grad`: d draw / d shape of gamma variates.
pub fn standard_gamma_grad(concentration: &Tensor, draw: &Tensor) -> Result<Tensor> {
    implicit(&[concentration, draw])
}

/// `torch._dirichlet_grad`: d draw / d concentration, divided by 1 - draw.
pub fn dirichlet_grad(draw: &Tensor, concentration: &Tensor, total: &Tensor) -> Result<Tensor> {
    implicit(&[draw, concentration, total])
}
