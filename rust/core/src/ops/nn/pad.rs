//! Padding: constants, and copies of the input's own elements (reflected, replicated, wrapped) as index_selects.

use rtorch_ir::{DType, Error, Prim, Result, Scalar, Shape, ensure};

use super::rule::record;
use super::sizes_text;
use crate::autograd::mode;
use crate::dispatch::prim1;
use crate::inplace;
use crate::ops::{factory, shape};
use crate::tensor::Tensor;

/// `F.pad`: pairs of sizes from the last dim on; negative sizes crop.
pub fn pad(x: &Tensor, sizes: &[i64], mode: &str, value: Option<f64>) -> Result<Tensor> {
    ensure!(sizes.len().is_multiple_of(2), runtime, "Padding length must be divisible by 2");
    ensure!(
        sizes.len() / 2 <= x.ndim(),
        runtime,
        "Padding length should be less than or equal to two times the input dimension but got padding length {} and \
         input \
         of dimension {}",
        sizes.len(),
        x.ndim()
    );
    if mode == "constant" {
        return constant(x, sizes, Scalar::Float(value.unwrap_or(0.0)));
    }
    ensure!(value.is_none_or(|v| v == 0.0), runtime, "Padding mode \"{mode}\" doesn't take in value argument");
    let (n, pairs) = (x.ndim(), sizes.len() / 2);
    let fits = (1..=3).contains(&pairs) && (n == pairs + 1 || n == pairs + 2);
    if !fits {
        return Err(Error::not_implemented(format!(
            "Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now, got input of shape {} and \
             {pairs} \
             padded dimensions",
            sizes_text(&x.shape())
        )));
    }
    let kind = match mode {
        "reflect" => Kind::Reflect,
        "replicate" => Kind::Replicate,
        "circular" => Kind::Circular,
        _ => return Err(Error::not_implemented(format!("Unrecognised padding mode {mode}"))),
    };
    if x.dtype() == DType::Bool && kind != Kind::Circular {
        return Err(crate::ops::pointwise::not_implemented(&format!("{mode}ion_pad{pairs}d"), x.dtype()));
    }
    let mut y = x.clone();
    for i in 0..pairs {
        y = along(&y, n - 1 - i, sizes[2 * i], sizes[2 * i + 1], kind, pairs)?;
    }
    Ok(y)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Reflect,
    Replicate,
    Circular,
}

impl Kind {
    fn name(self, dims: usize) -> &'static str {
        match self {
            Kind::Reflect => {
                ["ReflectionPad1DBackward0", "ReflectionPad2DBackward0", "ReflectionPad3DBackward0"][dims - 1]
            }
            Kind::Replicate => {
                ["ReplicationPad1DBackward0", "ReplicationPad2DBackward0", "ReplicationPad3DBackward0"][dims - 1]
            }
            Kind::Circular => "CopySlices",
        }
    }
}

/// One dim with `before` and `after` more elements.
fn along(x: &Tensor, dim: usize, before: i64, after: i64, kind: Kind, dims: usize) -> Result<Tensor> {
    if before == 0 && after == 0 {
        return Ok(x.clone());
    }
    let n = x.size(dim) as i64;
    match kind {
        Kind::Reflect => ensure!(
            before < n && after < n,
            runtime,
            "Argument #4: Padding size should be less than the corresponding input dimension, but got: padding \
             ({before}, \
             {after}) at dimension {dim} of input {}",
            sizes_text(&x.shape())
        ),
        Kind::Circular => {
            ensure!(before <= n && after <= n, runtime, "Padding value causes wrapping around more than once.")
        }
        Kind::Replicate => ensure!(n > 0, runtime, "Expected non-zero sizes for input, got {}", sizes_text(&x.shape())),
    }
    let wide = n as i128 + before as i128 + after as i128;
    ensure!(wide > 0, runtime, "input (size {n}) is too small after padding ({before}, {after}) at dimension {dim}");
    // the result is allocated before its indices, so that a size beyond the memory is refused as such
    let others: usize = x.shape().iter().enumerate().filter(|&(d, _)| d != dim).map(|(_, &s)| s).product();
    let bytes = wide * 8.max(others as i128 * x.dtype().size() as i128);
    ensure!(bytes <= i64::MAX.into(), runtime, "Storage size calculation overflowed with padding ({before}, {after})");
    drop(Tensor::empty(&[bytes as usize], DType::U8, crate::Device::Cpu)?);
    let source = |i: i64| match kind {
        Kind::Replicate => i.clamp(0, n - 1),
        Kind::Circular => i.rem_euclid(n),
        Kind::Reflect if i < 0 => -i,
        Kind::Reflect if i >= n => 2 * (n - 1) - i,
        Kind::Reflect => i,
    };
    let mut at = vec![0u8; 8 * wide as usize];
    for (bytes, i) in at.as_chunks_mut::<8>().0.iter_mut().zip(-before..n + after) {
        *bytes = source(i).to_ne_bytes();
    }
    let index = Tensor::from_bytes(&at, &[wide as usize], DType::I64, x.device())?;
    prim1(kind.name(dims), Prim::IndexSelect { axis: dim }, &[x, &index])
}

/// A constant around the input (`constant_pad_nd`).
pub fn constant(x: &Tensor, sizes: &[i64], value: Scalar) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(
        sizes.len().is_multiple_of(2) && sizes.len() / 2 <= n,
        runtime,
        "Length of pad should be no more than twice the number of dimensions of the input. Pad length is {} while \
         the input \
         has {n} dimensions.",
        sizes.len()
    );
    let out = {
        let _off = mode::Guard::new(false);
        constant_raw(&x.detach(), sizes, value)?
    };
    let back: Vec<i64> = sizes.iter().map(|p| -p).collect();
    record("ConstantPadNdBackward0", &[x], &[&out], &[], move |b| {
        Ok(vec![Some(constant(&b.grad(0)?, &back, Scalar::Float(0.0))?)])
    })?;
    Ok(out)
}

fn constant_raw(x: &Tensor, sizes: &[i64], value: Scalar) -> Result<Tensor> {
    let n = x.ndim();
    let full = x.shape();
    let mut out = Shape::from_elem(0, n);
    let (mut inner, mut hole) = (x.clone(), Vec::new());
    for d in 0..n {
        let i = n - 1 - d;
        let (before, after) = if 2 * i + 1 < sizes.len() { (sizes[2 * i], sizes[2 * i + 1]) } else { (0, 0) };
        let size = full[d] as i64 + before + after;
        ensure!(
            size >= 0,
            runtime,
            "The input size {}, plus negative padding {before} and {after} resulted in a negative output size, which \
             is \
             invalid. Check dimension {d} of your input.",
            full[d]
        );
        out[d] = size as usize;
        // negative sizes crop the input, positive ones leave a frame in the output
        let (start, end) = ((-before).max(0), full[d] as i64 - (-after).max(0));
        inner = shape::slice(&inner, d as i64, Some(start), Some(end.max(start)), 1)?;
        hole.push((before.max(0), size - after.max(0)));
    }
    if inner.shape() == out {
        return shape::clone(&inner);
    }
    let y = crate::batch::cover(factory::full(&out, value, x.dtype(), x.device())?, &[x])?;
    let mut target = y.clone();
    for (d, &(start, end)) in hole.iter().enumerate() {
        target = shape::slice(&target, d as i64, Some(start), Some(end.max(start)), 1)?;
    }
    inplace::copy_(&target, &inner)?;
    Ok(y)
}
