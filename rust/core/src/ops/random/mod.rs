//! Random numbers: the generators (`generator.rs`), in-place draws (`fill.rs`), and here the tensors made of them.
//! On the CPU every draw is PyTorch's own (`rtorch_cpu::random`); on a GPU draws are pointwise programs over Philox,
//! so that they fuse.

pub mod fill;
pub mod generator;
mod sample;
pub mod variate;

pub use fill::{bernoulli_tensor_, fill_};
pub use generator::{Generator, default_generator, initial_seed, manual_seed, seed};
pub use rtorch_cpu::random::Distribution;
pub use sample::{Moment, bernoulli, multinomial, normal, randperm};

use rtorch_ir::{DType, Result, ensure};

use super::factory::{checked_shape, like_layout};
use crate::device::Device;
use crate::tensor::{Tensor, check_device_dtype};

/// What a draw goes into, and from which generator.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    pub dtype: DType,
    pub device: Device,
    pub generator: Option<&'a Generator>,
}

fn made(sizes: &[i64], draw: &Draw, dist: &Distribution) -> Result<Tensor> {
    let shape = checked_shape(sizes)?;
    check_device_dtype(draw.device, draw.dtype)?;
    let t = Tensor::empty(&shape, draw.dtype, draw.device)?;
    fill_(&t, dist, draw.generator)?;
    Ok(t)
}

/// Uniform on [0, 1).
pub fn rand(sizes: &[i64], draw: &Draw) -> Result<Tensor> {
    made(sizes, draw, &Distribution::Uniform { from: 0.0, to: 1.0 })
}

/// Standard normal; of complex numbers, both parts together have variance 1.
pub fn randn(sizes: &[i64], draw: &Draw) -> Result<Tensor> {
    made(sizes, draw, &Distribution::Normal { mean: 0.0, std: 1.0 })
}

/// Integers of [low, high).
pub fn randint(low: i64, high: i64, sizes: &[i64], draw: &Draw) -> Result<Tensor> {
    let dist = fill::range(Some(low), Some(high), draw.dtype)?;
    made(sizes, draw, &dist)
}

/// A tensor of x's shape and memory order, to be drawn into.
fn like(x: &Tensor, draw: &Draw) -> Result<Tensor> {
    check_device_dtype(draw.device, draw.dtype)?;
    Tensor::empty_with(like_layout(x), draw.dtype, draw.device)
}

pub fn rand_like(x: &Tensor, draw: &Draw) -> Result<Tensor> {
    let t = like(x, draw)?;
    fill_(&t, &Distribution::Uniform { from: 0.0, to: 1.0 }, draw.generator)?;
    Ok(t)
}

pub fn randn_like(x: &Tensor, draw: &Draw) -> Result<Tensor> {
    let t = like(x, draw)?;
    fill_(&t, &Distribution::Normal { mean: 0.0, std: 1.0 }, draw.generator)?;
    Ok(t)
}

pub fn randint_like(x: &Tensor, low: i64, high: i64, draw: &Draw) -> Result<Tensor> {
    let t = like(x, draw)?;
    fill_(&t, &fill::range(Some(low), Some(high), draw.dtype)?, draw.generator)?;
    Ok(t)
}

/// The generator of a call: the given one, which must be of the tensor's device, or the device's default.
fn generator_for(device: Device, given: Option<&Generator>) -> Result<Generator> {
    ensure!(
        crate::batch::randomness() != Some(crate::batch::Randomness::Error),
        runtime,
        "vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' \
         randomness flags on vmap or perform the randomness operation out of vmap"
    );
    let Some(g) = given else { return Ok(default_generator(device)) };
    ensure!(
        g.device().is_cpu() == device.is_cpu(),
        runtime,
        "Expected a '{device}' device type for generator but found '{}'",
        g.device()
    );
    Ok(g.clone())
}
