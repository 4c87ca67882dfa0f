//! Writes: in-place ops, `out=` and assignment. Contents that somebody captured are never changed: pending readers run
//! first, and only a capture for backward makes a write copy the bytes (`cow_copies`).

use std::sync::Arc;

use rtorch_ir::shape::broadcast;
use rtorch_ir::{DType, Layout, Prim, Result, ensure};
use smallvec::{SmallVec, smallvec};

use crate::autograd::graph::{GradNode, GradOp, TensorMeta};
use crate::autograd::meta::Edge;
use crate::autograd::record;
use crate::autograd::saved::{SavedTensor, Saves};
use crate::autograd::{forward, mode};
use crate::backend::{self, Window};
use crate::batch;
use crate::defer::{self, Operand};
use crate::device::Device;
use crate::dispatch;
use crate::kernel::{self, From, Kernel};
use crate::stats::{Event, count};
use crate::storage::{Buf, State, Storage};
use crate::tensor::Tensor;
use crate::trace;

/// `target = kernel(inputs)`, recorded under `name`. The kernel answers the target's dtype.
pub fn map(name: &'static str, target: &Tensor, kernel: &Arc<Kernel>, inputs: &[&Tensor]) -> Result<()> {
    check_target(name, target)?;
    kernel.check()?;
    let device = target.device();
    for t in inputs {
        dispatch::same_device(&[target, t])?;
    }
    let mut shape = target.shape();
    for t in inputs {
        shape = broadcast(&shape, &t.shape())?;
    }
    ensure!(
        shape == target.shape(),
        runtime,
        "output with shape {} doesn't match the broadcast shape {:?}",
        target.shape_text(),
        shape.as_slice()
    );
    if forward::active() && (forward::any(inputs) || forward::tangent(target).is_some()) {
        return map_with_tangents(name, target, kernel, inputs);
    }
    let history = History::before(target, inputs)?;
    let saved = if history.is_some() { save_inputs(kernel, inputs)? } else { Saves::default() };
    let batched = batch::any(&[target]) || batch::any(inputs);
    let operands = if batched { Some(batch::operands_for(target, inputs)?) } else { None };
    store(target, kernel, inputs, operands, device)?;
    target.bump_version();
    if let Some(h) = history {
        h.after_map(name, target, kernel, inputs, saved)?;
    }
    Ok(())
}

/// The same under forward mode: computed apart, so that the tangent can read the old contents.
fn map_with_tangents(name: &'static str, target: &Tensor, kernel: &Arc<Kernel>, inputs: &[&Tensor]) -> Result<()> {
    check_grad(target)?;
    let made = dispatch::map(name, kernel, inputs)?;
    let made = crate::ops::shape::expand_to(&made, &target.shape())?;
    forward::written(target, &made)?;
    let _off = forward::off();
    adopt(target, &made)
}

/// `target = prim(inputs)` where the primitive's first input is the target itself: written in place where it can be.
pub fn prim(name: &'static str, target: &Tensor, prim: Prim, inputs: &[&Tensor]) -> Result<()> {
    check_target(name, target)?;
    let history = History::before(target, inputs)?;
    if history.is_some() || !target.is_contiguous() || target.numel() == 0 || batch::any(inputs) || forward::active() {
        // through the functional form: its gradient is the primitive's
        let made = dispatch::prim1(name, prim, inputs)?;
        return map(name, target, kernel::cast(made.dtype(), target.dtype()), &[&made]);
    }
    let device = dispatch::same_device(inputs)?;
    let others: SmallVec<[Tensor; 4]> = inputs[1..]
        .iter()
        .map(|t| if t.storage().same(&target.storage()) { crate::ops::shape::clone(t) } else { Ok((*t).clone()) })
        .collect::<Result<_>>()?;
    exclusive(target)?;
    let mut ins: SmallVec<[&Tensor; 4]> = smallvec![target];
    ins.extend(others.iter());
    trace::prim(&prim, ins.iter().map(|t| t.dtype()));
    dispatch::run_prim(&prim, &ins, std::slice::from_ref(target), device)?;
    target.bump_version();
    Ok(())
}

/// Copies `src` (broadcast, converted) into `target`.
pub fn copy_(target: &Tensor, src: &Tensor) -> Result<()> {
    let moved;
    let src = if src.device() == target.device() {
        src
    } else {
        moved = crate::ops::convert::to_device(src, target.device())?;
        &moved
    };
    ensure!(
        broadcast(&target.shape(), &src.shape()).is_ok_and(|s| s == target.shape()),
        runtime,
        "The size of tensor a ({}) must match the size of tensor b ({}): copy_ of shape {} into shape {}",
        target.numel(),
        src.numel(),
        src.shape_text(),
        target.shape_text()
    );
    map("torch::autograd::CopyBackwards", target, kernel::cast(src.dtype(), target.dtype()), &[src])
}

/// Writes a result of the target's shape and dtype into it, whose history becomes that of the result: an in-place form
/// of an operator that was computed apart.
pub fn adopt(target: &Tensor, made: &Tensor) -> Result<()> {
    let fits = target.view_of().is_none() && made.dtype() == target.dtype() && made.shape() == target.shape();
    let Some(edge) = made.grad_fn().filter(|_| fits && mode::is_enabled()) else { return copy_(target, made) };
    check_grad(target)?;
    {
        let _off = mode::Guard::new(false);
        copy_(target, made)?;
    }
    let hooks = target.with_meta(|m| std::mem::take(&mut m.hooks));
    drop(hooks);
    record::connect(target, &edge.node, edge.output);
    Ok(())
}

fn check_target(name: &str, target: &Tensor) -> Result<()> {
    ensure!(
        !target.with(|p| p.layout.overlaps_itself()),
        runtime,
        "unsupported operation: more than one element of the written-to tensor refers to a single memory location. \
         Please clone() the tensor before performing the operation."
    );
    ensure!(
        !target.is_inference() || mode::is_inference(),
        runtime,
        "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal \
         tensor before doing inplace update. ({name})"
    );
    Ok(())
}

/// PyTorch's refusals of writes to what the graph needs as it is.
pub fn check_grad(target: &Tensor) -> Result<()> {
    if !mode::is_enabled() || !target.requires_grad() && target.view_of().is_none() {
        return Ok(());
    }
    if let Some(v) = target.view_of() {
        let base = v.base();
        ensure!(
            !(base.is_leaf() && base.requires_grad()),
            runtime,
            "a view of a leaf Variable that requires grad is being used in an in-place operation."
        );
        ensure!(
            v.refuses_writes.is_none() || !target.requires_grad(),
            runtime,
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that \
             this use \
             case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view and \
             the inplace either both inside the no_grad block (if you don't want the inplace to be tracked) or both \
             outside (if you want the inplace to be tracked)."
        );
    } else {
        ensure!(
            !(target.is_leaf() && target.requires_grad()),
            runtime,
            "a leaf Variable that requires grad is being used in an in-place operation."
        );
    }
    Ok(())
}

// ---- the graph around a write

/// What a write changes in the graph, captured before it happens.
pub struct History {
    edges: SmallVec<[Option<Edge>; 2]>,
    /// For a view: its base and that base's edge.
    base: Option<(Tensor, Option<Edge>)>,
    /// Which input is the target.
    target: Option<usize>,
    /// Of a target that is no view and no input: where its old values came from. They get a gradient of zeros.
    lost: Option<Edge>,
}

impl History {
    /// None where the write leaves the graph alone.
    pub fn before(target: &Tensor, inputs: &[&Tensor]) -> Result<Option<History>> {
        if !mode::is_enabled() {
            return Ok(None);
        }
        check_grad(target)?;
        if !target.dtype().is_differentiable() {
            return Ok(None);
        }
        if !target.requires_grad() && !inputs.iter().any(|t| t.requires_grad()) {
            return Ok(None);
        }
        let base = target.view_of().map(|v| v.base()).map(|b| (b.clone(), record::edge(b)));
        let position = inputs.iter().position(|t| t.same(target));
        let lost = if base.is_none() && position.is_none() { record::edge(target) } else { None };
        let edges = inputs.iter().map(|t| record::edge(t)).collect();
        Ok(Some(History { edges, base, target: position, lost }))
    }
    fn after_map(
        self,
        name: &'static str,
        target: &Tensor,
        kernel: &Arc<Kernel>,
        inputs: &[&Tensor],
        mut saved: Saves,
    ) -> Result<()> {
        let wants_output = (0..inputs.len())
            .filter(|&i| self.edges[i].is_some())
            .filter_map(|i| kernel.grad(i))
            .any(|g| g.leaves.contains(&From::Output));
        if wants_output {
            saved.push(inputs.len(), SavedTensor::output(target, 0)?);
        }
        let mut metas: SmallVec<[TensorMeta; 2]> = inputs.iter().map(|t| TensorMeta::of(t)).collect();
        let mut edges = self.edges.clone();
        if self.lost.is_some() {
            metas.push(TensorMeta::of(target));
            edges.push(self.lost.clone());
        }
        let node = GradNode::new(
            name,
            GradOp::Map { kernel: kernel.clone() },
            edges,
            metas,
            smallvec![TensorMeta::of(target)],
            saved,
        );
        self.rebase(target, node);
        Ok(())
    }
    /// Makes `node` the history of what was written; for a view, of that part of the base.
    pub fn rebase(self, target: &Tensor, node: Arc<GradNode>) {
        let Some((base, base_edge)) = self.base else {
            let hooks = target.with_meta(|m| std::mem::take(&mut m.hooks));
            drop(hooks);
            record::connect(target, &node, 0);
            return;
        };
        let Some(view) = target.view_of() else { return };
        let (_, chain) = view.chain();
        let mut next: SmallVec<[Option<Edge>; 2]> = smallvec![base_edge];
        let mut metas = smallvec![TensorMeta::of(&base)];
        for (i, e) in self.edges.into_iter().enumerate() {
            if Some(i) != self.target {
                next.push(e);
                metas.push(node.inputs[i].clone());
            }
        }
        let meta = TensorMeta::of(&base);
        let op = GradOp::CopySlices { chain, base: meta.clone(), inner: node, target: self.target };
        let outer = GradNode::new("CopySlices", op, next, metas, smallvec![meta], Saves::default());
        record::connect(&base, &outer, 0);
    }
}

fn save_inputs(kernel: &Kernel, inputs: &[&Tensor]) -> Result<Saves> {
    let mut saved = Saves::default();
    for (i, t) in inputs.iter().enumerate() {
        if t.requires_grad()
            && let Some(g) = kernel.grad(i)
        {
            for from in &g.leaves {
                if let From::Input(k) = *from
                    && !saved.has(k)
                {
                    saved.push(k, SavedTensor::input(inputs[k])?);
                }
            }
        }
    }
    Ok(saved)
}

// ---- the bytes

fn covers_storage(layout: &Layout, dtype: DType, storage: &Storage) -> bool {
    layout.offset == 0 && layout.numel() * dtype.size() == storage.len() && layout.is_dense()
}

/// `operands`: what the inputs are as they stand behind batched tensors.
fn store(
    target: &Tensor,
    kernel: &Arc<Kernel>,
    inputs: &[&Tensor],
    operands: Option<SmallVec<[Operand; 3]>>,
    device: Device,
) -> Result<()> {
    let mut p = target.parts();
    p.layout = batch::whole(&p);
    if p.layout.numel() == 0 {
        return Ok(());
    }
    let fixed = p.storage.is_exported() || p.storage.is_addressed() || p.version.is_own();
    let whole = covers_storage(&p.layout, p.dtype, &p.storage);
    if whole && !fixed && defer::defers(device, p.layout.numel()) {
        // the new contents are a function of the old: the old buffer becomes the new one when nobody else wants it
        let operands = operands.unwrap_or_else(|| inputs.iter().map(|t| t.operand()).collect());
        let value = defer::map(kernel, operands, p.layout.clone(), device)?;
        p.storage.set_value(value, p.storage.len());
        return Ok(());
    }
    let mut windows: SmallVec<[Window; 4]> = SmallVec::new();
    for (i, t) in inputs.iter().enumerate() {
        let mut w = match operands.as_ref().map(|o| &o[i]) {
            None => dispatch::window(t)?,
            Some(o) => Window { buf: o.value.force()?, dtype: o.dtype, layout: o.layout.clone() },
        };
        if w.layout.shape != p.layout.shape {
            w.layout = w.layout.broadcast_to(&p.layout.shape)?;
        }
        windows.push(w);
    }
    let overwritten = whole && !windows.iter().any(|w| shares(w, &p.storage));
    // PyTorch's graph does not notice a write through `.data`: what backward saved changes with it
    let out =
        if p.version.is_own() { unnoticed(&p.storage)? } else { writable(&p.storage, overwritten, windows.len())? };
    let out = Window { buf: out, dtype: p.dtype, layout: p.layout.clone() };
    for w in &mut windows {
        if w.buf.same(&out.buf)
            && (w.layout != out.layout || w.dtype.size() != out.dtype.size())
            && ranges_meet(w, &out)
        {
            *w = snapshot(device, w)?;
        }
    }
    backend::map(device, &kernel.program, &p.layout.shape, &windows, &[out])
}

fn shares(w: &Window, storage: &Storage) -> bool {
    storage.with_ready(|b| b.same(&w.buf)).unwrap_or(false)
}

fn ranges_meet(a: &Window, b: &Window) -> bool {
    let bytes = |w: &Window| w.layout.extent().map(|(lo, hi)| (lo * w.dtype.size(), hi * w.dtype.size()));
    match (bytes(a), bytes(b)) {
        (Some((al, ah)), Some((bl, bh))) => al < bh && bl < ah,
        _ => false,
    }
}

/// A copy of what a window shows now.
fn snapshot(device: Device, w: &Window) -> Result<Window> {
    let layout = Layout::contiguous(&w.layout.shape);
    let buf = backend::alloc(device, layout.numel() * w.dtype.size())?;
    let out = Window { buf, dtype: w.dtype, layout };
    let copy = kernel::cast(w.dtype, w.dtype);
    backend::map(device, &copy.program, &w.layout.shape, std::slice::from_ref(w), std::slice::from_ref(&out))?;
    Ok(out)
}

/// Memory of a storage that may be written now: readers have run, and who captured the old contents keeps them.
/// `overwritten`: the write covers everything and reads nothing, so that a copy need not be filled. `windows`: handles
/// on operands the caller holds.
fn writable(storage: &Storage, overwritten: bool, windows: usize) -> Result<Buf> {
    if let Some(buf) = storage.own() {
        // never captured; a window of the caller, or another storage (`exported`), may still hold the bytes
        if storage.is_exported() || handles(&buf) <= 2 + windows {
            return Ok(buf);
        }
    }
    let value = storage.value();
    let buf = value.force()?;
    defer::run_readers(value.cell())?;
    // the storage's handle and ours; more are saves for backward, or other storages over the same contents
    let captured = Arc::strong_count(value.cell()) > 2;
    let borrowed = handles(&buf) > 2 + windows;
    if storage.is_exported() || (!captured && !borrowed) {
        return Ok(buf);
    }
    let device = storage.device();
    let fresh = backend::alloc(device, storage.len())?;
    if !overwritten || storage.is_addressed() {
        count(Event::CowCopies, 1);
        copy_bytes(device, &buf, &fresh)?;
    }
    if storage.is_addressed() {
        // the bytes stay at their address: the captures move
        let old = std::mem::replace(&mut *value.cell().state.lock(), State::Ready(fresh));
        drop(old);
        storage.set_buf(buf.clone());
        return Ok(buf);
    }
    storage.set_buf(fresh.clone());
    Ok(fresh)
}

/// Memory that changes for everybody, those who captured it for backward too.
fn unnoticed(storage: &Storage) -> Result<Buf> {
    let value = storage.value();
    let buf = value.force()?;
    defer::run_readers(value.cell())?;
    Ok(buf)
}

/// Handles on host memory; those on a GPU's are not counted here.
fn handles(buf: &Buf) -> usize {
    match buf {
        Buf::Cpu(b) => b.handles(),
        #[cfg(feature = "gpu")]
        Buf::Gpu(..) => 0,
        Buf::Meta(_) => 0,
    }
}

fn copy_bytes(device: Device, from: &Buf, to: &Buf) -> Result<()> {
    let n = from.len().min(to.len());
    let (dtype, n) = if n.is_multiple_of(4) { (DType::I32, n / 4) } else { (DType::U8, n) };
    let layout = Layout::contiguous(&[n]);
    let w = |buf: &Buf| Window { buf: buf.clone(), dtype, layout: layout.clone() };
    backend::map(device, &kernel::cast(dtype, dtype).program, &[n], &[w(from)], &[w(to)])
}

/// Makes a tensor's memory its own, so that a primitive may write into it, and answers it.
pub fn exclusive(t: &Tensor) -> Result<Window> {
    batch::refuse(t, "an operator that writes to memory")?;
    let p = t.parts();
    Ok(Window { buf: writable(&p.storage, false, 0)?, dtype: p.dtype, layout: p.layout })
}

/// Hands a tensor's memory to another library: pending readers run, captures keep a copy, and until the exporter dies
/// writes go to that very memory.
pub fn export(t: &Tensor) -> Result<(crate::storage::Export, rtorch_cpu::Memory)> {
    batch::refuse(t, ".numpy()")?;
    let storage = t.storage();
    let buf = match writable_for_export(&storage)? {
        Buf::Cpu(b) => b,
        Buf::Meta(_) => return Err(rtorch_ir::Error::not_implemented("Cannot copy out of meta tensor; no data!")),
        #[cfg(feature = "gpu")]
        Buf::Gpu(..) => {
            return Err(rtorch_ir::Error::type_(format!(
                "can't convert {} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory \
                 first.",
                t.device()
            )));
        }
    };
    Ok((storage.export(), buf))
}

fn writable_for_export(storage: &Storage) -> Result<Buf> {
    if storage.is_exported() {
        return storage.force();
    }
    storage.set_addressed();
    writable(storage, false, 0)
}
