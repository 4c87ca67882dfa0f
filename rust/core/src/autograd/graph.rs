//! The graph: a node per recorded op, with edges to the nodes of its inputs.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use rtorch_ir::layout::copied;
use rtorch_ir::{DType, Layout, Prim, Result, Shape};
use smallvec::SmallVec;

use super::hook::Hooks;
use super::meta::Edge;
use super::saved::Saves;
use crate::batch;
use crate::device::Device;
use crate::kernel::Kernel;
use crate::tensor::{Tensor, WeakTensor};
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
        t.with(|p| TensorMeta { shape: copied(&p.layout.shape), dtype: p.dtype, device: p.storage.device(), levels })
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
    pub name: Cow<'static, str>,
    pub op: GradOp,
    /// Recording order; backward runs the latest first.
    pub seq: u64,
    pub next: SmallVec<[Option<Edge>; 2]>,
    /// Of the inputs that edges lead to: cotangents are summed and cast to these.
    pub inputs: SmallVec<[TensorMeta; 2]>,
    pub outputs: SmallVec<[TensorMeta; 1]>,
    /// None once backward released it.
    pub saved: Mutex<Option<Saves>>,
    /// Made when a hook is hung here.
    extra: OnceLock<Box<Mutex<Extra>>>,
    /// Where the forward call was made (anomaly mode).
    pub trace: Option<String>,
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
    pub retain: Vec<(usize, WeakTensor)>,
}

static SEQ: AtomicU64 = AtomicU64::new(0);

/// Called with every node when anomaly mode is on; answers the caller's stack.
pub static TRACE_HOOK: std::sync::OnceLock<fn() -> Option<String>> = std::sync::OnceLock::new();

impl GradNode {
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        op: GradOp,
        next: SmallVec<[Option<Edge>; 2]>,
        inputs: SmallVec<[TensorMeta; 2]>,
        outputs: SmallVec<[TensorMeta; 1]>,
        saved: Saves,
    ) -> Arc<GradNode> {
        let trace = if super::mode::anomaly().0 { TRACE_HOOK.get().and_then(|f| f()) } else { None };
        Arc::new(GradNode {
            name: name.into(),
            op,
            seq: SEQ.fetch_add(1, Ordering::Relaxed),
            next,
            inputs,
            outputs,
            saved: Mutex::new(Some(saved)),
            extra: OnceLock::new(),
            trace,
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
                extra: OnceLock::new(),
                trace: None,
                py: Default::default(),
            });
            m.accumulator = Arc::downgrade(&n);
            n
        })
    }
    /// Hooks and retained gradients, to add to.
    pub fn extra(&self) -> MutexGuard<'_, Extra> {
        self.extra.get_or_init(Box::default).lock()
    }
    /// The same where somebody added something.
    pub fn hooks(&self) -> Option<&Mutex<Extra>> {
        self.extra.get().map(|x| &**x)
    }
    /// Saved tensor `i` as a tensor of the graph it was saved in.
    pub fn unpack(self: &Arc<GradNode>, i: usize) -> Result<Tensor> {
        self.unpack_with(i, true)
    }
    /// The same for a rule of the engine: connected to the graph only where the rule itself is recorded.
    pub fn unpack_for_rule(self: &Arc<GradNode>, i: usize) -> Result<Tensor> {
        self.unpack_with(i, super::mode::is_enabled())
    }
    fn unpack_with(self: &Arc<GradNode>, i: usize, connected: bool) -> Result<Tensor> {
        let saved = self.saved.lock();
        let released = || {
            rtorch_ir::Error::runtime(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have \
                 already been freed). Saved intermediate values of the graph are freed when you call .backward() or \
                 autograd.grad(). Specify retain_graph=True if you need to backward through the graph a second time or \
                 if you need to access saved tensors after calling backward.",
            )
        };
        let one = saved.as_ref().and_then(|s| s.get(i)).ok_or_else(released)?;
        if !connected && one.is_captured() {
            return one.unpack_bare();
        }
        let one = one.clone();
        drop(saved);
        if connected { one.unpack(Some(self)) } else { one.unpack_bare() }
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
            // the last of two threads to let go drops it: one level deeper, which is rare
            let mut n = n;
            if let Some(n) = Arc::get_mut(&mut n) {
                dying.extend(n.next.drain(..).flatten().map(|e| e.node));
                take_saved_edges(n, &mut dying);
            }
        }
    }
}

fn take_saved_edges(n: &mut GradNode, list: &mut Vec<Arc<GradNode>>) {
    if let GradOp::Composite { roots } = &mut n.op {
        list.extend(roots.drain(..).flatten().map(|e| e.node));
    }
    if let Some(saved) = n.saved.get_mut().take() {
        list.extend(saved.into_iter().filter_map(|mut s| s.take_node()));
    }
}
