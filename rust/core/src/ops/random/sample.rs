//! Samples whose parameters are tensors, permutations, and draws of positions by probability.

use rtorch_ir::shape::broadcast;
use rtorch_ir::{DType, Error, Result, Scalar, ScalarOp, ensure, storage_dtypes};

use super::fill::plain;
use super::{Distribution, Generator, bernoulli_tensor_, fill_, generator_for};
use crate::backend::cpu_arg;
use crate::device::Device;
use crate::dispatch;
use crate::ops::convert::{copy_to_if, item};
use crate::ops::factory::like_layout;
use crate::ops::pointwise::{Arg, not_implemented};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

/// Categories of `multinomial`: float32 counts them exactly.
const MAX_CATEGORIES: usize = 1 << 24;

/// `torch.bernoulli`: probabilities from `x`, or one number for all.
pub fn bernoulli(x: &Tensor, p: Option<f64>, generator: Option<&Generator>) -> Result<Tensor> {
    let out = Tensor::empty_with(like_layout(x), x.dtype(), x.device())?;
    match p {
        Some(p) => fill_(&out, &Distribution::Bernoulli { p }, generator)?,
        None => bernoulli_tensor_(&out, x, generator)?,
    }
    Ok(out)
}

/// A mean or a standard deviation of `torch.normal`.
#[derive(Clone, Copy)]
pub enum Moment<'a> {
    Number(f64),
    Each(&'a Tensor),
}

/// `torch.normal(mean, std)` with at least one tensor.
pub fn normal(mean: Moment, std: Moment, generator: Option<&Generator>) -> Result<Tensor> {
    let check = |s: &Tensor| -> Result<()> {
        ensure!(!s.dtype().is_complex(), runtime, "normal expects standard deviation to be non-complex");
        let least = if s.numel() == 0 { 0.0 } else { item(&ops::reduce::max_all(&s.detach(), false)?)?.to_f64() };
        ensure!(least >= 0.0, runtime, "normal expects all elements of std >= 0.0");
        Ok(())
    };
    let drawn = |like: &Tensor, std: f64| -> Result<Tensor> {
        let out = Tensor::empty_with(like_layout(like), like.dtype(), like.device())?;
        fill_(&out, &Distribution::Normal { mean: 0.0, std }, generator)?;
        Ok(out)
    };
    match (mean, std) {
        (Moment::Each(m), Moment::Number(s)) => {
            ensure!(s >= 0.0, runtime, "normal expects std >= 0.0, but found std {s}");
            ops::add(&drawn(m, s)?, &m.detach())
        }
        (Moment::Number(m), Moment::Each(s)) => {
            check(s)?;
            let scaled = ops::mul(&drawn(s, 1.0)?, &s.detach())?;
            ops::binary(ScalarOp::Add, Arg::T(&scaled), Arg::S(Scalar::Float(m)))
        }
        (Moment::Each(m), Moment::Each(s)) => {
            check(s)?;
            let both = broadcast(&m.shape(), &s.shape())?;
            let out = Tensor::empty(&both, m.dtype(), m.device())?;
            fill_(&out, &Distribution::Normal { mean: 0.0, std: 1.0 }, generator)?;
            ops::add(&ops::mul(&out, &s.detach())?, &m.detach())
        }
        (Moment::Number(mean), Moment::Number(std)) => {
            let out = Tensor::empty(&[], ops::pointwise::default_dtype(), Device::Cpu)?;
            fill_(&out, &Distribution::Normal { mean, std }, generator)?;
            Ok(out)
        }
    }
}

/// A random permutation of 0..n.
pub fn randperm(n: i64, dtype: DType, device: Device, generator: Option<&Generator>) -> Result<Tensor> {
    ensure!(n >= 0, runtime, "n must be non-negative, got{n}");
    if dtype == DType::Bool || dtype.is_complex() {
        return Err(Error::not_implemented(format!("\"randperm\" not implemented for '{}'", dtype.cpp_name())));
    }
    let digits = match dtype {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        DType::U8 => 8,
        DType::I8 => 7,
        DType::I16 => 15,
        DType::I32 => 31,
        DType::Bool | DType::I64 | DType::F64 | DType::C64 | DType::C128 | storage_dtypes!() => 53,
    };
    ensure!(
        (n as i128) <= (1i128 << digits) + i128::from(dtype.is_float()),
        runtime,
        "n is too large for result tensor type: '{}'",
        dtype.cpp_name()
    );
    if device.is_meta() {
        return Tensor::empty(&[n as usize], dtype, device);
    }
    let g = generator_for(device, generator)?;
    let out = Tensor::empty(&[n as usize], dtype, Device::Cpu)?;
    let w = dispatch::window(&out)?;
    g.with_twister(|rng| rtorch_cpu::random::randperm(rng, cpu_arg(&w)?))?;
    copy_to_if(&out, device)
}

/// Positions drawn by the probabilities in each row of `p`.
pub fn multinomial(p: &Tensor, samples: i64, replacement: bool, generator: Option<&Generator>) -> Result<Tensor> {
    let n = p.ndim();
    ensure!(n == 1 || n == 2, runtime, "prob_dist must be 1 or 2 dim");
    ensure!(
        p.dtype().is_float(),
        runtime,
        "multinomial only supports floating-point dtypes for input, got: {}",
        p.dtype().cpp_name()
    );
    let categories = p.size(n - 1);
    ensure!(samples > 0, runtime, "cannot sample n_sample <= 0 samples");
    ensure!(
        replacement || samples as usize <= categories,
        runtime,
        "cannot sample n_sample > prob_dist.size(-1) samples without replacement"
    );
    ensure!(categories <= MAX_CATEGORIES, runtime, "number of categories cannot exceed 2^24");
    let p = p.detach();
    let mut out_shape = p.shape();
    out_shape[n - 1] = samples as usize;
    ensure!(
        categories > 0 || n == 2 && p.size(0) == 0,
        runtime,
        "invalid multinomial distribution (sum of probabilities <= 0)"
    );
    if p.numel() == 0 {
        return Tensor::empty(&out_shape, DType::I64, p.device());
    }
    if replacement && samples > 1 {
        // row by row through the cumulative sums, as PyTorch's CPU draws
        let g = generator_for(p.device(), generator)?;
        let host = shape::contiguous(&copy_to_if(&p, Device::Cpu)?)?;
        let out = Tensor::empty(&out_shape, DType::I64, Device::Cpu)?;
        let (wp, wo) = (dispatch::window(&host)?, dispatch::window(&out)?);
        g.with_twister(|rng| rtorch_cpu::random::multinomial(rng, cpu_arg(&wp)?, cpu_arg(&wo)?))?;
        return copy_to_if(&out, p.device());
    }
    check_probabilities(&p)?;
    let q = Tensor::empty_with(like_layout(&p), p.dtype(), p.device())?;
    fill_(&q, &Distribution::Exponential { lambda: 1.0 }, generator)?;
    let race = ops::div(&p, &q)?;
    if samples == 1 {
        return ops::reduce::argmax(&race, Some(-1), true, true);
    }
    Ok(ops::index::topk(&race, samples, -1, true)?.1)
}

fn check_probabilities(p: &Tensor) -> Result<()> {
    if p.dtype().is_complex() {
        return Err(not_implemented("multinomial", p.dtype()));
    }
    let p32 = plain(p, if p.dtype() == DType::F64 { DType::F64 } else { DType::F32 })?;
    let low = item(&ops::reduce::max_all(&p32, false)?)?.to_f64();
    let high = item(&ops::reduce::max_all(&p32, true)?)?.to_f64();
    ensure!(low >= 0.0 && high.is_finite(), runtime, "probability tensor contains either `inf`, `nan` or element < 0");
    let sums = ops::reduce::sum(&p32, &[-1], false, None)?;
    let least = item(&ops::reduce::max_all(&sums, false)?)?.to_f64();
    ensure!(least > 0.0, runtime, "invalid multinomial distribution (sum of probabilities <= 0)");
    Ok(())
}
