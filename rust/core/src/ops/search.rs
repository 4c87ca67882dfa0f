//! Searching sorted rows on the host.

use rtorch_cpu::Memory;
use rtorch_ir::{DType, Layout, Result};

use crate::backend;
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
    let n = rows.size(rows.ndim() - 1);
    let per_row = if rows.ndim() == 1 { values.numel() } else { values.size(values.ndim() - 1) };
    let (held, sought) = (host(rows)?, host(values)?);
    macro_rules! search {
        ($t:ty) => {
            // SAFETY: contiguous elements of that type, alive as long as the handles on their memory.
            unsafe { rtorch_cpu::search::search::<$t>(held.elements(), n, sought.elements(), per_row, right) }
        };
    }
    let found = match dtype {
        DType::F32 => search!(f32),
        DType::F64 => search!(f64),
        DType::I64 => search!(i64),
        DType::I32 => search!(i32),
        _ => return Ok(None),
    };
    let out = Memory::uninit(found.len() * size_of::<i64>())?;
    // SAFETY: the memory is fresh and as long.
    unsafe { std::ptr::copy_nonoverlapping(found.as_ptr().cast::<u8>(), out.as_ptr(), found.len() * size_of::<i64>()) };
    let layout = Layout::contiguous(&values.shape());
    Ok(Some(Tensor::from_buf(Buf::Cpu(out), layout, DType::I64, Device::Cpu)))
}

/// A tensor's elements, row-major, and a handle that keeps them.
struct Held {
    memory: Memory,
    offset: usize,
    count: usize,
}

fn host(x: &Tensor) -> Result<Held> {
    let x = crate::ops::shape::contiguous(&x.detach())?;
    let memory = backend::download(&x.storage().force()?)?;
    let (offset, count) = x.with(|p| (p.layout.offset, p.layout.numel()));
    Ok(Held { memory, offset, count })
}

impl Held {
    /// # Safety
    /// The tensor has that type.
    unsafe fn elements<T>(&self) -> &[T] {
        if self.count == 0 {
            return &[];
        }
        // SAFETY: a contiguous layout lies within its storage.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast::<T>().add(self.offset), self.count) }
    }
}
