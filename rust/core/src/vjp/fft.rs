//! Fourier transforms: linear maps, whose adjoints are transforms of the other direction with the same factor.

use rtorch_ir::prim::{Axes, FftKind};
use rtorch_ir::{Prim, Result, Scalar};

use super::{Cotangents, Ctx};
use crate::dispatch::prim1;
use crate::ops;
use crate::tensor::Tensor;

pub fn fft(c: &Ctx, kind: FftKind, axes: &Axes, scale: f64) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let last = axes[axes.len() - 1];
    let with = |kind| Prim::Fft { kind, axes: axes.clone(), scale };
    let gx = match kind {
        FftKind::Forward => prim1("FftC2CBackward0", with(FftKind::Inverse), &[&g])?,
        FftKind::Inverse => prim1("FftC2CBackward0", with(FftKind::Forward), &[&g])?,
        // The bins that stand for two are counted twice by the way back to real numbers, and once by the adjoint.
        FftKind::Real => {
            let n = c.shape(0)[last];
            prim1("FftC2RBackward0", with(FftKind::ToReal { n }), &[&weigh_pairs(&g, last, n, 0.5)?])?
        }
        FftKind::ToReal { n } => {
            let whole = weigh_pairs(&prim1("FftR2CBackward0", with(FftKind::Real), &[&g])?, last, n, 2.0)?;
            // a spectrum longer than its signal: the bins beyond were not read
            let bins = c.shape(0)[last];
            if bins == whole.size(last) { whole } else { pad_end(&whole, last, bins)? }
        }
    };
    Ok(vec![Some(gx)])
}

/// Multiplies the bins along `axis` that stand for themselves and their conjugate in a signal of `n`.
fn weigh_pairs(x: &Tensor, axis: usize, n: usize, weight: f64) -> Result<Tensor> {
    let bins = x.size(axis);
    let mut shape: rtorch_ir::Shape = smallvec::SmallVec::from_elem(1, x.ndim());
    shape[axis] = bins;
    let real = x.dtype().real();
    let weights = ops::factory::full(&shape, Scalar::Float(weight), real, x.device())?;
    let one = ops::factory::full(&[], Scalar::Float(1.0), real, x.device())?;
    let mut alone = vec![0];
    if n.is_multiple_of(2) && n / 2 < bins {
        alone.push(n / 2);
    }
    for k in alone {
        crate::inplace::copy_(&ops::shape::narrow(&weights, axis as i64, k as i64, 1)?, &one)?;
    }
    ops::mul(x, &weights)
}

fn pad_end(x: &Tensor, axis: usize, size: usize) -> Result<Tensor> {
    let mut shape = x.shape();
    shape[axis] = size - x.size(axis);
    let zeros = ops::factory::zeros(&shape, x.dtype(), x.device())?;
    ops::shape::cat(&[x.clone(), zeros], axis as i64)
}
