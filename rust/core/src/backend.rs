//! The narrow door to the backends: allocate, upload, download, run a program, run a primitive.
//! Decisions that need no hardware (deferral, dtypes, shapes) were made before a call comes here.

use std::sync::Arc;

use rtorch_cpu::Memory;
use rtorch_ir::{DType, Error, Layout, Prim, Program, Result};
use smallvec::SmallVec;

use crate::device::Device;
use crate::kernel::Kernel;
use crate::stats::count_kernel;
use crate::storage::Buf;

/// A window of a buffer: what a kernel reads or writes.
#[derive(Clone)]
pub struct Window {
    pub buf: Buf,
    pub dtype: DType,
    pub layout: Layout,
}

impl Window {
    fn bytes(&self) -> u64 {
        // an expanded operand is read once per stored element
        let n: usize = self
            .layout
            .shape
            .iter()
            .zip(&self.layout.strides)
            .map(|(&s, &st)| if st == 0 && s > 0 { 1 } else { s })
            .product();
        (n * self.dtype.size()) as u64
    }
}

/// An input of a primitive: a prologue program over windows of the iteration shape.
pub struct Input {
    pub program: Arc<Program>,
    pub leaves: SmallVec<[Window; 2]>,
    pub shape: rtorch_ir::Shape,
}

pub fn alloc(device: Device, bytes: usize) -> Result<Buf> {
    match device {
        Device::Cpu => Ok(Buf::Cpu(Memory::uninit(bytes)?)),
        Device::Wgpu(i) => gpu::alloc(i, bytes),
        Device::Meta => Ok(Buf::Meta(bytes)),
    }
}

/// Copies host bytes to the device.
pub fn upload(device: Device, bytes: &[u8]) -> Result<Buf> {
    match device {
        Device::Cpu => {
            let buf = Memory::uninit(bytes.len())?;
            // SAFETY: the buffer is fresh, at least as long, and nobody else holds it.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.as_ptr(), bytes.len()) };
            Ok(Buf::Cpu(buf))
        }
        Device::Wgpu(i) => gpu::upload(i, bytes),
        Device::Meta => Ok(Buf::Meta(bytes.len())),
    }
}

fn no_data() -> Error {
    Error::not_implemented("Cannot copy out of meta tensor; no data!")
}

/// The bytes as host memory: the buffer itself on the CPU, a copy of it elsewhere.
pub fn download(buf: &Buf) -> Result<Memory> {
    match buf {
        Buf::Cpu(b) => Ok(b.clone()),
        #[cfg(feature = "gpu")]
        Buf::Gpu(i, b) => gpu::download(*i, b),
        Buf::Meta(_) => Err(no_data()),
    }
}

/// Runs a pointwise program over `shape`; layouts are already broadcast to it.
pub fn map(device: Device, program: &Program, shape: &[usize], leaves: &[Window], outs: &[Window]) -> Result<()> {
    account(leaves.iter(), outs);
    shielded(|| match device {
        Device::Cpu => {
            let ins: SmallVec<[rtorch_cpu::Arg; 4]> = leaves.iter().map(cpu_arg).collect::<Result<_>>()?;
            let outs: SmallVec<[rtorch_cpu::Arg; 2]> = outs.iter().map(cpu_arg).collect::<Result<_>>()?;
            rtorch_cpu::map(program, shape, &ins, &outs)
        }
        Device::Wgpu(i) => gpu::map(i, program, shape, leaves, outs),
        Device::Meta => Ok(()),
    })
}

/// A kernel's panic as an error. Deferred work runs wherever somebody needs a value, so that it must not unwind from
/// there.
fn shielded<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or_else(|p| Err(panicked(&*p)))
}

/// The error that stands for a panic.
pub fn panicked(p: &(dyn std::any::Any + Send)) -> Error {
    let text = p.downcast_ref::<&str>().map(|s| (*s).to_string()).or_else(|| p.downcast_ref::<String>().cloned());
    Error::runtime(format!("internal error: {}", text.unwrap_or_else(|| "a panic without a message".into())))
}

/// Runs a kernel over `n` row-major elements at each address of host memory; `out` is nobody's operand.
#[inline]
pub fn map_rows(kernel: &Kernel, shape: &[usize], n: usize, ins: &[*mut u8], out: &Memory) -> Result<()> {
    count_kernel((n * kernel.reads()) as u64, (n * kernel.dtype().size()) as u64);
    if let Some(small) = kernel.small() {
        // SAFETY: at the addresses lie `n` elements; the result's memory is fresh and holds as many.
        if unsafe { small.run_rows(n, ins, out.as_ptr()) } {
            return Ok(());
        }
    }
    map_rows_planned(kernel, shape, ins, out)
}

#[cold]
fn map_rows_planned(kernel: &Kernel, shape: &[usize], ins: &[*mut u8], out: &Memory) -> Result<()> {
    let layout = &Layout::contiguous(shape);
    let arg = |(&ptr, &dtype)| rtorch_cpu::Arg { ptr, dtype, layout };
    let ins: SmallVec<[rtorch_cpu::Arg; 4]> = ins.iter().zip(&kernel.program.leaves).map(arg).collect();
    let outs = [rtorch_cpu::Arg { ptr: out.as_ptr(), dtype: kernel.dtype(), layout }];
    rtorch_cpu::map(&kernel.program, shape, &ins, &outs)
}

/// Runs a kernel over row-major host memory of `n` elements; `out` is nobody's operand.
#[inline]
pub fn map_small(kernel: &Kernel, layout: &Layout, n: usize, ins: &[rtorch_cpu::Arg], out: &Memory) -> Result<()> {
    let dtype = kernel.dtype();
    count_kernel(ins.iter().map(|a| (n * a.dtype.size()) as u64).sum(), (n * dtype.size()) as u64);
    map_uncounted(kernel, layout, n, ins, out)
}

/// The same for windows of any strides over the result's shape.
pub fn map_windows(kernel: &Kernel, layout: &Layout, leaves: &[Window], out: &Buf) -> Result<()> {
    let (device, dtype) = (out.device(), kernel.dtype());
    let outs = [Window { buf: out.clone(), dtype, layout: layout.clone() }];
    match out {
        Buf::Cpu(memory) if layout.is_contiguous() => {
            account(leaves.iter(), &outs);
            let ins: SmallVec<[rtorch_cpu::Arg; 4]> = leaves.iter().map(cpu_arg).collect::<Result<_>>()?;
            shielded(|| map_uncounted(kernel, layout, layout.numel(), &ins, memory))
        }
        Buf::Cpu(_) => map(device, &kernel.program, &layout.shape, leaves, &outs),
        Buf::Meta(_) => Ok(()),
        #[cfg(feature = "gpu")]
        Buf::Gpu(..) => map(device, &kernel.program, &layout.shape, leaves, &outs),
    }
}

#[inline]
fn map_uncounted(kernel: &Kernel, layout: &Layout, n: usize, ins: &[rtorch_cpu::Arg], out: &Memory) -> Result<()> {
    if let Some(small) = kernel.small() {
        // SAFETY: the operands are windows of `n` elements; the result's memory is fresh and holds as many.
        if unsafe { small.run(n, ins, out.as_ptr()) } {
            return Ok(());
        }
    }
    let outs = [rtorch_cpu::Arg { ptr: out.as_ptr(), dtype: kernel.dtype(), layout }];
    rtorch_cpu::map(&kernel.program, &layout.shape, ins, &outs)
}

/// Runs a primitive; with an epilogue, its first result goes through a program whose leaf 0 it is and whose
/// other leaves are the windows.
pub fn run(
    device: Device,
    prim: &Prim,
    inputs: &[Input],
    epilogue: Option<(&Program, &[Window])>,
    outs: &[Window],
) -> Result<()> {
    let extra = epilogue.map_or(&[][..], |e| e.1);
    account(inputs.iter().flat_map(|i| i.leaves.iter()).chain(extra), outs);
    shielded(|| match device {
        Device::Cpu => run_cpu(prim, inputs, epilogue, outs),
        Device::Wgpu(i) => gpu::run(i, prim, inputs, epilogue, outs),
        Device::Meta => Ok(()),
    })
}

/// Runs a primitive of the CPU on operands that need no program.
pub fn run_plain(prim: &Prim, inputs: &[Window], outs: &[Window]) -> Result<()> {
    account(inputs.iter(), outs);
    let args: SmallVec<[rtorch_cpu::Arg; 4]> = inputs.iter().map(cpu_arg).collect::<Result<_>>()?;
    let sources: SmallVec<[rtorch_cpu::Source; 4]> = inputs
        .iter()
        .zip(&args)
        .map(|(w, a)| rtorch_cpu::Source {
            program: &crate::kernel::cast(w.dtype, w.dtype).program,
            leaves: std::slice::from_ref(a),
            shape: &w.layout.shape,
        })
        .collect();
    let outs: SmallVec<[rtorch_cpu::Arg; 3]> = outs.iter().map(cpu_arg).collect::<Result<_>>()?;
    shielded(|| rtorch_cpu::run(prim, &sources, None, &outs))
}

fn run_cpu(prim: &Prim, inputs: &[Input], epilogue: Option<(&Program, &[Window])>, outs: &[Window]) -> Result<()> {
    let args: SmallVec<[SmallVec<[rtorch_cpu::Arg; 2]>; 4]> =
        inputs.iter().map(|i| i.leaves.iter().map(cpu_arg).collect::<Result<_>>()).collect::<Result<_>>()?;
    let sources: SmallVec<[rtorch_cpu::Source; 4]> = inputs
        .iter()
        .zip(&args)
        .map(|(i, a)| rtorch_cpu::Source { program: &i.program, leaves: a, shape: &i.shape })
        .collect();
    let outs: SmallVec<[rtorch_cpu::Arg; 3]> = outs.iter().map(cpu_arg).collect::<Result<_>>()?;
    let Some((program, leaves)) = epilogue else { return rtorch_cpu::run(prim, &sources, None, &outs) };
    let leaves: SmallVec<[rtorch_cpu::Arg; 8]> = leaves.iter().map(cpu_arg).collect::<Result<_>>()?;
    rtorch_cpu::run(prim, &sources, Some(&rtorch_cpu::Epilogue { program, leaves: &leaves }), &outs)
}

/// Runs the steps of an LSTM layer on the CPU.
pub fn lstm(layer: &rtorch_cpu::lstm::Layer) -> Result<()> {
    let bytes = |a: &rtorch_cpu::Arg| (a.layout.numel() * a.dtype.size()) as u64;
    let read = match &layer.inputs {
        rtorch_cpu::lstm::Inputs::Projected(x) => bytes(x),
        rtorch_cpu::lstm::Inputs::Plain(x, w, bias) => bytes(x) + bytes(w) + bias.as_ref().map_or(0, bytes),
    };
    count_kernel(read + bytes(&layer.weight), layer.states.iter().chain(&layer.gates).map(bytes).sum());
    shielded(|| rtorch_cpu::lstm::run(layer))
}

/// Two parts next to each other: row-major, or one number, as `rtorch_cpu::interleave` takes them.
pub fn interleave(parts: [&Window; 2], out: &Window) -> Result<()> {
    account(parts.into_iter(), std::slice::from_ref(out));
    let (re, im, out) = (cpu_arg(parts[0])?, cpu_arg(parts[1])?, cpu_arg(out)?);
    shielded(|| {
        rtorch_cpu::interleave(re, im, out);
        Ok(())
    })
}

/// Calls `f` with an input as the CPU's kernels take it.
fn with_source<T>(x: &Input, f: impl FnOnce(&rtorch_cpu::Source) -> Result<T>) -> Result<T> {
    let leaves: SmallVec<[rtorch_cpu::Arg; 2]> = x.leaves.iter().map(cpu_arg).collect::<Result<_>>()?;
    f(&rtorch_cpu::Source { program: &x.program, leaves: &leaves, shape: &x.shape })
}

/// Log softmax along an axis at one index per line, with each line's maximum and logarithm of the sum of exponentials.
pub fn log_softmax_at(axis: usize, x: &Input, index: &Window, outs: &[Window; 3]) -> Result<()> {
    account(x.leaves.iter().chain([index]), outs);
    let args = [cpu_arg(&outs[0])?, cpu_arg(&outs[1])?, cpu_arg(&outs[2])?];
    let index = cpu_arg(index)?;
    with_source(x, |x| shielded(|| rtorch_cpu::softmax::log_softmax_at(axis, x, index, args)))
}

/// Its gradient.
pub fn log_softmax_at_grad(
    axis: usize,
    g: &Window,
    x: &Input,
    index: &Window,
    scales: [&Window; 2],
    out: &Window,
) -> Result<()> {
    account(x.leaves.iter().chain([g, index]).chain(scales), std::slice::from_ref(out));
    let scales = [cpu_arg(scales[0])?, cpu_arg(scales[1])?];
    let (g, index, out) = (cpu_arg(g)?, cpu_arg(index)?, cpu_arg(out)?);
    with_source(x, |x| shielded(|| rtorch_cpu::softmax::log_softmax_at_grad(axis, g, x, index, scales, out)))
}

/// How many elements of host memory are not zero.
pub fn nonzero_count(w: &Window) -> Result<usize> {
    rtorch_cpu::nonzero::count(cpu_arg(w)?)
}

fn account<'a>(ins: impl Iterator<Item = &'a Window>, outs: &[Window]) {
    count_kernel(ins.map(Window::bytes).sum(), outs.iter().map(Window::bytes).sum());
}

/// Host memory as the CPU's kernels take it.
pub fn cpu_arg(w: &Window) -> Result<rtorch_cpu::Arg<'_>> {
    match &w.buf {
        Buf::Cpu(b) => Ok(rtorch_cpu::Arg { ptr: b.as_ptr(), dtype: w.dtype, layout: &w.layout }),
        #[cfg(feature = "gpu")]
        Buf::Gpu(..) => Err(Error::runtime("a kernel of the CPU was given memory of another device")),
        Buf::Meta(_) => Err(no_data()),
    }
}

/// Waits until everything queued on the device has run, and raises what went wrong meanwhile.
pub fn synchronize(device: Device) -> Result<()> {
    match device {
        Device::Cpu => Ok(()),
        Device::Wgpu(i) => gpu::synchronize(i),
        Device::Meta => Ok(()),
    }
}

#[cfg(feature = "gpu")]
#[path = "backend_gpu.rs"]
pub mod gpu;

/// A core built without the GPU backend: every use of the device says so.
#[cfg(not(feature = "gpu"))]
pub mod gpu {
    use super::*;

    fn absent<T>() -> Result<T> {
        Err(Error::runtime("rtorch was built without the wgpu backend (cargo feature \"gpu\")"))
    }
    pub fn alloc(_: u32, _: usize) -> Result<Buf> {
        absent()
    }
    pub fn upload(_: u32, _: &[u8]) -> Result<Buf> {
        absent()
    }
    pub fn map(_: u32, _: &Program, _: &[usize], _: &[Window], _: &[Window]) -> Result<()> {
        absent()
    }
    pub fn run(_: u32, _: &Prim, _: &[Input], _: Option<(&Program, &[Window])>, _: &[Window]) -> Result<()> {
        absent()
    }
    pub fn synchronize(_: u32) -> Result<()> {
        absent()
    }
    pub fn supports(_: u32, _: &Prim, _: &[crate::defer::Operand]) -> bool {
        false
    }
    pub fn has(_: &Prim, _: &[rtorch_ir::DType]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let text = |f: fn() -> Result<()>| shielded(f).unwrap_err().message;
        assert_eq!(text(|| panic!("planted")), "internal error: planted");
        assert_eq!(text(|| panic!("planted {}", 1)), "internal error: planted 1");
        assert_eq!(text(|| std::panic::panic_any(1)), "internal error: a panic without a message");
    }
}
