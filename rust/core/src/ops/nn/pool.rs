//! Pooling of 1 to 3 spatial dims: PyTorch's output sizes and checks around the primitives.

use rtorch_ir::prim::{PoolParams, Spatial};
use rtorch_ir::{Error, Prim, Result, Shape, ensure};
use smallvec::SmallVec;

use super::{missing, sizes_text};
use crate::dispatch::{prim, prim1};
use crate::ops::shape;
use crate::tensor::Tensor;

/// The numbers of a pooling window: one per spatial dim, or one for all; an empty stride means the kernel's.
#[derive(Clone, Debug)]
pub struct Pool {
    pub dims: usize,
    pub kernel: Vec<i64>,
    pub stride: Vec<i64>,
    pub padding: Vec<i64>,
    pub dilation: Vec<i64>,
    pub ceil_mode: bool,
}

fn spatial(op: &str, name: &str, v: &[i64], n: usize) -> Result<Vec<i64>> {
    ensure!(v.len() == n || v.len() == 1, runtime, "{op}: {name} must either be a single int, or a tuple of {n} ints");
    Ok(if v.len() == n { v.to_vec() } else { vec![v[0]; n] })
}

/// [n, c, ...], and whether the batch was made here.
fn batched(op: &str, x: &Tensor, dims: usize) -> Result<(Tensor, bool)> {
    let n = x.ndim();
    let s = x.shape();
    ensure!(
        n == dims + 1 || n == dims + 2,
        runtime,
        "{op}: Expected {}D or {}D (batch mode) tensor with optional 0 dim batch size for input, but got: {}",
        dims + 1,
        dims + 2,
        sizes_text(&s)
    );
    ensure!(
        s[n - dims - 1..].iter().all(|&d| d > 0),
        runtime,
        "{op}: Expected {}D or {}D (batch mode) tensor with optional 0 dim batch size for input, but got: {}",
        dims + 1,
        dims + 2,
        sizes_text(&s)
    );
    if n == dims + 1 { Ok((shape::unsqueeze(x, 0)?, true)) } else { Ok((x.clone(), false)) }
}

fn unbatched(y: Tensor, single: bool) -> Result<Tensor> {
    if single { shape::squeeze(&y, Some(&[0])) } else { Ok(y) }
}

fn params(op: &str, x: &[usize], p: &Pool) -> Result<PoolParams> {
    let n = p.dims;
    let kernel = spatial(op, "kernel_size", &p.kernel, n)?;
    let stride = if p.stride.is_empty() { kernel.clone() } else { spatial(op, "stride", &p.stride, n)? };
    let padding = spatial(op, "padding", &p.padding, n)?;
    let dilation = spatial(op, "dilation", &p.dilation, n)?;
    ensure!(
        kernel.iter().all(|&k| k > 0),
        runtime,
        "kernel size should be greater than zero, but got kernel_size={kernel:?}"
    );
    ensure!(stride.iter().all(|&s| s > 0), runtime, "stride should be greater than zero, but got stride={stride:?}");
    ensure!(
        dilation.iter().all(|&d| d > 0),
        runtime,
        "dilation should be greater than zero, but got dilation={dilation:?}"
    );
    let mut out = Spatial::new();
    for i in 0..n {
        let (k, s, pad, d, size) = (kernel[i], stride[i], padding[i], dilation[i], x[2 + i] as i64);
        ensure!(pad >= 0, runtime, "pad must be non-negative, but got pad: {pad}");
        ensure!(
            pad <= ((k - 1) * d + 1) / 2,
            runtime,
            "pad should be at most half of effective kernel size, but got pad={pad}, kernel_size={k} and dilation={d}"
        );
        let room = size + 2 * pad - d * (k - 1) - 1 + if p.ceil_mode { s - 1 } else { 0 };
        let mut o = room.div_euclid(s) + 1;
        // the last window starts inside the input or its left padding
        if p.ceil_mode && (o - 1) * s >= size + pad {
            o -= 1;
        }
        ensure!(
            o >= 1,
            runtime,
            "Given input size: ({}). Calculated output size: ({}x{o}). Output size is too small",
            x[1..].iter().map(|v| v.to_string()).collect::<Vec<_>>().join("x"),
            x[1]
        );
        out.push(o as usize);
    }
    let all = |v: Vec<i64>| v.into_iter().map(|s| s as usize).collect::<Spatial>();
    Ok(PoolParams {
        kernel: all(kernel),
        stride: all(stride),
        padding: all(padding),
        dilation: all(dilation),
        out,
        count_include_pad: true,
        divisor: None,
    })
}

fn pair(r: SmallVec<[Tensor; 3]>, single: bool) -> Result<(Tensor, Tensor)> {
    let mut it = r.into_iter();
    let (Some(y), Some(index)) = (it.next(), it.next()) else { return Err(missing("max_pool")) };
    Ok((unbatched(y, single)?, unbatched(index, single)?))
}

/// Values and positions in the flattened spatial dims.
pub fn max_pool(x: &Tensor, p: &Pool) -> Result<(Tensor, Tensor)> {
    let op = ["max_pool1d()", "max_pool2d()", "max_pool3d()"][p.dims - 1];
    let (x, single) = batched(op, x, p.dims)?;
    if x.dtype().is_complex() || x.dtype() == rtorch_ir::DType::Bool {
        return Err(crate::ops::pointwise::not_implemented("max_pool2d", x.dtype()));
    }
    let name = ["MaxPool2DWithIndicesBackward0", "MaxPool2DWithIndicesBackward0", "MaxPool3DWithIndicesBackward0"];
    let params = params(op, &x.shape(), p)?;
    pair(prim(name[p.dims - 1], Prim::MaxPool { params }, &[&x])?, single)
}

pub fn avg_pool(x: &Tensor, p: &Pool, count_include_pad: bool, divisor: Option<i64>) -> Result<Tensor> {
    let op = ["avg_pool1d()", "avg_pool2d()", "avg_pool3d()"][p.dims - 1];
    if x.dtype() == rtorch_ir::DType::I64 {
        // of the integers PyTorch has int64 alone; quotients are cut off, and exact as far as 2^53
        let wide = crate::ops::convert::to_dtype(x, rtorch_ir::DType::F64)?;
        return crate::ops::convert::to_dtype(&avg_pool(&wide, p, count_include_pad, divisor)?, x.dtype());
    }
    ensure!(p.dims != 2 || x.ndim() > 2, index, "{op}: expected an input of 3 or 4 dimensions, but got {}", x.ndim());
    let (x, single) = batched(op, x, p.dims)?;
    if !x.dtype().is_float() {
        return Err(crate::ops::pointwise::not_implemented("avg_pool2d_out_frame", x.dtype()));
    }
    ensure!(divisor != Some(0), runtime, "divisor must be not zero");
    let params = PoolParams { count_include_pad, divisor, ..params(op, &x.shape(), p)? };
    let name = ["AvgPool2DBackward0", "AvgPool2DBackward0", "AvgPool3DBackward0"][p.dims - 1];
    unbatched(prim1(name, Prim::AvgPool { params }, &[&x])?, single)
}

fn adaptive_sizes(op: &str, size: &[i64], dims: usize) -> Result<Spatial> {
    let all = spatial(op, "output_size", size, dims)?;
    ensure!(
        all.iter().all(|&s| s >= 0),
        runtime,
        "{op}: elements of output_size must be greater than or equal to 0 but received {all:?}"
    );
    Ok(all.into_iter().map(|s| s as usize).collect())
}

pub fn adaptive_avg_pool(given: &Tensor, size: &[i64], dims: usize) -> Result<Tensor> {
    let op = ["adaptive_avg_pool1d()", "adaptive_avg_pool2d()", "adaptive_avg_pool3d()"][dims - 1];
    let (x, single) = batched(op, given, dims)?;
    let out = adaptive_sizes(op, size, dims)?;
    let one = out.iter().all(|&s| s == 1);
    if !x.dtype().is_float() && !one {
        return Err(crate::ops::pointwise::not_implemented("adaptive_avg_pool2d", x.dtype()));
    }
    if one {
        // one window: the mean of everything, complex numbers too
        let axes: Vec<i64> = (2..2 + dims as i64).collect();
        let y = unbatched(crate::ops::reduce::mean(&x, &axes, true, None)?, single)?;
        if single {
            crate::autograd::composite::collapse("MeanBackward1", &[given], &[&y]);
        }
        return Ok(y);
    }
    let name = ["AdaptiveAvgPool2DBackward0", "AdaptiveAvgPool2DBackward0", "AdaptiveAvgPool3DBackward0"][dims - 1];
    if out.contains(&0) {
        let mut s = Shape::from_slice(&x.shape()[..2]);
        s.extend(out);
        return unbatched(Tensor::empty(&s, x.dtype(), x.device())?, single);
    }
    let y = unbatched(prim1(name, Prim::AdaptiveAvgPool { out }, &[&x])?, single)?;
    if single {
        crate::autograd::composite::collapse(name, &[given], &[&y]);
    }
    Ok(y)
}

pub fn adaptive_max_pool(x: &Tensor, size: &[i64], dims: usize) -> Result<(Tensor, Tensor)> {
    let op = ["adaptive_max_pool1d()", "adaptive_max_pool2d()", "adaptive_max_pool3d()"][dims - 1];
    let (x, single) = batched(op, x, dims)?;
    if !x.dtype().is_float() {
        return Err(crate::ops::pointwise::not_implemented("adaptive_max_pool2d", x.dtype()));
    }
    let out = adaptive_sizes(op, size, dims)?;
    if out.contains(&0) {
        let mut s = Shape::from_slice(&x.shape()[..2]);
        s.extend(out);
        let index = Tensor::empty(&s, rtorch_ir::DType::I64, x.device())?;
        return Ok((unbatched(Tensor::empty(&s, x.dtype(), x.device())?, single)?, unbatched(index, single)?));
    }
    let name = ["AdaptiveMaxPool2DBackward0", "AdaptiveMaxPool2DBackward0", "AdaptiveMaxPool3DBackward0"][dims - 1];
    pair(prim(name, Prim::AdaptiveMaxPool { out }, &[&x])?, single)
}

/// Shuffles channels into space: [.., c r^2, h, w] -> [.., c, h r, w r].
pub fn pixel_shuffle(x: &Tensor, r: i64) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(
        n >= 3,
        runtime,
        "pixel_shuffle expects input to have at least 3 dimensions, but got input with {n} dimension(s)"
    );
    ensure!(r > 0, runtime, "pixel_shuffle expects a positive upscale_factor, but got {r}");
    let s = x.shape();
    let square = i128::from(r).pow(2);
    ensure!(
        square <= i64::MAX.into(),
        value,
        "upscale factor is too large, (upscale_factor)^2 overflowed: upscale_factor={r}"
    );
    ensure!(
        s[n - 3] as i128 % square == 0,
        runtime,
        "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, but \
         input.size(-3)={} is not divisible by {square}",
        s[n - 3]
    );
    let r = r as usize;
    let (lead, c, h, w) = (&s[..n - 3], s[n - 3] / (r * r), s[n - 2], s[n - 1]);
    let k = lead.len();
    let build = |tail: &[usize]| -> Shape { lead.iter().chain(tail).copied().collect() };
    let split = shape::reshape_to(x, build(&[c, r, r, h, w]))?;
    let mut order: Shape = (0..k).collect();
    order.extend([k, k + 3, k + 1, k + 4, k + 2]);
    shape::reshape_to(&shape::permute_raw(&split, &order)?, build(&[c, h * r, w * r]))
}

/// The inverse of `pixel_shuffle`.
pub fn pixel_unshuffle(x: &Tensor, r: i64) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(
        n >= 3,
        runtime,
        "pixel_unshuffle expects input to have at least 3 dimensions, but got input with {n} dimension(s)"
    );
    ensure!(r > 0, runtime, "pixel_unshuffle expects a positive downscale_factor, but got {r}");
    let (s, r) = (x.shape(), r as usize);
    for (d, name) in [(n - 2, "height"), (n - 1, "width")] {
        if !s[d].is_multiple_of(r) {
            return Err(Error::runtime(format!(
                "pixel_unshuffle expects {name} to be divisible by downscale_factor, but input.size({})={} is not \
                 divisible by {r}",
                d as i64 - n as i64,
                s[d]
            )));
        }
    }
    if x.numel() == 0 {
        // as it is, in PyTorch
        return shape::clone(x);
    }
    let (lead, c, h, w) = (&s[..n - 3], s[n - 3], s[n - 2] / r, s[n - 1] / r);
    // a tensor without elements has any number of pixels to give
    let square = r.checked_mul(r).filter(|&q| q.checked_mul(c.max(1)).is_some_and(|n| n <= i64::MAX as usize));
    ensure!(square.is_some(), runtime, "pixel_unshuffle: a downscale_factor of {r} overflows");
    let k = lead.len();
    let build = |tail: &[usize]| -> Shape { lead.iter().chain(tail).copied().collect() };
    let split = shape::reshape_to(x, build(&[c, h, r, w, r]))?;
    let mut order: Shape = (0..k).collect();
    order.extend([k, k + 2, k + 4, k + 1, k + 3]);
    shape::reshape_to(&shape::permute_raw(&split, &order)?, build(&[c * r * r, h, w]))
}
