//! The choke point: every operator call comes through `map`, `view` or `prim` here (or `inplace::write` for writes).
//! Deferral, autograd recording and, later, profiling and tracing hang on these and nowhere else.

use std::sync::Arc;

use rtorch_cpu::alloc::Buffer;
use rtorch_ir::layout::Layout;
use rtorch_ir::shape::{broadcast, result_strides};
use rtorch_ir::{Error, Prim, Result, Shape};
use smallvec::SmallVec;

use crate::autograd::record;
use crate::backend::{self, Input, Window};
use crate::batch;
use crate::defer::{self, Operand};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::stats::{COUNTERS, count, fallback_is_error};
use crate::storage::{Buf, Value};
use crate::tensor::{Parts, Tensor};
use crate::view::ViewOp;

/// Cost (the table's column) up to which a primitive evaluates a pending operand while it reads: once per element.
const PROLOGUE_COST: u32 = 64;
/// The same for matmul, which reads each element several times.
const MATMUL_PROLOGUE_COST: u32 = 6;

/// How dear a pending operand may be for a primitive to evaluate it while it reads.
pub fn prologue_cost(prim: &Prim) -> u32 {
    if matches!(prim, Prim::MatMul { .. }) { MATMUL_PROLOGUE_COST } else { PROLOGUE_COST }
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
pub fn map_layout(operands: &[Operand]) -> Result<Layout> {
    if let [a, b] = operands
        && a.layout.shape == b.layout.shape
        && a.layout.is_contiguous()
        && b.layout.is_contiguous()
    {
        return Ok(Layout { offset: 0, ..Layout::contiguous(&a.layout.shape) });
    }
    let mut shape = operands.first().map_or_else(Shape::new, |o| o.layout.shape.clone());
    for o in operands.iter().skip(1) {
        if o.layout.shape != shape {
            shape = broadcast(&shape, &o.layout.shape)?;
        }
    }
    let layouts: SmallVec<[&Layout; 4]> = operands.iter().map(|o| &o.layout).collect();
    let strides = result_strides(&shape, &layouts);
    Ok(Layout { shape, strides, offset: 0 })
}

/// A pointwise op. Inputs are on one device and have the dtypes of the kernel's leaves.
pub fn map(name: &'static str, kernel: &Arc<Kernel>, inputs: &[&Tensor]) -> Result<Tensor> {
    if batch::any(inputs) {
        return batch::map(name, kernel, inputs);
    }
    if let Some(out) = map_small(kernel, inputs)? {
        record::record_map(name, kernel, inputs, &out)?;
        return Ok(out);
    }
    let device = same_device(inputs)?;
    let operands: SmallVec<[Operand; 3]> = inputs.iter().map(|t| t.operand()).collect();
    let layout = map_layout(&operands)?;
    let value = defer::map(kernel, operands, layout.clone(), device)?;
    let out = Tensor::from_value(value, layout, kernel.dtype(), device);
    record::record_map(name, kernel, inputs, &out)?;
    Ok(out)
}

/// The same for one or two row-major CPU tensors of one shape that run at once: what a tiny model spends its time on.
/// Same kernel, same result; only the bookkeeping of the general path is left out.
fn map_small(kernel: &Kernel, inputs: &[&Tensor]) -> Result<Option<Tensor>> {
    let (first, second) = match inputs {
        [a] => (*a, *a),
        [a, b] => (*a, *b),
        _ => return Ok(None),
    };
    first.with(|p| {
        second.with(|q| {
            let n = p.layout.numel();
            let plain = p.layout.shape == q.layout.shape && p.layout.is_contiguous() && q.layout.is_contiguous();
            if !plain || n == 0 || defer::defers(Device::Cpu, n) {
                return Ok(None);
            }
            let (Some(Buf::Cpu(a)), Some(Buf::Cpu(b))) = (p.storage.ready(), q.storage.ready()) else {
                return Ok(None);
            };
            let layout = Layout::contiguous(&p.layout.shape);
            let out = Arc::new(Buffer::uninit(n * kernel.dtype().size())?);
            let ins = [
                rtorch_cpu::Arg { ptr: a.as_ptr(), dtype: p.dtype, layout: &p.layout },
                rtorch_cpu::Arg { ptr: b.as_ptr(), dtype: q.dtype, layout: &q.layout },
            ];
            let outs = [rtorch_cpu::Arg { ptr: out.as_ptr(), dtype: kernel.dtype(), layout: &layout }];
            backend::map_cpu(&kernel.program, &layout.shape, &ins[..inputs.len()], &outs, n)?;
            let value = Value::ready(Buf::Cpu(out));
            Ok(Some(Tensor::from_value(value, layout, kernel.dtype(), Device::Cpu)))
        })
    })
}

/// A pointwise op of one operand whose result has a given layout: copies in a memory order.
pub fn map_with_layout(name: &'static str, kernel: &Arc<Kernel>, x: &Tensor, layout: Layout) -> Result<Tensor> {
    if batch::is_batched(x) {
        return batch::map_with_layout(name, kernel, x, layout);
    }
    let device = x.device();
    let value = defer::map(kernel, SmallVec::from_iter([x.operand()]), layout.clone(), device)?;
    let out = Tensor::from_value(value, layout, kernel.dtype(), device);
    record::record_map(name, kernel, &[x], &out)?;
    Ok(out)
}

/// A pointwise op without operands (a constant or a function of the element's number).
pub fn generate(kernel: &Arc<Kernel>, layout: Layout, device: Device) -> Result<Tensor> {
    crate::tensor::check_device_dtype(device, kernel.dtype())?;
    rtorch_ir::layout::checked_numel(&layout.shape)?;
    let value = defer::map(kernel, SmallVec::new(), layout.clone(), device)?;
    Ok(Tensor::from_value(value, layout, kernel.dtype(), device))
}

/// A view: shares the storage and the version.
pub fn view(name: &'static str, op: ViewOp, x: &Tensor) -> Result<Option<Tensor>> {
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
    if batch::any(inputs) {
        return batch::prim(name, &prim, inputs);
    }
    let device = same_device(inputs)?;
    let metas: SmallVec<[rtorch_ir::prim::Meta; 4]> =
        inputs.iter().map(|t| t.with(|p| rtorch_ir::prim::Meta::new(&p.layout.shape, p.dtype))).collect();
    let results = prim.infer(&metas);
    if prim.takes_epilogue()
        && let Some(out) = waiting(&prim, inputs, &results[0], device)?
    {
        let outs = SmallVec::from_iter([out]);
        record::record_prim(name, &prim, inputs, &outs)?;
        return Ok(outs);
    }
    let mut outs: SmallVec<[Tensor; 3]> = SmallVec::new();
    for m in results {
        outs.push(Tensor::empty(&m.shape, m.dtype, device)?);
    }
    run_prim(&prim, inputs, &outs, device)?;
    record::record_prim(name, &prim, inputs, &outs)?;
    Ok(outs)
}

/// A product or convolution whose result may wait for a following program.
fn waiting(prim: &Prim, inputs: &[&Tensor], m: &rtorch_ir::prim::Meta, device: Device) -> Result<Option<Tensor>> {
    if !defer::defers(device, m.shape.iter().product()) {
        return Ok(None);
    }
    let operands: SmallVec<[Operand; 4]> = inputs.iter().map(|t| t.operand()).collect();
    let layout = Layout::contiguous(&m.shape);
    let value = defer::prim(prim, &operands, &layout, m.dtype, device)?;
    Ok(value.map(|v| Tensor::from_value(v, layout, m.dtype, device)))
}

/// The first (often only) output of a primitive.
pub fn prim1(name: &'static str, p: Prim, inputs: &[&Tensor]) -> Result<Tensor> {
    Ok(prim(name, p, inputs)?.swap_remove(0))
}

/// Runs a primitive into given outputs, on the host where the device has no kernel for it.
pub fn run_prim(prim: &Prim, inputs: &[&Tensor], outs: &[Tensor], device: Device) -> Result<()> {
    let cost = prologue_cost(prim);
    let operands: SmallVec<[Operand; 4]> = inputs.iter().map(|t| t.operand()).collect();
    if let Device::Wgpu(i) = device
        && !backend::gpu::supports(i, prim, &operands)
    {
        return on_host(prim, inputs, outs);
    }
    let mut ins: SmallVec<[Input; 4]> = SmallVec::new();
    for (i, o) in operands.iter().enumerate() {
        ins.push(defer::input(o, if prim.takes_prologue(i) { cost } else { 0 })?);
    }
    let windows: SmallVec<[Window; 3]> = outs.iter().map(window).collect::<Result<_>>()?;
    backend::run(device, prim, &ins, None, &windows)
}

/// The window of a tensor whose memory exists.
pub fn window(t: &Tensor) -> Result<Window> {
    batch::refuse(t, "an operator without a batching rule")?;
    let p = t.parts();
    Ok(Window { buf: p.storage.force()?, dtype: p.dtype, layout: p.layout })
}

/// A counted copy through the host, with one warning that names the primitive.
fn on_host(prim: &Prim, inputs: &[&Tensor], outs: &[Tensor]) -> Result<()> {
    count(&COUNTERS.host_fallbacks, 1);
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
        storage.set_value(Value::ready(buf), storage.len());
    }
    Ok(())
}
