//! The graph: a node per recorded op, with edges to the nodes of its inputs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rtorch_ir::{DType, Layout, Prim, Result, Shape};
use smallvec::SmallVec;

use super::hook::Hooks;
use super::meta::Edge;
use super::saved::SavedTensor;
use crate::batch;
use crate::device::Device;
use crate::kernel::Kernel;
use crate::tensor::{Impl, Tensor};
use crate::view::ViewOp;

/// Shape, dtype and device of a forward output or input.
#[derive(Clone, Debug)]
pub struct TensorMeta {
    pub shape: Shape,
    pub dtype: DType,
    pub device: Device,
    /// The vmaps it was a batch of.
    pub levels: Option<Arc<[u64]>>,
}

impl TensorMeta {
    pub fn of(t: &Tensor) -> TensorMeta {
        let levels = batch::levels(t);
        t.with(|p| TensorMeta { shape: p.layout.shape.clone(), dtype: p.dtype, device: p.storage.device(), levels })
    }
}

/// A node whose backward is written by the user (`autograd.Function`) or by a composition of the core.
pub trait CustomNode: Send + Sync {
    /// Cotangents of the outputs (None where nothing flowed) to cotangents of the inputs.
    fn backward(&self, node: &Arc<GradNode>, grads: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>>;
    /// Drops what was saved.
    fn release(&self) {}
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What a node computes in backward.
pub enum GradOp {
    Map {
        kernel: Arc<Kernel>,
    },
    View {
        op: ViewOp,
        input: Layout,
    },
    Prim {
        prim: Prim,
    },
    /// The end of a path: adds to `.grad` of a leaf.
    Accumulate(Tensor),
    /// A write through a view of a base: the view, the node of the written values, and which of that node's inputs was
    /// the view itself.
    CopySlices {
        chain: Vec<(ViewOp, &'static str)>,
        base: TensorMeta,
        inner: Arc<GradNode>,
        target: Option<usize>,
    },
    /// An operator that was computed by others: the graph between its outputs (here) and its inputs (the node's edges)
    /// is its derivative. See `composite`.
    Composite {
        roots: SmallVec<[Option<Edge>; 1]>,
    },
    /// Passes the cotangent on (clone, contiguous copies and moves between dtypes or devices).
    Pass,
    Custom(Box<dyn CustomNode>),
}

pub struct GradNode {
    pub name: String,
    pub op: GradOp,
    /// Recording order; backward runs the latest first.
    pub seq: u64,
    pub next: SmallVec<[Option<Edge>; 2]>,
    /// Of the inputs that edges lead to: cotangents are summed and cast to these.
    pub inputs: SmallVec<[TensorMeta; 2]>,
    pub outputs: SmallVec<[TensorMeta; 1]>,
    /// None once backward released it.
    pub saved: Mutex<Option<SmallVec<[Option<SavedTensor>; 3]>>>,
    pub extra: Mutex<Extra>,
    /// Where the forward call was made (anomaly mode).
    pub trace: Mutex<Option<String>>,
    /// The Python object of the node while it lives.
    pub py: std::sync::atomic::AtomicPtr<()>,
}

/// What few nodes have.
#[derive(Default)]
pub struct Extra {
    /// Hooks on forward outputs' gradients, by output.
    pub tensor_hooks: Vec<(usize, Hooks)>,
    pub pre_hooks: Hooks,
    pub post_hooks: Hooks,
    /// Outputs whose `.grad` is kept.
    pub retain: Vec<(usize, Weak<Impl>)>,
}

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Called with every node when anomaly mode is on; answers the caller's stack.
pub static TRACE_HOOK: std::sync::OnceLock<fn() -> Option<String>> = std::sync::OnceLock::new();

impl GradNode {
    pub fn new(
        name: String,
        op: GradOp,
        next: SmallVec<[Option<Edge>; 2]>,
        inputs: SmallVec<[TensorMeta; 2]>,
        outputs: SmallVec<[TensorMeta; 1]>,
        saved: SmallVec<[Option<SavedTensor>; 3]>,
    ) -> Arc<GradNode> {
        let trace = if super::mode::anomaly().0 { TRACE_HOOK.get().and_then(|f| f()) } else { None };
        Arc::new(GradNode {
            name,
            op,
            seq: SEQ.fetch_add(1, Ordering::Relaxed),
            next,
            inputs,
            outputs,
            saved: Mutex::new(Some(saved)),
            extra: Mutex::default(),
            trace: Mutex::new(trace),
            py: Default::default(),
        })
    }
    /// The node that adds to a leaf's `.grad`, made once per leaf and graph.
    pub fn accumulator(leaf: &Tensor) -> Arc<GradNode> {
        leaf.with_meta(|m| {
            if let Some(n) = m.accumulator.upgrade() {
                return n;
            }
            let meta = TensorMeta::of(leaf);
            let n = Arc::new(GradNode {
                name: "AccumulateGrad".into(),
                op: GradOp::Accumulate(leaf.clone()),
                // runs as soon as it can: its gradient's memory is wanted nowhere else
                seq: u64::MAX,
                next: SmallVec::new(),
                inputs: SmallVec::new(),
                outputs: SmallVec::from_iter([meta]),
                saved: Mutex::new(None),
                extra: Mutex::default(),
                trace: Mutex::new(None),
                py: Default::default(),
            });
            m.accumulator = Arc::downgrade(&n);
            n
        })
    }
    /// Saved tensor `i` as a tensor of the graph it was saved in.
    pub fn unpack(self: &Arc<GradNode>, i: usize) -> Result<Tensor> {
        let saved = self.saved.lock();
        let released = || {
            rtorch_ir::Error::runtime(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have \
                 already been freed). Saved intermediate values of the graph are freed when you call .backward() or \
                 autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or \
                 if you need to access saved tensors after calling backward.",
            )
        };
        let one = saved.as_ref().ok_or_else(released)?.get(i).cloned().flatten().ok_or_else(released)?;
        drop(saved);
        one.unpack(Some(self))
    }
    pub fn release(&self) {
        let old = self.saved.lock().take();
        drop(old);
        match &self.op {
            GradOp::Custom(c) => c.release(),
            GradOp::CopySlices { inner, .. } => inner.release(),
            // the nodes inside release themselves when they run
            GradOp::Composite { .. } => {}
            GradOp::Map { .. } | GradOp::View { .. } | GradOp::Prim { .. } | GradOp::Accumulate(_) | GradOp::Pass => {}
        }
    }
}

impl Drop for GradNode {
    /// A chain of 200,000 nodes must not recurse: the edges of nodes that die with this one join a list.
    fn drop(&mut self) {
        let mut dying: Vec<Arc<GradNode>> = self.next.drain(..).flatten().map(|e| e.node).collect();
        take_saved_edges(self, &mut dying);
        while let Some(n) = dying.pop() {
            if let Some(mut n) = Arc::into_inner(n) {
                dying.extend(n.next.drain(..).flatten().map(|e| e.node));
                take_saved_edges(&mut n, &mut dying);
            }
        }
    }
}

fn take_saved_edges(n: &mut GradNode, list: &mut Vec<Arc<GradNode>>) {
    if let GradOp::Composite { roots } = &mut n.op {
        list.extend(roots.drain(..).flatten().map(|e| e.node));
    }
    if let Some(saved) = n.saved.get_mut().take() {
        list.extend(saved.into_iter().flatten().filter_map(|mut s| s.take_node()));
    }
}
