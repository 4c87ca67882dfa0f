//! In-place draws: `uniform_` and its like. The CPU's go straight to the tensor's memory; a GPU's are programs.

use std::f64::consts::FRAC_1_SQRT_2;

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Error, Program, Result, Scalar, ensure, storage_dtypes};

use super::{Distribution, Generator, generator_for};
use crate::backend::cpu_arg;
use crate::batch;
use crate::dispatch;
use crate::inplace;
use crate::kernel::{self, Kernel};
use crate::ops::complex;
use crate::ops::convert::to_dtype;
use crate::ops::shape;
use crate::tensor::Tensor;

/// Bits of a Philox draw.
const DRAW_BITS: f64 = 16_777_216.0;

/// Fills a tensor with draws; its old contents leave the graph.
pub fn fill_(t: &Tensor, dist: &Distribution, generator: Option<&Generator>) -> Result<()> {
    match batched(t)? {
        None => fill_plain(t, dist, generator),
        Some(fresh) => {
            fill_plain(&fresh, dist, generator)?;
            batch::put(t, &fresh)
        }
    }
}

fn fill_plain(t: &Tensor, dist: &Distribution, generator: Option<&Generator>) -> Result<()> {
    let of_parts = match *dist {
        Distribution::Uniform { .. } => Some(*dist),
        // each part has half of the variance
        Distribution::Normal { mean, std } => Some(Distribution::Normal { mean, std: std * FRAC_1_SQRT_2 }),
        _ => None,
    };
    if let Some(dist) = of_parts.filter(|_| t.dtype().is_complex()) {
        inplace::check_grad(t)?;
        return fill_plain(&complex::view_as_real(t)?, &dist, generator);
    }
    check_dtype(dist, t.dtype())?;
    let device = t.device();
    if device.is_meta() {
        check(dist)?;
        return inplace::check_grad(t);
    }
    let g = generator_for(device, generator)?;
    if !device.is_cpu() {
        check(dist)?;
        return philox_fill(t, dist, &g);
    }
    if t.dtype().is_storage() && t.dtype().is_int() && matches!(dist, Distribution::Range { .. }) {
        let wide = Tensor::empty(&t.shape(), DType::I64, device)?;
        fill_(&wide, dist, generator)?;
        return inplace::map("RandomBackward0", t, crate::kernel::cast(DType::I64, t.dtype()), &[&wide]);
    }
    write(t, |out| {
        let w = dispatch::window(out)?;
        g.with_twister(|rng| rtorch_cpu::random::fill(rng, dist, cpu_arg(&w)?))
    })
}

/// Inside a vmap: a plain tensor of as many draws as are wanted, None where that is `t` itself.
fn batched(t: &Tensor) -> Result<Option<Tensor>> {
    let Some(randomness) = batch::randomness() else { return Ok(None) };
    let mut shape = t.shape();
    match randomness {
        batch::Randomness::Same if !batch::is_batched(t) => return Ok(None),
        batch::Randomness::Same | batch::Randomness::Error => {}
        batch::Randomness::Different => {
            let active = batch::active();
            if active.is_empty() {
                return Ok(None);
            }
            for (i, (_, size)) in active.iter().enumerate() {
                shape.insert(i, *size);
            }
        }
    }
    Tensor::empty(&shape, t.dtype(), t.device()).map(Some)
}

/// Lets `f` draw into the tensor's memory, or where the graph, sharing or overlap forbid that, into a copy's.
fn write(t: &Tensor, f: impl FnOnce(&Tensor) -> Result<()>) -> Result<()> {
    inplace::check_grad(t)?;
    let layout = t.layout();
    if t.is_tracked() || t.is_inference() || layout.overlaps_itself() {
        let fresh = Tensor::empty_with(crate::ops::factory::like_layout(t), t.dtype(), t.device())?;
        f(&fresh)?;
        return inplace::map("CopyBackwards", t, kernel::cast(t.dtype(), t.dtype()), &[&fresh]);
    }
    inplace::exclusive(t)?;
    f(t)?;
    t.bump_version();
    Ok(())
}

/// `bernoulli_(p)` with a tensor of probabilities, broadcast to `t`.
pub fn bernoulli_tensor_(t: &Tensor, p: &Tensor, generator: Option<&Generator>) -> Result<()> {
    if !p.dtype().is_float() {
        return Err(crate::ops::pointwise::not_implemented("bernoulli_tensor", p.dtype()));
    }
    let p = shape::expand_to(&p.detach(), &t.shape())?;
    if t.device().is_meta() {
        return inplace::check_grad(t);
    }
    let g = generator_for(t.device(), generator)?;
    dispatch::same_device(&[t, &p])?;
    if t.device().is_cpu() {
        p.force()?;
        return write(t, |out| {
            let (wp, w) = (dispatch::window(&p)?, dispatch::window(out)?);
            g.with_twister(|rng| rtorch_cpu::random::bernoulli(rng, cpu_arg(&wp)?, cpu_arg(&w)?))
        });
    }
    let (seed, first) = g.philox(t.numel());
    let (mut program, y) = build(Program::new(), || {
        let p = Ex::leaf(p.dtype()).cast(DType::F32);
        ex::lt(uniform(seed, first), p).cast(t.dtype())
    });
    program.outputs.push(y.0);
    inplace::map("BernoulliBackward0", t, &Kernel::new(program), &[&p])
}

/// PyTorch's `random_(from, to)` as draws of a dtype: either bound may be missing.
pub fn range(from: Option<i64>, to: Option<i64>, dtype: DType) -> Result<Distribution> {
    let (lowest, highest) = bounds(dtype)?;
    let Some(from) = from else {
        return match to {
            None => Ok(Distribution::Random),
            Some(to) => range(Some(0), Some(to), dtype),
        };
    };
    let Some(to) = to else {
        ensure!(
            (lowest..=highest).contains(&(from as i128)),
            runtime,
            "from is out of bounds for {}",
            dtype.cpp_name()
        );
        if from == i64::MIN && dtype == DType::I64 {
            return Ok(Distribution::Bits64);
        }
        return Ok(Distribution::Range { range: (highest - from as i128 + 1) as u64, base: from });
    };
    ensure!(from < to, runtime, "random_ expects 'from' to be less than 'to', but got from={from} >= to={to}");
    let last = to as i128 - 1;
    if !dtype.is_float() {
        let name = dtype.cpp_name();
        ensure!((lowest..=highest).contains(&(from as i128)), runtime, "from is out of bounds for {name}");
        ensure!((lowest..=highest).contains(&last), runtime, "to - 1 is out of bounds for {name}");
    }
    Ok(Distribution::Range { range: (to as i128 - from as i128) as u64, base: from })
}

/// Integers that a dtype holds (of floats: those up to which all are exact).
fn bounds(dtype: DType) -> Result<(i128, i128)> {
    let float = |digits: u32| (-(1i128 << digits), 1i128 << digits);
    if let Some(range) = dtype.int_range() {
        return Ok(range);
    }
    Ok(match dtype {
        DType::F16 => float(11),
        DType::BF16 => float(8),
        DType::F32 => float(24),
        DType::F64 => float(53),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::C64
        | DType::C128
        | storage_dtypes!() => {
            return Err(Error::runtime(format!(
                "check_random_bounds handles only integral, floating-point and boolean types, got {}",
                dtype.cpp_name()
            )));
        }
    })
}

// ---- Philox

fn int(v: i64) -> Ex {
    Ex::constant(Scalar::Int(v), DType::I64)
}

/// A uniform draw per element.
pub fn uniform(seed: i64, first: i64) -> Ex {
    ex::philox_uniform(int(seed), Ex::index() + int(first))
}

/// Dtypes that a distribution has no numbers in.
fn check_dtype(dist: &Distribution, dtype: DType) -> Result<()> {
    match dist {
        Distribution::Exponential { .. } | Distribution::Cauchy { .. } => ensure!(
            dtype.is_float(),
            runtime,
            "a continuous distribution: the dtype must be a floating point, but you specified {}",
            dtype.cpp_name()
        ),
        Distribution::Geometric { .. } if dtype == DType::Bool => {
            return Err(crate::ops::pointwise::not_implemented("geometric", dtype));
        }
        Distribution::Geometric { .. }
        | Distribution::Uniform { .. }
        | Distribution::Normal { .. }
        | Distribution::LogNormal { .. }
        | Distribution::Bernoulli { .. }
        | Distribution::Range { .. }
        | Distribution::Bits64
        | Distribution::Random => {}
    }
    Ok(())
}

/// Parameters out of their range, as the CPU's kernels refuse them.
fn check(dist: &Distribution) -> Result<()> {
    match *dist {
        Distribution::Uniform { from, to } => {
            ensure!(
                from <= to,
                runtime,
                "uniform_ expects to return a [from, to) range, but found from={from} > to={to}"
            )
        }
        Distribution::Normal { std, .. } => {
            ensure!(std >= 0.0, runtime, "normal expects std >= 0.0, but found std {std}")
        }
        Distribution::LogNormal { std, .. } => {
            ensure!(std > 0.0, runtime, "log_normal_ expects std > 0.0, but found std={std}")
        }
        Distribution::Exponential { lambda } => {
            ensure!(lambda > 0.0, runtime, "exponential_ expects lambda > 0.0, but found lambda={lambda}")
        }
        Distribution::Cauchy { sigma, .. } => {
            ensure!(sigma > 0.0, runtime, "cauchy_ expects sigma > 0.0, but found sigma={sigma}")
        }
        Distribution::Geometric { p } => {
            ensure!(0.0 < p && p < 1.0, runtime, "geometric_ expects p to be in (0, 1), but got p={p}")
        }
        Distribution::Bernoulli { p } => {
            ensure!((0.0..=1.0).contains(&p), runtime, "bernoulli_ expects p to be in [0, 1], but got p={p}")
        }
        Distribution::Range { .. } | Distribution::Bits64 | Distribution::Random => {}
    }
    Ok(())
}

fn philox_fill(t: &Tensor, dist: &Distribution, g: &Generator) -> Result<()> {
    let n = t.numel();
    // two counters per element where 24 bits are too few
    let (seed, first) = g.philox(2 * n);
    let dtype = t.dtype();
    let (mut p, y) = build(Program::new(), || {
        let u = || uniform(seed, first);
        let normal = || ex::philox_normal(int(seed), Ex::index() + int(first));
        let y = match *dist {
            Distribution::Uniform { from, to } => u() * (to - from) + from,
            Distribution::Normal { mean, std } => normal() * std + mean,
            Distribution::LogNormal { mean, std } => ex::exp(normal() * std + mean),
            Distribution::Exponential { lambda } => -ex::log1p(-u()) * (1.0 / lambda),
            Distribution::Cauchy { median, sigma } => ex::tan((u() - 0.5) * std::f64::consts::PI) * sigma + median,
            Distribution::Geometric { p } => {
                let k = ex::ceil(ex::log1p(-u()) / (1.0 - p).ln());
                ex::maximum(k, k.lit(1.0))
            }
            Distribution::Bernoulli { p } => {
                let u = u();
                ex::lt(u, u.lit(p))
            }
            Distribution::Range { range, base } => integer(seed, first, n, range, base),
            Distribution::Bits64 => integer(seed, first, n, u64::MAX >> 1, 0),
            Distribution::Random => {
                let top = bounds(dtype).map_or(1, |b| b.1);
                integer(seed, first, n, (top as u64).saturating_add(1), 0)
            }
        };
        y.cast(dtype)
    });
    p.outputs.push(y.0);
    inplace::map("RandomBackward0", t, &Kernel::new(p), &[])
}

/// base + a draw below `range`, from 48 bits of two draws.
fn integer(seed: i64, first: i64, n: usize, range: u64, base: i64) -> Ex {
    let bits =
        |offset: i64| (ex::philox_uniform(int(seed), Ex::index() + int(first + offset)) * DRAW_BITS).cast(DType::I64);
    let wide = ex::bitwise_or(ex::bitwise_left_shift(bits(0), int(24)), bits(n as i64));
    ex::remainder(wide, int((range.min(i64::MAX as u64)).max(1) as i64)) + int(base)
}

/// `to_dtype` outside of the graph, for probabilities.
pub(super) fn plain(t: &Tensor, dtype: DType) -> Result<Tensor> {
    to_dtype(&t.detach(), dtype)
}
