//! Graph nodes whose backward is written here in the core, for operators that are neither a pointwise program nor a
//! primitive: what they saved comes back as tensors of the graph, so that a second derivative goes on from there.

use std::sync::Arc;

use rtorch_ir::Result;
use smallvec::SmallVec;

use crate::autograd::graph::{CustomNode, GradNode, GradOp};
use crate::autograd::record;
use crate::autograd::saved::SavedTensor;
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
    if !record::wanted(inputs) {
        return Ok(());
    }
    let saved: SmallVec<[Option<SavedTensor>; 3]> = save
        .iter()
        .map(|s| {
            Ok(Some(match s {
                Save::Input(t) => SavedTensor::input(t)?,
                Save::Output(t, i) => SavedTensor::output(t, *i)?,
            }))
        })
        .collect::<Result<_>>()?;
    let node = record::node(name, GradOp::Custom(Box::new(Rule(backward))), inputs, outputs, saved);
    for (i, o) in outputs.iter().enumerate() {
        record::connect(o, &node, i);
    }
    Ok(())
}
