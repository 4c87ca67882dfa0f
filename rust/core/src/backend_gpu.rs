//! The wgpu side of `backend`: the same few calls on `rtorch-gpu`.

use std::sync::Arc;

use rtorch_cpu::Memory;
use rtorch_gpu::{GpuArg, GpuEpilogue, GpuSource, Support};
use rtorch_ir::{DType, Error, Prim, Program, Result};
use smallvec::SmallVec;

use super::{Input, Window};
use crate::defer::Operand;
use crate::storage::Buf;

fn device(index: u32) -> Result<Arc<rtorch_gpu::Device>> {
    rtorch_gpu::device(index as usize)
}

pub fn alloc(index: u32, bytes: usize) -> Result<Buf> {
    Ok(Buf::Gpu(index, device(index)?.alloc(bytes)?))
}

pub fn upload(index: u32, bytes: &[u8]) -> Result<Buf> {
    let d = device(index)?;
    let b = d.alloc(bytes.len())?;
    if !bytes.is_empty() {
        d.upload(&b, 0, bytes)?;
    }
    Ok(Buf::Gpu(index, b))
}

pub fn download(index: u32, buf: &rtorch_gpu::Buffer) -> Result<Memory> {
    let host = Memory::uninit(buf.len())?;
    if !buf.is_empty() {
        // SAFETY: the buffer is fresh, of this length, and nobody else holds it.
        let bytes = unsafe { std::slice::from_raw_parts_mut(host.as_ptr(), buf.len()) };
        device(index)?.download(buf, 0, bytes)?;
    }
    Ok(host)
}

fn arg(w: &Window) -> Result<GpuArg<'_>> {
    match &w.buf {
        Buf::Gpu(_, b) => Ok(GpuArg { buffer: b, dtype: w.dtype, layout: &w.layout }),
        Buf::Cpu(_) | Buf::Meta(_) => Err(Error::runtime("a kernel of the GPU was given memory of the host")),
    }
}

pub fn map(index: u32, program: &Program, shape: &[usize], leaves: &[Window], outs: &[Window]) -> Result<()> {
    let ins: SmallVec<[GpuArg; 8]> = leaves.iter().map(arg).collect::<Result<_>>()?;
    let outs: SmallVec<[GpuArg; 2]> = outs.iter().map(arg).collect::<Result<_>>()?;
    device(index)?.map(program, shape, &ins, &outs)
}

pub fn run(
    index: u32,
    prim: &Prim,
    inputs: &[Input],
    epilogue: Option<(&Program, &[Window])>,
    outs: &[Window],
) -> Result<()> {
    let args: SmallVec<[SmallVec<[GpuArg; 2]>; 4]> =
        inputs.iter().map(|i| i.leaves.iter().map(arg).collect::<Result<_>>()).collect::<Result<_>>()?;
    let sources: SmallVec<[GpuSource; 4]> =
        inputs.iter().zip(&args).map(|(i, a)| GpuSource { program: &i.program, leaves: a, shape: &i.shape }).collect();
    let outs: SmallVec<[GpuArg; 3]> = outs.iter().map(arg).collect::<Result<_>>()?;
    let device = device(index)?;
    let Some((program, leaves)) = epilogue else { return device.run(prim, &sources, None, &outs) };
    let leaves: SmallVec<[GpuArg; 8]> = leaves.iter().map(arg).collect::<Result<_>>()?;
    device.run(prim, &sources, Some(&GpuEpilogue { program, leaves: &leaves }), &outs)
}

/// Has the device a kernel for the primitive on these operands?
pub fn supports(_index: u32, prim: &Prim, operands: &[Operand]) -> bool {
    let dtypes: SmallVec<[DType; 4]> = operands.iter().map(|o| o.dtype).collect();
    has(prim, &dtypes)
}

/// Has a GPU a kernel for the primitive on these dtypes?
pub fn has(prim: &Prim, dtypes: &[DType]) -> bool {
    rtorch_gpu::support(prim, dtypes) == Support::Native
}

pub fn synchronize(index: u32) -> Result<()> {
    device(index)?.synchronize()
}
