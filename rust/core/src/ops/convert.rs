//! Conversions: dtype, device, memory format, Python numbers.

use rtorch_ir::layout::Layout;
use rtorch_ir::{DType, Error, Result, Scalar, ensure};
use smallvec::SmallVec;

use crate::autograd::graph::GradOp;
use crate::autograd::record;
use crate::backend;
use crate::device::Device;
use crate::dispatch;
use crate::kernel;
use crate::tensor::{Tensor, check_device_dtype};

/// The same values in another dtype; the tensor itself where it has the dtype already.
pub fn to_dtype(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    check_device_dtype(x.device(), dtype)?;
    dispatch::map("ToCopyBackward0", kernel::cast(x.dtype(), dtype), &[x])
}

/// The same values on another device, differentiable; the tensor itself where it is there already.
pub fn to_device(x: &Tensor, device: Device) -> Result<Tensor> {
    if x.device() == device {
        return Ok(x.clone());
    }
    let out = copy_to(x, device)?;
    if record::wanted(&[x]) {
        let n = record::node("ToCopyBackward0", GradOp::Pass, &[x], &[&out], Default::default());
        record::connect(&out, &n, 0);
    }
    Ok(out)
}

/// A copy on another device, outside of the graph; strides are kept where the tensor is dense.
pub fn copy_to(x: &Tensor, device: Device) -> Result<Tensor> {
    check_device_dtype(device, x.dtype())?;
    let x = x.detach();
    let (layout, dtype) = x.with(|p| (p.layout.clone(), p.dtype));
    let dense = layout.is_dense() && layout.numel() > 0;
    // memory order as a row-major tensor of the permuted shape, so that the bytes can travel as they lie
    let strides = if dense { layout.strides.clone() } else { rtorch_ir::layout::contiguous_strides(&layout.shape) };
    let mut order: SmallVec<[usize; 5]> = (0..layout.ndim()).collect();
    order.sort_by(|&a, &b| strides[b].cmp(&strides[a]).then(a.cmp(&b)));
    let rows = crate::ops::shape::permute_raw(&x, &order)?;
    let bytes = rows.to_bytes()?;
    let buf = backend::upload(device, &bytes)?;
    let out = Layout { shape: layout.shape, strides, offset: 0 };
    Ok(Tensor::from_buf(buf, out, dtype, device))
}

/// The one element as a Python number.
pub fn item(x: &Tensor) -> Result<Scalar> {
    crate::batch::refuse(x, ".item()")?;
    ensure!(x.numel() == 1, runtime, "a Tensor with {} elements cannot be converted to Scalar", x.numel());
    let b = x.to_bytes()?;
    Ok(read_scalar(&b, x.dtype()))
}

/// The element at the start of `b`.
pub fn read_scalar(b: &[u8], dtype: DType) -> Scalar {
    let mut a = [0u8; 16];
    a[..dtype.size()].copy_from_slice(&b[..dtype.size()]);
    let (h2, h4) = ([a[0], a[1]], [a[0], a[1], a[2], a[3]]);
    let h8 = [a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]];
    let second4 = [a[4], a[5], a[6], a[7]];
    let second8 = [a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]];
    match dtype {
        DType::Bool => Scalar::Bool(a[0] != 0),
        DType::U8 => Scalar::Int(a[0] as i64),
        DType::I8 => Scalar::Int(a[0] as i8 as i64),
        DType::I16 => Scalar::Int(i16::from_ne_bytes(h2) as i64),
        DType::I32 => Scalar::Int(i32::from_ne_bytes(h4) as i64),
        DType::I64 => Scalar::Int(i64::from_ne_bytes(h8)),
        DType::F16 => Scalar::Float(half::f16::from_ne_bytes(h2).to_f64()),
        DType::BF16 => Scalar::Float(half::bf16::from_ne_bytes(h2).to_f64()),
        DType::F32 => Scalar::Float(f32::from_ne_bytes(h4) as f64),
        DType::F64 => Scalar::Float(f64::from_ne_bytes(h8)),
        DType::C64 => Scalar::Complex(f32::from_ne_bytes(h4) as f64, f32::from_ne_bytes(second4) as f64),
        DType::C128 => Scalar::Complex(f64::from_ne_bytes(h8), f64::from_ne_bytes(second8)),
        DType::U16 => Scalar::Int(u16::from_ne_bytes(h2).into()),
        DType::U32 => Scalar::Int(u32::from_ne_bytes(h4).into()),
        DType::U64 => Scalar::unsigned(u64::from_ne_bytes(h8)),
        DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => {
            Scalar::Float(rtorch_ir::float8::values(dtype)[a[0] as usize].into())
        }
    }
}

/// The bytes of a number as an element.
pub fn write_scalar(s: Scalar, dtype: DType, out: &mut Vec<u8>) {
    match dtype {
        DType::Bool => out.push(s.is_true() as u8),
        DType::U8 => out.push(s.to_i64() as u8),
        DType::I8 => out.push(s.to_i64() as i8 as u8),
        DType::I16 => out.extend((s.to_i64() as i16).to_ne_bytes()),
        DType::I32 => out.extend((s.to_i64() as i32).to_ne_bytes()),
        DType::I64 => out.extend(s.to_i64().to_ne_bytes()),
        DType::F16 => out.extend(half::f16::from_f64(s.to_f64()).to_ne_bytes()),
        DType::BF16 => out.extend(half::bf16::from_f64(s.to_f64()).to_ne_bytes()),
        DType::F32 => out.extend((s.to_f64() as f32).to_ne_bytes()),
        DType::F64 => out.extend(s.to_f64().to_ne_bytes()),
        DType::C64 => {
            out.extend((s.to_f64() as f32).to_ne_bytes());
            out.extend((s.imag() as f32).to_ne_bytes());
        }
        DType::C128 => {
            out.extend(s.to_f64().to_ne_bytes());
            out.extend(s.imag().to_ne_bytes());
        }
        DType::U16 => out.extend((s.to_i64() as u16).to_ne_bytes()),
        DType::U32 => out.extend((s.to_i64() as u32).to_ne_bytes()),
        DType::U64 => out.extend(match s {
            Scalar::Float(f) if f >= 0.0 => (f as u64).to_ne_bytes(),
            Scalar::Bool(_) | Scalar::Int(_) | Scalar::UInt(_) | Scalar::Float(_) | Scalar::Complex(..) => {
                s.to_i64().to_ne_bytes()
            }
        }),
        DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => {
            out.extend(rtorch_ir::float8::encode(dtype, s.to_f64() as f32));
        }
    }
}

/// Integers of a tensor (indices, sizes) on the host.
pub fn to_i64_vec(x: &Tensor) -> Result<Vec<i64>> {
    ensure!(x.dtype().is_integral(), index, "expected integers, got {}", x.dtype().cpp_name());
    let b = to_dtype(&x.detach(), DType::I64)?.to_bytes()?;
    b.chunks_exact(8)
        .map(|c| c.try_into().map(i64::from_ne_bytes).map_err(|_| Error::runtime("short read of an integer tensor")))
        .collect()
}

/// `copy_to`, or the tensor itself where it is there already.
pub fn copy_to_if(x: &Tensor, device: Device) -> Result<Tensor> {
    if x.device() == device { Ok(x.clone()) } else { copy_to(x, device) }
}
