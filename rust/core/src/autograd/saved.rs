//! `SavedTensor`: contents captured for backward. A capture is the value itself, so an in-place write later can never
//! change it; only exported memory is shared for real and has its version checked.

use std::sync::Arc;

use rtorch_ir::{DType, Error, Layout, Result};

use super::graph::GradNode;
use super::meta::Edge;
use crate::device::Device;
use crate::storage::{Saved, Storage, Value};
use crate::tensor::{Parts, Tensor, Version};

#[derive(Clone)]
pub struct SavedTensor {
    value: Saved,
    layout: Layout,
    dtype: DType,
    device: Device,
    bytes: usize,
    /// The graph behind an input; an output's is the node that saved it, which is passed when it is unpacked.
    edge: Option<Edge>,
    /// Set for an output: which one.
    output: Option<usize>,
    leaf: bool,
    /// Exported memory cannot be captured: version and storage when it was saved.
    exported: Option<(Storage, Version, u64)>,
}

impl SavedTensor {
    pub fn input(t: &Tensor) -> SavedTensor {
        let edge = super::record::edge(t);
        let leaf = t.meta(|m| m.grad_fn.is_none() && m.requires_grad).unwrap_or(false);
        SavedTensor::new(t, edge, None, leaf)
    }
    pub fn output(t: &Tensor, number: usize) -> SavedTensor {
        SavedTensor::new(t, None, Some(number), false)
    }
    fn new(t: &Tensor, edge: Option<Edge>, output: Option<usize>, leaf: bool) -> SavedTensor {
        let p = t.parts();
        let exported = p.storage.is_exported().then(|| (p.storage.clone(), p.version.clone(), p.version.get()));
        let (value, bytes) = (p.storage.value().save(), p.storage.len());
        let device = p.storage.device();
        SavedTensor { value, layout: p.layout, dtype: p.dtype, device, bytes, edge, output, leaf, exported }
    }
    /// A tensor with the contents of the time of saving, connected to the graph as the saved one was.
    pub fn unpack(&self, owner: Option<&Arc<GradNode>>) -> Result<Tensor> {
        if let Some((_, version, saved)) = &self.exported
            && version.get() != *saved
        {
            return Err(Error::runtime(format!(
                "one of the variables needed for gradient computation has been modified by an inplace operation: \
                 [torch.{} {:?}] is at version {}; expected version {} instead. Hint: enable anomaly detection to find \
                 the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True).",
                self.dtype.cpp_name(),
                self.layout.shape.as_slice(),
                version.get(),
                saved
            )));
        }
        let storage = Storage::new(Value::from_cell(self.value.0.clone()), self.device, self.bytes);
        let version = Version::OfStorage(storage.clone());
        let parts = Parts { dtype: self.dtype, layout: self.layout.clone(), storage, version };
        let t = Tensor::from_parts(parts);
        let edge = match self.output {
            Some(output) => owner.map(|n| Edge { node: n.clone(), output }),
            None => self.edge.clone(),
        };
        if let Some(e) = edge {
            if self.leaf {
                t.with_meta(|m| {
                    m.requires_grad = true;
                    m.accumulator = Arc::downgrade(&e.node);
                });
            } else {
                t.with_meta(|m| m.grad_fn = Some(e));
            }
        }
        Ok(t)
    }
    pub fn take_node(&mut self) -> Option<Arc<GradNode>> {
        self.edge.take().map(|e| e.node)
    }
}
