//! What the garbage collector sees of a tensor: the Python objects that live only through it, in hooks, contexts of
//! custom functions and packed saved values, however deep in its graph.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use rtorch_core::Tensor;
use rtorch_core::autograd::graph::{GradNode, GradOp};
use rtorch_core::autograd::hook::Hook;
use rtorch_core::autograd::saved::SavedHooks;

use crate::autograd::{FunctionNode, PyHook, PySavedHooks};

/// Nodes of one tensor's graph that are looked at: a collection takes time for each. What lies behind them counts as
/// held by somebody, and is not collected.
const MOST_NODES: usize = 10_000;

type Visited = Result<(), PyTraverseError>;

/// Shows the collector what a tensor that nobody else holds keeps alive.
pub fn traverse(t: &Tensor, visit: &PyVisit<'_>) -> Visited {
    if t.use_count() != 1 {
        return Ok(());
    }
    let seen = t.try_meta(|m| {
        for (_, h) in m.hooks.0.iter().chain(&m.post_accumulate.0) {
            visit_hook(h, visit)?;
        }
        match &m.grad_fn {
            Some(e) if Arc::strong_count(&e.node) == 1 => visit_graph(&e.node, visit),
            Some(_) | None => Ok(()),
        }
    });
    seen.unwrap_or(Ok(()))
}

/// Breaks the cycles that `traverse` showed.
pub fn clear(t: &Tensor) {
    if t.use_count() != 1 {
        return;
    }
    let old = t.try_meta(|m| (std::mem::take(&mut m.hooks), std::mem::take(&mut m.post_accumulate), m.grad_fn.take()));
    drop(old);
}

/// References found to something; all of them: nobody but the tensor holds it.
#[derive(Default)]
struct Tally(HashMap<*const (), usize>);

impl Tally {
    fn is_last<T: ?Sized>(&mut self, x: &Arc<T>) -> bool {
        let found = self.0.entry(Arc::as_ptr(x).cast()).or_default();
        *found += 1;
        *found == Arc::strong_count(x)
    }
}

/// The nodes that live only through `root`, itself among them: a node's turn comes with the last reference to it.
fn visit_graph(root: &Arc<GradNode>, visit: &PyVisit<'_>) -> Visited {
    let mut tally = Tally::default();
    let mut open = vec![root.clone()];
    let mut looked_at = 0;
    while let Some(node) = open.pop() {
        looked_at += 1;
        visit_node(&node, visit)?;
        let mut found = |n: &Arc<GradNode>| {
            if tally.is_last(n) && looked_at + open.len() < MOST_NODES {
                open.push(n.clone());
            }
        };
        node.next.iter().flatten().for_each(|e| found(&e.node));
        let Some(saved) = node.saved.try_lock() else { continue };
        for s in saved.iter().flat_map(|s| s.iter()) {
            if let Some(e) = s.edge() {
                found(&e.node);
            }
        }
        for (hooks, packed) in saved.iter().flat_map(|s| s.iter()).filter_map(|s| s.packed()) {
            if let Some(object) = packed.downcast_ref::<Py<PyAny>>().filter(|_| Arc::strong_count(packed) == 1) {
                visit.call(object)?;
            }
            if tally.is_last(hooks) {
                visit_saved_hooks(&**hooks, visit)?;
            }
        }
    }
    Ok(())
}

fn visit_saved_hooks(hooks: &dyn SavedHooks, visit: &PyVisit<'_>) -> Visited {
    let Some(h) = hooks.as_any().downcast_ref::<PySavedHooks>() else { return Ok(()) };
    visit.call(&h.pack)?;
    visit.call(&h.unpack)
}

fn visit_hook(h: &Arc<dyn Hook>, visit: &PyVisit<'_>) -> Visited {
    match h.as_any().downcast_ref::<PyHook>() {
        Some(p) if Arc::strong_count(h) == 1 => visit.call(&p.f),
        Some(_) | None => Ok(()),
    }
}

fn visit_node(n: &GradNode, visit: &PyVisit<'_>) -> Visited {
    if let GradOp::Custom(c) = &n.op
        && let Some(f) = c.as_any().downcast_ref::<FunctionNode>()
    {
        visit.call(&f.backward)?;
    }
    let Some(x) = n.hooks().and_then(|x| x.try_lock()) else { return Ok(()) };
    for (_, h) in x.pre_hooks.0.iter().chain(&x.post_hooks.0).chain(x.tensor_hooks.iter().flat_map(|t| &t.1.0)) {
        visit_hook(h, visit)?;
    }
    Ok(())
}
