//! Graph nodes whose backward is written here in the core, for operators that are neither a pointwise program nor a
//! primitive: what they saved comes back as tensors of the graph, so that a second derivative goes on from there.

use std::sync::Arc;

use rtorch_ir::Result;
use smallvec::SmallVec;

use crate::autograd::graph::{CustomNode, GradNode, GradOp};
use crate::autograd::saved::{SavedTensor, Saves};
use crate::autograd::{forward, record};
use crate::tensor::Tensor;

/// What a rule sees in backward.
pub struct Backward<'a> {
    node: &'a Arc<GradNode>,
    pub grads: &'a [Option<Tensor>],
}

impl Backward<'_> {
    /// Saved tensor `i`, in the order given to `record`.
    pub fn saved(&self, i: usize) -> Result<Tensor> {
        self.node.unpack(i)
    }
    pub fn wants(&self, i: usize) -> bool {
        self.node.next.get(i).is_some_and(Option::is_some)
    }
    /// The cotangent of output `i`, zeros where nothing arrived.
    pub fn grad(&self, i: usize) -> Result<Tensor> {
        match self.grads.get(i) {
            Some(Some(g)) => Ok(g.clone()),
            _ => {
                let m = &self.node.outputs[i];
                crate::ops::factory::zeros(&m.shape, m.dtype, m.device)
            }
        }
    }
}

/// What is kept for backward.
pub enum Save<'a> {
    Input(&'a Tensor),
    /// An output of the node, by number.
    Output(&'a Tensor, usize),
}

struct Rule<F>(F);

impl<F> CustomNode for Rule<F>
where
    F: Fn(&Backward) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
{
    fn backward(&self, node: &Arc<GradNode>, grads: Vec<Option<Tensor>>) -> Result<Vec<Option<Tensor>>> {
        (self.0)(&Backward { node, grads: &grads })
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

/// Records `outputs` as functions of `inputs` with this backward, where the graph wants them. The forward was computed
/// outside of the graph.
pub fn record(
    name: &'static str,
    inputs: &[&Tensor],
    outputs: &[&Tensor],
    save: &[Save],
    backward: impl Fn(&Backward) -> Result<Vec<Option<Tensor>>> + Send + Sync + 'static,
) -> Result<()> {
    let pushes = forward::any(inputs);
    if !record::wanted(inputs) && !pushes {
        return Ok(());
    }
    let saved = save
        .iter()
        .map(|s| {
            Ok(Some(match s {
                Save::Input(t) => SavedTensor::input(t)?,
                Save::Output(t, i) => SavedTensor::output(t, *i)?,
            }))
        })
        .collect::<Result<_>>()?;
    let op = GradOp::Custom(Box::new(Rule(backward)));
    if pushes {
        return in_both_modes(name, op, inputs, outputs, saved);
    }
    let node = record::node(name, op, inputs, outputs, saved);
    for (i, o) in outputs.iter().enumerate() {
        record::connect(o, &node, i);
    }
    Ok(())
}

/// The same where inputs carry tangents: a node over variables of their own says what becomes of them.
fn in_both_modes(name: &'static str, op: GradOp, inputs: &[&Tensor], outputs: &[&Tensor], saved: Saves) -> Result<()> {
    let apart: Vec<Tensor> = inputs
        .iter()
        .map(|t| {
            let d = if t.requires_grad() { (*t).clone() } else { t.detach() };
            if d.dtype().is_differentiable() && !d.requires_grad() {
                d.set_requires_grad(true)?;
            }
            Ok(d)
        })
        .collect::<Result<_>>()?;
    let refs: SmallVec<[&Tensor; 3]> = apart.iter().collect();
    let node = record::node(name, op, &refs, outputs, saved);
    if record::wanted(inputs) {
        for (i, o) in outputs.iter().enumerate() {
            record::connect(o, &node, i);
        }
    }
    forward::custom(&node, inputs, outputs)
}
