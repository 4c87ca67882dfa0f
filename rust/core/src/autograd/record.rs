//! Recording: who requires grad, which edge leads to a tensor, and what an op leaves behind for backward.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtorch_ir::{Error, Prim, Result};
use smallvec::{SmallVec, smallvec};

use super::graph::{GradNode, GradOp, TensorMeta};
use super::meta::{Edge, ViewOf};
use super::saved::{SavedTensor, Saves};
use super::{forward, mode};
use crate::kernel::{From, Kernel};
use crate::tensor::{Parts, Tensor};
use crate::view::ViewOp;

type Edges = SmallVec<[Option<Edge>; 2]>;

impl Tensor {
    #[inline]
    pub fn requires_grad(&self) -> bool {
        self.wants_grad() || self.view_of().is_some_and(|v| v.parent.requires_grad())
    }
    pub fn is_leaf(&self) -> bool {
        !self.requires_grad() || self.grad_fn().is_none()
    }
    /// The edge of a result; made anew for a view whose base was written since.
    pub fn grad_fn(&self) -> Option<Edge> {
        if !self.is_tracked() && self.view_of().is_none() {
            return None;
        }
        refresh(self);
        self.meta(|m| m.grad_fn.clone()).flatten()
    }
    pub fn grad(&self) -> Option<Tensor> {
        self.meta(|m| m.grad.clone()).flatten()
    }
    pub fn set_grad(&self, grad: Option<Tensor>) {
        let old = self.with_meta(|m| std::mem::replace(&mut m.grad, grad));
        drop(old);
    }
    pub fn set_requires_grad(&self, on: bool) -> Result<()> {
        if !on && self.requires_grad() && !self.is_leaf() {
            return Err(Error::runtime(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable \
                 in a \
                 subgraph that doesn't require differentiation use var_no_grad = var.detach().",
            ));
        }
        if on && !self.dtype().is_differentiable() {
            return Err(Error::runtime("only Tensors of floating point and complex dtype can require gradients"));
        }
        if on && self.is_inference() && !mode::is_inference() {
            return Err(Error::runtime(
                "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.",
            ));
        }
        if on || self.is_tracked() {
            self.with_meta(|m| m.requires_grad = on && m.grad_fn.is_none());
        }
        Ok(())
    }
}

/// Replays the chain of a view whose base got a new history.
fn refresh(t: &Tensor) {
    let Some(v) = t.view_of() else { return };
    let now = t.version();
    if v.version.load(Ordering::Relaxed) == now {
        return;
    }
    let (base, chain) = v.chain();
    if !base.requires_grad() {
        return;
    }
    let Some(mut e) = edge(&base) else { return };
    let mut layout = base.layout();
    let mut dtype = base.dtype();
    let (device, levels) = (t.device(), crate::batch::levels(&base));
    for (op, name) in &chain {
        let Ok(Some(next)) = op.apply(&layout, dtype) else { return };
        let input = TensorMeta { shape: layout.shape.clone(), dtype, device, levels: levels.clone() };
        dtype = op.dtype(dtype);
        let output = TensorMeta { shape: next.shape.clone(), dtype, device, levels: levels.clone() };
        let op = GradOp::View { op: op.clone(), input: layout };
        let node = GradNode::new(*name, op, smallvec![Some(e)], smallvec![input], smallvec![output], Saves::default());
        e = Edge { node, output: 0 };
        layout = next;
    }
    t.with_meta(|m| {
        m.requires_grad = false;
        m.grad_fn = Some(e);
    });
    v.version.store(now, Ordering::Relaxed);
}

/// The edge that a gradient of this tensor takes: its node, or for a leaf the accumulator.
pub fn edge(t: &Tensor) -> Option<Edge> {
    if !t.is_tracked() && t.view_of().is_none() {
        return None;
    }
    refresh(t);
    let leaf = match t.meta(|m| (m.grad_fn.clone(), m.requires_grad))? {
        (Some(e), _) => return Some(e),
        (None, leaf) => leaf,
    };
    leaf.then(|| Edge { node: GradNode::accumulator(t), output: 0 })
}

/// Does an op on these tensors belong in the graph?
#[inline]
pub fn wanted(inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|t| t.requires_grad()) && mode::is_enabled()
}

fn check_inference(inputs: &[&Tensor]) -> Result<()> {
    if inputs.iter().any(|t| t.is_inference()) && !mode::is_inference() {
        return Err(Error::runtime(
            "Inference tensors cannot be saved for backward. To work around you can make a clone to get \
                                   a normal tensor and use it in autograd.",
        ));
    }
    Ok(())
}

/// A node of these inputs; outputs are connected by `connect`.
pub fn node(
    name: impl Into<Cow<'static, str>>,
    op: GradOp,
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    saved: Saves,
) -> Arc<GradNode> {
    node_of(name, op, inputs, edges(inputs), outputs, saved)
}

fn edges(inputs: &[&Tensor]) -> Edges {
    inputs.iter().map(|t| edge(t)).collect()
}

fn node_of(
    name: impl Into<Cow<'static, str>>,
    op: GradOp,
    inputs: &[&Tensor],
    next: Edges,
    outputs: &[&Tensor],
    saved: Saves,
) -> Arc<GradNode> {
    let ins = inputs.iter().map(|t| TensorMeta::of(t)).collect();
    let outs = outputs.iter().map(|t| TensorMeta::of(t)).collect();
    GradNode::new(name, op, next, ins, outs, saved)
}

/// Makes `t` output number `output` of a node.
pub fn connect(t: &Tensor, node: &Arc<GradNode>, output: usize) {
    if t.dtype().is_differentiable() {
        t.with_meta(|m| {
            m.requires_grad = false;
            m.grad_fn = Some(Edge { node: node.clone(), output });
        });
    }
}

/// May an op on these tensors leave something to record, for backward or forward mode?
#[inline]
pub fn follows(inputs: &[&Tensor]) -> bool {
    inputs.iter().any(|t| t.wants_grad() || t.view_of().is_some()) || forward::active()
}

pub fn record_map(name: &'static str, kernel: &Arc<Kernel>, inputs: &[&Tensor], out: &Tensor) -> Result<()> {
    if wanted(inputs) && out.dtype().is_differentiable() {
        let node = map_node(name, kernel, inputs, out)?;
        // a save of the output needs the node to exist first
        connect(out, &node, 0);
    }
    if forward::active() { forward::map(kernel, inputs, out) } else { Ok(()) }
}

/// The node of a pointwise op whose result is (or is written to) `out`.
pub fn map_node(name: &'static str, kernel: &Arc<Kernel>, inputs: &[&Tensor], out: &Tensor) -> Result<Arc<GradNode>> {
    let n = kernel.leaves();
    let next = edges(inputs);
    let mut saved = Saves::default();
    for (i, e) in next.iter().enumerate() {
        if e.is_none() {
            continue;
        }
        if let Some(g) = kernel.grad(i) {
            for from in &g.leaves {
                match *from {
                    From::Input(k) if !saved.has(k) => {
                        check_inference(&[inputs[k]])?;
                        saved.push(k, SavedTensor::input_of(inputs[k], next[k].clone())?);
                    }
                    From::Output if !saved.has(n) => saved.push(n, SavedTensor::output(out, 0)?),
                    From::Input(_) | From::Output | From::Cotangent => {}
                }
            }
        }
    }
    Ok(node_of(name, GradOp::Map { kernel: kernel.clone() }, inputs, next, &[out], saved))
}

pub fn record_prim(name: &'static str, prim: &Prim, inputs: &[&Tensor], outs: &[Tensor]) -> Result<()> {
    record_backward(name, prim, inputs, outs)?;
    if forward::active() { forward::prim(prim, inputs, outs) } else { Ok(()) }
}

fn record_backward(name: &'static str, prim: &Prim, inputs: &[&Tensor], outs: &[Tensor]) -> Result<()> {
    if !wanted(inputs) || !outs.iter().any(|o| o.dtype().is_differentiable()) {
        return Ok(());
    }
    let (save_in, save_out) = crate::vjp::saves(prim, inputs.len());
    if save_in.iter().any(|&i| inputs[i].is_inference()) {
        check_inference(inputs)?;
    }
    let next = edges(inputs);
    let mut saved = Saves::default();
    for i in save_in {
        saved.push(i, SavedTensor::input_of(inputs[i], next[i].clone())?);
    }
    for i in save_out {
        saved.push(inputs.len() + i, SavedTensor::output(&outs[i], i)?);
    }
    let refs: SmallVec<[&Tensor; 3]> = outs.iter().collect();
    let node = node_of(name, GradOp::Prim { prim: prim.clone() }, inputs, next, &refs, saved);
    for (i, o) in outs.iter().enumerate() {
        connect(o, &node, i);
    }
    Ok(())
}

/// A view with the memory of where it comes from, connected to its parent's graph.
pub fn make_view(name: &'static str, op: ViewOp, x: &Tensor, parts: Parts) -> Result<Tensor> {
    if !forward::active() {
        return Ok(view_in_graph(name, op, x, parts));
    }
    let out = view_in_graph(name, op.clone(), x, parts);
    forward::view(name, &op, x, &out)?;
    Ok(out)
}

fn view_in_graph(name: &'static str, op: ViewOp, x: &Tensor, parts: Parts) -> Tensor {
    if matches!(op, ViewOp::Dtype { .. }) || mode::is_inference() || mode::is_engine() {
        return Tensor::from_parts(parts);
    }
    let needs = x.requires_grad();
    let grad = needs && mode::is_enabled();
    let refuses_writes = (needs && !grad).then_some("no_grad");
    let version = AtomicU64::new(parts.version());
    let kept = if grad { Some(op.clone()) } else { None };
    let out = Tensor::from_view(parts, ViewOf { parent: x.clone(), op, name, version, refuses_writes });
    if let Some(op) = kept {
        let input = x.layout();
        let n = node(name, GradOp::View { op, input }, &[x], &[&out], Saves::default());
        connect(&out, &n, 0);
    }
    out
}
