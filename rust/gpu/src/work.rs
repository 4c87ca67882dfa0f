//! Outputs of kernels that write whole words only: a packed output is computed in memory of its compute type and
//! converted at the end. Not here: pointwise kernels, which pack by themselves (`map.rs`).

use std::sync::Arc;

use rtorch_ir::{CType, DType, Layout, Result};

use crate::GpuArg;
use crate::device::Device;
use crate::memory::Buffer;

/// The storage type of whole words that a compute type's values are kept in.
pub(crate) fn word_dtype(d: DType) -> DType {
    match d.ctype() {
        CType::Bool | CType::I32 => DType::I32,
        CType::I64 => DType::I64,
        CType::F32 | CType::F64 | CType::C64 | CType::C128 => DType::F32,
    }
}

/// Memory that a kernel writes for an output.
pub(crate) struct Work {
    pub buffer: Buffer,
    pub dtype: DType,
    pub layout: Layout,
    temporary: bool,
}

impl Work {
    /// The output itself where a kernel can store its elements one by one, else temporary memory.
    pub fn of(dev: &Arc<Device>, out: &GpuArg) -> Result<Work> {
        let half = out.dtype == DType::F16 && dev.profile.types.half;
        if half || word_dtype(out.dtype) == out.dtype {
            let (buffer, layout) = (out.buffer.clone(), out.layout.clone());
            return Ok(Work { buffer, dtype: out.dtype, layout, temporary: false });
        }
        Work::temporary(dev, word_dtype(out.dtype), &out.layout.shape)
    }
    /// The output itself where it has whole words and is contiguous, else temporary memory: what is added to, or read
    /// again.
    pub fn contiguous(dev: &Arc<Device>, out: &GpuArg) -> Result<Work> {
        if word_dtype(out.dtype) == out.dtype && out.layout.is_contiguous() {
            return Work::of(dev, out);
        }
        Work::temporary(dev, word_dtype(out.dtype), &out.layout.shape)
    }
    pub fn temporary(dev: &Arc<Device>, dtype: DType, shape: &[usize]) -> Result<Work> {
        let layout = Layout::contiguous(shape);
        let buffer = dev.alloc(layout.numel() * dtype.size())?;
        Ok(Work { buffer, dtype, layout, temporary: true })
    }
    pub fn arg(&self) -> GpuArg<'_> {
        GpuArg { buffer: &self.buffer, dtype: self.dtype, layout: &self.layout }
    }
    /// The same memory under another shape (contiguous memory only).
    pub fn reshaped(&self, shape: &[usize]) -> Layout {
        Layout { offset: self.layout.offset, ..Layout::contiguous(shape) }
    }
    /// Converts into the output where the memory was temporary.
    pub fn finish(&self, dev: &Arc<Device>, out: &GpuArg) -> Result<()> {
        if self.temporary { dev.copy_elements(&self.arg(), out) } else { Ok(()) }
    }
}
