//! Operators computed by others that are one node to the user: `SortBackward0` is a sort and a gather inside. Nothing
//! is recorded twice: the node stands before the graph that was recorded, and its backward runs that graph down to the
//! operator's inputs. Which operators have such a name is the registry's matter (`rtorch-python`).

use std::sync::Arc;

use rtorch_ir::Result;
use smallvec::SmallVec;

use super::backward::{self, Options};
use super::graph::{GradNode, GradOp, TensorMeta};
use super::meta::Edge;
use super::{mode, record};
use crate::tensor::Tensor;

/// Makes `outputs`, just computed from `inputs`, the outputs of one node.
pub fn collapse(name: &str, inputs: &[&Tensor], outputs: &[&Tensor]) {
    if !mode::is_enabled() {
        return;
    }
    let next: SmallVec<[Option<Edge>; 2]> = inputs.iter().map(|t| record::edge(t)).collect();
    let known = |e: &Edge| next.iter().flatten().any(|n| Arc::ptr_eq(&n.node, &e.node));
    let roots: SmallVec<[Option<Edge>; 1]> = outputs.iter().map(|t| t.grad_fn().filter(|e| !known(e))).collect();
    if roots.iter().all(Option::is_none) {
        return;
    }
    let ins = inputs.iter().map(|t| TensorMeta::of(t)).collect();
    let outs = outputs.iter().map(|t| TensorMeta::of(t)).collect();
    // it may be one node with that name already
    let ends = |e: &Edge| e.node.next.iter().flatten().all(known);
    if outputs.iter().filter_map(|t| t.grad_fn()).all(|e| e.node.name == name && ends(&e)) {
        return;
    }
    let connected: SmallVec<[bool; 4]> = roots.iter().map(Option::is_some).collect();
    let node = GradNode::new(name.to_string(), GradOp::Composite { roots }, next, ins, outs, Default::default());
    for (i, t) in outputs.iter().enumerate() {
        if connected[i] {
            record::connect(t, &node, i);
        }
    }
}

/// The inner graph's backward, from the node's outputs to its inputs and no further.
pub fn backward(n: &Arc<GradNode>, grads: &[Option<Tensor>], opts: &Options) -> Result<Vec<Option<Tensor>>> {
    let GradOp::Composite { roots } = &n.op else { return Ok(Vec::new()) };
    let seeds: Vec<(Edge, Tensor)> =
        roots.iter().zip(grads).filter_map(|(e, g)| Some((e.clone()?, g.clone()?))).collect();
    let (mut targets, mut places): (Vec<Edge>, Vec<usize>) = (Vec::new(), Vec::new());
    for (i, e) in n.next.iter().enumerate() {
        // an operand that is passed twice gets its whole gradient once
        if let Some(e) = e
            && !targets.iter().any(|t| Arc::ptr_eq(&t.node, &e.node) && t.output == e.output)
        {
            targets.push(e.clone());
            places.push(i);
        }
    }
    let found = backward::run(&seeds, Some(&targets), &Options { accumulate: false, boundary: true, ..*opts })?;
    let mut out = vec![None; n.next.len()];
    for (i, g) in places.into_iter().zip(found) {
        out[i] = g;
    }
    Ok(out)
}
