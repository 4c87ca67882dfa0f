//! The choke point: every operator call comes through `map`, `view` or `prim` here (or `inplace::write` for writes).
//! Deferral, autograd recording and, later, profiling and tracing hang on these and nowhere else.

use std::sync::Arc;

use rtorch_cpu::Memory;
use rtorch_ir::layout::Layout;
use rtorch_ir::prim::Meta;
use rtorch_ir::shape::{broadcast, result_strides};
use rtorch_ir::{Error, Prim, Result, Shape};
use smallvec::SmallVec;

use crate::autograd::record;
use crate::backend::{self, Input, Window};
use crate::batch;
use crate::defer::{self, Operand};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::stats::{Event, count, fallback_is_error};
use crate::tensor::{Parts, Tensor};
use crate::trace;
use crate::view::ViewOp;

/// Cost (the table's column) up to which a primitive evaluates a pending operand while it reads: once per element.
const PROLOGUE_COST: u32 = 64;
/// The same for matmul, which reads each element several times.
const MATMUL_PROLOGUE_COST: u32 = 6;

/// How dear operand `i`, if pending, may be for a primitive to evaluate it while it reads; 0: it never does.
pub fn prologue_cost(prim: &Prim, i: usize, layout: &Layout, device: Device) -> u32 {
    match prim {
        _ if !prim.takes_prologue(i) => 0,
        // The CPU's products choose their order of summation by the strides in memory, and evaluate a prologue into
        // rows: that would be another order than the strides of the value itself ask for, and other bits.
        Prim::MatMul { .. } if device.is_cpu() && !layout.is_contiguous() => 0,
        Prim::MatMul { .. } => MATMUL_PROLOGUE_COST,
        _ => PROLOGUE_COST,
    }
}

/// The one device of all operands, or PyTorch's error.
pub fn same_device(inputs: &[&Tensor]) -> Result<Device> {
    let first = inputs.first().map_or(Device::Cpu, |t| t.device());
    for t in inputs {
        if t.device() != first {
            let (a, b) = (first, t.device());
            return Err(Error::runtime(format!(
                "Expected all tensors to be on the same device, but found at least two devices, {a} and {b}!"
            )));
        }
    }
    Ok(first)
}

/// Shape and strides of a pointwise result.
pub fn map_layout(operands: &[&Layout]) -> Result<Layout> {
    if let [a, b] = operands
        && a.shape == b.shape
        && a.is_contiguous()
        && b.is_contiguous()
    {
        return Ok(Layout::contiguous(&a.shape));
    }
    let mut shape = operands.first().map_or_else(Shape::new, |l| l.shape.clone());
    for l in operands.iter().skip(1) {
        if l.shape != shape {
            shape = broadcast(&shape, &l.shape)?;
        }
    }
    let strides = result_strides(&shape, operands);
    Ok(Layout { shape, strides, offset: 0 })
}

/// A pointwise op. Inputs are on one device and have the dtypes of the kernel's leaves.
pub fn map(name: &'static str, kernel: &Arc<Kernel>, inputs: &[&Tensor]) -> Result<Tensor> {
    kernel.check()?;
    trace::map(kernel);
    if batch::any(inputs) {
        return batch::map(name, kernel, inputs);
    }
    let out = match map_small(kernel, inputs) {
        Some(out) => out?,
        None => map_any(kernel, inputs, None)?,
    };
    if record::follows(inputs) {
        record::record_map(name, kernel, inputs, &out)?;
    }
    Ok(out)
}

/// One or two row-major CPU tensors of one shape whose op runs at once: what a tiny model spends its time on. Same
/// kernel, same result as `map_any`; only the bookkeeping is left out. None where that is not the case.
#[inline]
fn map_small(kernel: &Kernel, inputs: &[&Tensor]) -> Option<Result<Tensor>> {
    let n = inputs.first()?.numel();
    if n == 0 || defer::defers(Device::Cpu, n) {
        return None;
    }
    match inputs {
        [a] if a.is_contiguous() => {
            a.with(|p| p.storage.try_host(|x| run_rows(kernel, &p.layout.shape, n, &[start(p, x)])))
        }
        [a, b] if a.is_contiguous() && b.is_contiguous() => a.with(|p| {
            b.with(|q| {
                if p.layout.shape != q.layout.shape {
                    return None;
                }
                let run = |x, y| run_rows(kernel, &p.layout.shape, n, &[start(p, x), start(q, y)]);
                let same = p.storage.same(&q.storage);
                p.storage.try_host(|x| if same { Some(run(x, x)) } else { q.storage.try_host(|y| run(x, y)) })?
            })
        }),
        _ => None,
    }
}

/// Address of element 0.
#[inline]
fn start(p: &Parts, ptr: *mut u8) -> *mut u8 {
    ptr.wrapping_add(p.layout.offset * p.dtype.size())
}

/// A pointwise op over `n` row-major elements at each address.
#[inline]
fn run_rows(kernel: &Kernel, shape: &[usize], n: usize, ins: &[*mut u8]) -> Result<Tensor> {
    filled(kernel, shape, n, |out| backend::map_rows(kernel, shape, n, ins, out))
}

/// A fresh row-major tensor of a kernel's dtype whose memory `fill` writes.
#[inline]
fn filled(kernel: &Kernel, shape: &[usize], n: usize, fill: impl FnOnce(&Memory) -> Result<()>) -> Result<Tensor> {
    let dtype = kernel.dtype();
    let out = Memory::uninit(n * dtype.size())?;
    fill(&out)?;
    Ok(Tensor::rows(out, shape, n, dtype))
}

/// Any operands; with a layout, the result has that.
fn map_any(kernel: &Arc<Kernel>, inputs: &[&Tensor], layout: Option<Layout>) -> Result<Tensor> {
    let device = same_device(inputs)?;
    let most = inputs.iter().map(|t| t.numel()).max().unwrap_or(0);
    if !defer::defers(device, most)
        && let Some(windows) = ready_windows(inputs)
    {
        let layout = match &layout {
            Some(l) => l.clone(),
            None => map_layout(&windows.iter().map(|w| &w.layout).collect::<SmallVec<[&Layout; 4]>>())?,
        };
        if defer::runs_now(kernel, &layout, device) {
            let dtype = kernel.dtype();
            let buf = defer::run_windows(kernel, windows, &layout, device)?;
            return Ok(Tensor::from_buf(buf, layout, dtype, device));
        }
    }
    let operands: SmallVec<[Operand; 3]> = inputs.iter().map(|t| t.operand()).collect();
    let layout = match layout {
        Some(l) => l,
        None => map_layout(&operands.iter().map(|o| &o.layout).collect::<SmallVec<[&Layout; 4]>>())?,
    };
    let value = defer::map(kernel, operands, layout.clone(), device)?;
    Ok(Tensor::from_value(value, layout, kernel.dtype(), device))
}

/// Windows of tensors whose bytes exist: no capture is made, whose cell would outlive the op.
pub fn ready_windows(inputs: &[&Tensor]) -> Option<SmallVec<[Window; 4]>> {
    inputs.iter().map(|t| ready_window(t)).collect()
}

fn ready_window(t: &Tensor) -> Option<Window> {
    t.with(|p| Some(Window { buf: p.storage.ready()?, dtype: p.dtype, layout: p.layout.clone() }))
}

/// A pointwise op of one operand whose result has a given layout: copies in a memory order.
pub fn map_with_layout(name: &'static str, kernel: &Arc<Kernel>, x: &Tensor, layout: Layout) -> Result<Tensor> {
    trace::map(kernel);
    if batch::is_batched(x) {
        return batch::map_with_layout(name, kernel, x, layout);
    }
    let out = match copy_small(kernel, x, &layout) {
        Some(out) => out?,
        None => map_any(kernel, &[x], Some(layout))?,
    };
    record::record_map(name, kernel, &[x], &out)?;
    Ok(out)
}

/// As `map_small`, for one operand of any strides that is copied to rows: what `reshape` and `contiguous` do.
#[inline]
fn copy_small(kernel: &Kernel, x: &Tensor, layout: &Layout) -> Option<Result<Tensor>> {
    let n = x.numel();
    if n == 0 || !layout.is_contiguous() || defer::defers(Device::Cpu, n) {
        return None;
    }
    // rows all the same, but a dim of size 1 may have the stride of another order
    if layout.strides != rtorch_ir::layout::contiguous_strides(&layout.shape) {
        return None;
    }
    x.with(|p| {
        p.storage.try_host(|ptr| {
            let x = rtorch_cpu::Arg { ptr, dtype: p.dtype, layout: &p.layout };
            filled(kernel, &layout.shape, n, |out| backend::map_small(kernel, layout, n, &[x], out))
        })
    })
}

/// A pointwise op without operands (a constant or a function of the element's number).
pub fn generate(kernel: &Arc<Kernel>, layout: Layout, device: Device) -> Result<Tensor> {
    trace::map(kernel);
    crate::tensor::check_device_dtype(device, kernel.dtype())?;
    let value = defer::map(kernel, SmallVec::new(), layout.clone(), device)?;
    Ok(Tensor::from_value(value, layout, kernel.dtype(), device))
}

/// A view: shares the storage and the version.
pub fn view(name: &'static str, op: ViewOp, x: &Tensor) -> Result<Option<Tensor>> {
    trace::view(&op);
    let made = x.with(|p| -> Result<Option<Parts>> {
        let Some(layout) = op.apply(&p.layout, p.dtype)? else { return Ok(None) };
        let dtype = op.dtype(p.dtype);
        Ok(Some(Parts {
            dtype,
            layout,
            storage: p.storage.clone(),
            version: p.version.clone(),
            batch: batch::in_elements(&p.batch, p.dtype, &op),
        }))
    })?;
    let Some(parts) = made else { return Ok(None) };
    let out = record::make_view(name, op, x, parts)?;
    if x.is_inference() {
        out.set_inference(true);
    }
    Ok(Some(out))
}

/// A primitive. Outputs are row-major.
pub fn prim(name: &'static str, prim: Prim, inputs: &[&Tensor]) -> Result<SmallVec<[Tensor; 3]>> {
    if let Some(t) = inputs.iter().find(|t| t.dtype().is_storage())
        && !prim.moves()
    {
        return Err(crate::ops::pointwise::not_implemented(prim.name(), t.dtype()));
    }
    trace::prim(&prim, inputs.iter().map(|t| t.dtype()));
    if batch::any(inputs) {
        return batch::prim(name, &prim, inputs);
    }
    let device = same_device(inputs)?;
    let metas: SmallVec<[Meta; 4]> = inputs.iter().map(|t| t.with(|p| Meta::new(&p.layout.shape, p.dtype))).collect();
    let results = prim.infer(&metas);
    if prim.takes_epilogue()
        && let Some(out) = waiting(&prim, inputs, &results[0], device)?
    {
        let outs = SmallVec::from_iter([out]);
        record::record_prim(name, &prim, inputs, &outs)?;
        return Ok(outs);
    }
    let outs = match device {
        Device::Cpu => prim_cpu(&prim, inputs, results)?,
        Device::Wgpu(_) | Device::Meta => {
            let mut outs: SmallVec<[Tensor; 3]> = SmallVec::new();
            for m in results {
                outs.push(Tensor::empty(&m.shape, m.dtype, device)?);
            }
            run_prim(&prim, inputs, &outs, device)?;
            outs
        }
    };
    record::record_prim(name, &prim, inputs, &outs)?;
    Ok(outs)
}

/// On the CPU the results become tensors when their bytes exist.
fn prim_cpu(prim: &Prim, inputs: &[&Tensor], results: SmallVec<[Meta; 3]>) -> Result<SmallVec<[Tensor; 3]>> {
    let mut windows: SmallVec<[Window; 3]> = SmallVec::new();
    for m in results {
        let layout = Layout::contiguous(&m.shape);
        let buf = backend::alloc(Device::Cpu, crate::tensor::checked_bytes(&layout.shape, m.dtype)?)?;
        windows.push(Window { buf, dtype: m.dtype, layout });
    }
    run_into(prim, inputs, &windows, Device::Cpu)?;
    let tensor = |w: Window| Tensor::from_buf(w.buf, w.layout, w.dtype, Device::Cpu);
    Ok(windows.into_iter().map(tensor).collect())
}

/// Runs a primitive into memory of its own device.
fn run_into(prim: &Prim, inputs: &[&Tensor], outs: &[Window], device: Device) -> Result<()> {
    let bias = broadcast_operand(prim, outs);
    if device.is_cpu()
        && let Some(mut windows) = ready_windows(inputs)
    {
        if let Some((i, shape)) = bias {
            windows[i].layout = windows[i].layout.broadcast_to(shape)?;
        }
        return backend::run_plain(prim, &windows, outs);
    }
    let mut ins: SmallVec<[Input; 4]> = SmallVec::new();
    for (i, t) in inputs.iter().enumerate() {
        let mut o = t.operand();
        if let Some((k, shape)) = bias
            && k == i
            && o.layout.shape.as_slice() != shape
        {
            o.value.force()?;
            o.layout = o.layout.broadcast_to(shape)?;
        }
        ins.push(defer::input(&o, prologue_cost(prim, i, &o.layout, device))?);
    }
    backend::run(device, prim, &ins, None, outs)
}

/// An operand that the kernel reads in the result's shape, whatever shape broadcasts to it: the bias of a product.
fn broadcast_operand<'a>(prim: &Prim, outs: &'a [Window]) -> Option<(usize, &'a [usize])> {
    match (prim, outs) {
        (Prim::MatMul { bias: true, .. }, [out, ..]) => Some((2, &out.layout.shape)),
        _ => None,
    }
}

/// A product or convolution whose result may wait for a following program.
fn waiting(prim: &Prim, inputs: &[&Tensor], m: &Meta, device: Device) -> Result<Option<Tensor>> {
    if !defer::defers(device, m.shape.iter().product()) {
        return Ok(None);
    }
    let layout = Layout::contiguous(&m.shape);
    let mut operands: SmallVec<[Operand; 4]> = inputs.iter().map(|t| t.operand()).collect();
    if let Prim::MatMul { bias: true, .. } = prim
        && operands[2].layout.shape != m.shape
    {
        operands[2].value.force()?;
        operands[2].layout = operands[2].layout.broadcast_to(&m.shape)?;
    }
    let value = defer::prim(prim, &operands, &layout, m.dtype, device)?;
    Ok(value.map(|v| Tensor::from_value(v, layout, m.dtype, device)))
}

/// The first (often only) output of a primitive.
pub fn prim1(name: &'static str, p: Prim, inputs: &[&Tensor]) -> Result<Tensor> {
    Ok(prim(name, p, inputs)?.swap_remove(0))
}

/// Runs a primitive into given outputs, on the host where the device has no kernel for it.
pub fn run_prim(prim: &Prim, inputs: &[&Tensor], outs: &[Tensor], device: Device) -> Result<()> {
    if let Device::Wgpu(i) = device {
        let operands: SmallVec<[Operand; 4]> = inputs.iter().map(|t| t.operand()).collect();
        if !backend::gpu::supports(i, prim, &operands) {
            return on_host(prim, inputs, outs);
        }
    }
    let windows: SmallVec<[Window; 3]> = outs.iter().map(window).collect::<Result<_>>()?;
    run_into(prim, inputs, &windows, device)
}

/// The window of a tensor whose memory exists.
pub fn window(t: &Tensor) -> Result<Window> {
    batch::refuse(t, "an operator without a batching rule")?;
    if let Some(w) = ready_window(t) {
        return Ok(w);
    }
    // nothing is locked while pending work runs
    let p = t.parts();
    Ok(Window { buf: p.storage.force()?, dtype: p.dtype, layout: p.layout })
}

/// A counted copy through the host, with one warning that names the primitive.
fn on_host(prim: &Prim, inputs: &[&Tensor], outs: &[Tensor]) -> Result<()> {
    count(Event::HostFallbacks, 1);
    if fallback_is_error() {
        return Err(Error::runtime(format!("{}: no GPU kernel, and RTORCH_FALLBACK=error is set", prim.name())));
    }
    crate::warn::fallback(prim.name());
    let host: Vec<Tensor> =
        inputs.iter().map(|t| crate::ops::convert::copy_to(&t.detach(), Device::Cpu)).collect::<Result<_>>()?;
    let refs: SmallVec<[&Tensor; 4]> = host.iter().collect();
    let mut results: SmallVec<[Tensor; 3]> = SmallVec::new();
    for o in outs {
        results.push(Tensor::empty(&o.shape(), o.dtype(), Device::Cpu)?);
    }
    run_prim(prim, &refs, &results, Device::Cpu)?;
    for (o, r) in outs.iter().zip(&results) {
        let buf = backend::upload(o.device(), &r.to_bytes()?)?;
        let storage = o.storage();
        storage.set_buf(buf);
    }
    Ok(())
}
