//! Fourier transforms of dimensions that the caller has padded and cut. `rtorch.fft` is the front: lengths, norms,
//! defaults and the Hermitian variants.

use rtorch_ir::prim::{Axes, FftKind};
use rtorch_ir::{Prim, Result, ensure};

use super::shape;
use crate::dispatch::prim1;
use crate::tensor::Tensor;

fn transform(name: &'static str, x: &Tensor, kind: FftKind, dims: &[i64], scale: f64) -> Result<Tensor> {
    let axes: Axes = dims.iter().map(|&d| rtorch_ir::layout::normalize_dim(d, x.ndim())).collect::<Result<_>>()?;
    for (i, a) in axes.iter().enumerate() {
        ensure!(!axes[..i].contains(a), runtime, "FFT dims must be unique");
    }
    prim1(name, Prim::Fft { kind, axes, scale }, &[x])
}

/// Complex to complex along `dims`.
pub fn c2c(x: &Tensor, dims: &[i64], scale: f64, forward: bool) -> Result<Tensor> {
    ensure!(x.dtype().is_complex(), runtime, "_fft_c2c: expected a complex tensor, got {}", x.dtype().cpp_name());
    if dims.is_empty() {
        return shape::clone(x);
    }
    transform("FftC2CBackward0", x, if forward { FftKind::Forward } else { FftKind::Inverse }, dims, scale)
}

/// Real to half a spectrum; the last of `dims` is the one that is halved.
pub fn r2c(x: &Tensor, dims: &[i64], scale: f64) -> Result<Tensor> {
    ensure!(x.dtype().is_float(), runtime, "_fft_r2c: expected a real tensor, got {}", x.dtype().cpp_name());
    transform("FftR2CBackward0", x, FftKind::Real, dims, scale)
}

/// Half a spectrum to `n` real numbers along the last of `dims`.
pub fn c2r(x: &Tensor, dims: &[i64], scale: f64, n: usize) -> Result<Tensor> {
    ensure!(x.dtype().is_complex(), runtime, "_fft_c2r: expected a complex tensor, got {}", x.dtype().cpp_name());
    ensure!(n > 0, runtime, "Invalid number of data points ({n}) specified");
    transform("FftC2RBackward0", x, FftKind::ToReal { n }, dims, scale)
}
