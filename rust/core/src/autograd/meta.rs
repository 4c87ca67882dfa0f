//! `AutogradMeta`: what a tensor knows of the graph it stands in.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use crate::tensor::Tensor;
use crate::view::ViewOp;

use super::graph::GradNode;
use super::hook::Hooks;

/// One gradient of a node: the node and which of its forward outputs.
#[derive(Clone)]
pub struct Edge {
    pub node: Arc<GradNode>,
    pub output: usize,
}

/// Where a view comes from: one step; the steps up to the base are followed when they are needed.
pub struct ViewOf {
    pub parent: Tensor,
    pub op: ViewOp,
    pub name: &'static str,
    /// The version at which `grad_fn` was made; a later write through another view makes it stale.
    pub version: AtomicU64,
    /// Made where in-place writes must be refused, with the reason PyTorch gives.
    pub refuses_writes: Option<&'static str>,
}

impl ViewOf {
    /// The tensor that is no view, and the steps from it to this one.
    pub fn chain(&self) -> (Tensor, Vec<(ViewOp, &'static str)>) {
        let mut chain = vec![(self.op.clone(), self.name)];
        let mut base = &self.parent;
        while let Some(v) = base.view_of() {
            chain.push((v.op.clone(), v.name));
            base = &v.parent;
        }
        chain.reverse();
        (base.clone(), chain)
    }
    pub fn base(&self) -> &Tensor {
        let mut base = &self.parent;
        while let Some(v) = base.view_of() {
            base = &v.parent;
        }
        base
    }
}

#[derive(Default)]
pub struct AutogradMeta {
    /// Of a leaf.
    pub requires_grad: bool,
    pub grad_fn: Option<Edge>,
    pub grad: Option<Tensor>,
    /// A leaf's node in the graph, alive as long as a graph holds it.
    pub accumulator: Weak<GradNode>,
    pub hooks: Hooks,
    pub post_accumulate: Hooks,
    pub retains_grad: bool,
    /// The dtype that a leaf's gradient is cast to, where it is not the leaf's; `Some(None)` takes any.
    pub grad_dtype: Option<Option<rtorch_ir::DType>>,
    /// Forward mode: the tangent, and the level it belongs to.
    pub tangent: Option<(u64, Tensor)>,
}
