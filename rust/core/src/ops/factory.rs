//! Tensors made from nothing: fills, ranges, identity matrices.

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Program, Result, Scalar, ScalarOp, Shape, ensure};

use crate::device::Device;
use crate::dispatch;
use crate::kernel::Kernel;
use crate::tensor::{Tensor, check_device_dtype};

/// A constant everywhere, in a given memory order.
pub fn full_with(layout: Layout, value: Scalar, dtype: DType, device: Device) -> Result<Tensor> {
    dispatch::generate(&Kernel::new(Program::fill(value, dtype)), layout, device)
}

/// Memory of a layout as the allocator gives it; 0 on other devices than the CPU.
pub fn empty_with(layout: Layout, dtype: DType, device: Device) -> Result<Tensor> {
    if device.is_cpu() { Tensor::empty_with(layout, dtype, device) } else { full_with(layout, 0.into(), dtype, device) }
}

pub fn full(shape: &[usize], value: Scalar, dtype: DType, device: Device) -> Result<Tensor> {
    full_with(Layout::contiguous(shape), value, dtype, device)
}

pub fn zeros(shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
    full(shape, Scalar::Int(0), dtype, device)
}

pub fn ones(shape: &[usize], dtype: DType, device: Device) -> Result<Tensor> {
    full(shape, Scalar::Int(1), dtype, device)
}

/// Memory order for `*_like`: that of `x` where it is dense, else TensorIterator's.
pub fn like_layout(x: &Tensor) -> Layout {
    x.with(|p| Layout { shape: p.layout.shape.clone(), strides: p.layout.dense_strides_like(), offset: 0 })
}

pub fn full_like(x: &Tensor, value: Scalar) -> Result<Tensor> {
    crate::batch::cover(full_with(like_layout(x), value, x.dtype(), x.device())?, &[x])
}

pub fn zeros_like(x: &Tensor) -> Result<Tensor> {
    full_like(x, Scalar::Int(0))
}

/// A function of the element's number.
fn indexed(shape: &[usize], dtype: DType, device: Device, f: impl FnOnce(Ex) -> Ex) -> Result<Tensor> {
    check_device_dtype(device, dtype)?;
    let (mut p, y) = build(Program::new(), || f(Ex::index()).cast(dtype));
    p.outputs.push(y.0);
    dispatch::generate(&Kernel::new(p), Layout::contiguous(shape), device)
}

/// `arange`: start + i * step, in float64 (int64 for integers) as PyTorch computes it.
pub fn arange(start: Scalar, end: Scalar, step: Scalar, dtype: DType, device: Device) -> Result<Tensor> {
    check_range("arange", dtype)?;
    let all_int = [start, end, step].iter().all(|s| matches!(s, Scalar::Int(_) | Scalar::Bool(_)));
    ensure!(step.is_true(), runtime, "step must be nonzero");
    let (lo, hi, by) = (start.to_f64(), end.to_f64(), step.to_f64());
    ensure!(lo.is_finite() && hi.is_finite(), runtime, "unsupported range: {lo} -> {hi}");
    // as int64 even the bounds are whole numbers; of the other integer types only what is stored is
    let whole = dtype == DType::I64;
    if whole {
        let fits = |v: f64| (-9.3e18..9.3e18).contains(&v);
        ensure!(
            all_int || (fits(lo) && fits(hi) && fits(by)),
            runtime,
            "value cannot be converted to type int64_t without overflow"
        );
    }
    ensure!(
        (by > 0.0 && hi >= lo) || (by < 0.0 && hi <= lo),
        runtime,
        "upper bound and lower bound inconsistent with step sign"
    );
    ensure!(!whole || step.to_i64() != 0, value, "step must be nonzero");
    let n = if all_int || whole {
        let (lo, hi, by) = (start.to_i64() as i128, end.to_i64() as i128, step.to_i64() as i128);
        ((hi - lo + by - by.signum()) / by) as usize
    } else {
        ((hi - lo) / by).ceil().max(0.0) as usize
    };
    if dtype.is_integral() {
        let (lo, by) = (start.to_i64(), step.to_i64());
        return indexed(&[n], dtype, device, |i| {
            i * Ex::constant(Scalar::Int(by), DType::I64) + Ex::constant(Scalar::Int(lo), DType::I64)
        });
    }
    // PyTorch accumulates in the dtype's wider type: float64 for float64, float32's own for the rest
    let inner = if device.is_cpu() { DType::F64 } else { DType::F32 };
    indexed(&[n], dtype, device, |i| i.cast(inner) * by + lo)
}

/// Ranges of dtypes that have no arithmetic of their own are refused.
fn check_range(name: &str, dtype: DType) -> Result<()> {
    if dtype.is_storage() { Err(super::pointwise::not_implemented(name, dtype)) } else { Ok(()) }
}

/// `linspace`: symmetric from both ends, so that the last element is exactly `end`.
pub fn linspace(start: f64, end: f64, steps: usize, dtype: DType, device: Device) -> Result<Tensor> {
    check_range("linspace", dtype)?;
    if dtype == DType::Bool {
        return Err(super::pointwise::not_implemented("linspace", dtype));
    }
    if steps == 1 {
        return full(&[1], Scalar::Float(start), dtype, device);
    }
    let inner = if dtype == DType::F64 || dtype.is_integral() && device.is_cpu() { DType::F64 } else { DType::F32 };
    let (a, b) = if inner == DType::F32 { (start as f32 as f64, end as f32 as f64) } else { (start, end) };
    let step = (b - a) / (steps.max(2) - 1) as f64;
    let step = if inner == DType::F32 { ((b as f32 - a as f32) / (steps.max(2) - 1) as f32) as f64 } else { step };
    indexed(&[steps], dtype, device, |i| {
        let x = i.cast(inner);
        let first = x * step + a;
        let last = -(-(x) + (steps as f64 - 1.0)) * step + b;
        let half = Ex::constant(Scalar::Int(steps as i64 / 2), DType::I64);
        ex::where_(ex::lt(i, half), first, last)
    })
}

/// Ones on the diagonal.
pub fn eye(n: usize, m: usize, dtype: DType, device: Device) -> Result<Tensor> {
    let result = zeros(&[n, m], dtype, device)?;
    if n > 0 && m > 0 {
        let one = full(&[], Scalar::Float(1.0), dtype, device)?;
        crate::inplace::copy_(&super::shape::diagonal(&result, 0, 0, 1)?, &one)?;
    }
    Ok(result)
}

/// True where column - row <= k (`tril`) or >= k (`triu`).
pub fn triangle(n: usize, m: usize, k: i64, lower: bool, device: Device) -> Result<Tensor> {
    let k = k.clamp(-(n as i64) - 1, m as i64 + 1);
    // half as much to write and compare, where the numbers are small
    let dtype = if n.max(m) < 1 << 30 { DType::I32 } else { DType::I64 };
    let line = |from: i64, count: usize| {
        arange(Scalar::Int(from), Scalar::Int(from + count as i64), Scalar::Int(1), dtype, device)
    };
    let (columns, rows) = (line(0, m)?, super::shape::unsqueeze(&line(k, n)?, 1)?);
    let op = if lower { ScalarOp::Le } else { ScalarOp::Ge };
    super::binary(op, super::Arg::T(&columns), super::Arg::T(&rows))
}

/// A shape that users gave as signed integers.
pub fn checked_shape(sizes: &[i64]) -> Result<Shape> {
    for &s in sizes {
        ensure!(s >= 0, runtime, "Trying to create tensor with negative dimension {s}: {sizes:?}");
    }
    Ok(sizes.iter().map(|&s| s as usize).collect())
}
