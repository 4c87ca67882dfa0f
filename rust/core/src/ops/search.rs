//! Searching sorted rows on the host.

use rtorch_cpu::Memory;
use rtorch_ir::{DType, Layout, Result};

use crate::batch;
use crate::device::Device;
use crate::storage::Buf;
use crate::tensor::Tensor;

/// Where each value would be inserted into its sorted row (the last dim of `rows`; one row for all values, or one for
/// each row of values). None where another way is needed: on a device, under `vmap`, for other or different dtypes.
pub fn sorted(rows: &Tensor, values: &Tensor, right: bool) -> Result<Option<Tensor>> {
    let dtype = rows.dtype();
    if rows.device() != Device::Cpu || values.device() != Device::Cpu || dtype != values.dtype() {
        return Ok(None);
    }
    if batch::any(&[rows, values]) || rows.ndim() == 0 {
        return Ok(None);
    }
    Ok(match dtype {
        DType::F32 => Some(typed::<f32>(rows, values, right)?),
        DType::F64 => Some(typed::<f64>(rows, values, right)?),
        DType::I64 => Some(typed::<i64>(rows, values, right)?),
        DType::I32 => Some(typed::<i32>(rows, values, right)?),
        _ => None,
    })
}

/// `sorted` for tensors whose dtype is T.
fn typed<T: Copy + PartialOrd + Sync>(rows: &Tensor, values: &Tensor, right: bool) -> Result<Tensor> {
    let n = rows.size(rows.ndim() - 1);
    let per_row = if rows.ndim() == 1 { values.numel() } else { values.size(values.ndim() - 1) };
    let (held, sought) = (rows.host_bytes()?, values.host_bytes()?);
    // SAFETY: the bytes are elements of that type.
    let (rows, sought) = unsafe { (elements::<T>(held.bytes()), elements::<T>(sought.bytes())) };
    let found = rtorch_cpu::search::search(rows, n, sought, per_row, right);
    let out = Memory::uninit(found.len() * size_of::<i64>())?;
    // SAFETY: the memory is fresh and as long.
    unsafe { std::ptr::copy_nonoverlapping(found.as_ptr().cast::<u8>(), out.as_ptr(), found.len() * size_of::<i64>()) };
    let layout = Layout::contiguous(&values.shape());
    Ok(Tensor::from_buf(Buf::Cpu(out), layout, DType::I64, Device::Cpu))
}

/// # Safety
/// The bytes are elements of that type.
unsafe fn elements<T>(bytes: &[u8]) -> &[T] {
    if bytes.is_empty() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) }
}
