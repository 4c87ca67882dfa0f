//! `SavedTensor`: contents captured for backward. A capture is the value itself, so an in-place write later can never
//! change it; only exported memory is shared for real and has its version checked. Inside `saved_tensors_hooks` what
//! the user's pack function answers is kept instead.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use rtorch_ir::{DType, Error, Layout, Result};

use super::graph::GradNode;
use super::meta::Edge;
use crate::batch::Batch;
use crate::device::Device;
use crate::storage::{Saved, Storage, Value};
use crate::tensor::{Parts, Tensor, Version};

/// What tensors pass through when they are saved for backward, and again when they are used there.
pub trait SavedHooks: Send + Sync {
    fn pack(&self, t: &Tensor) -> Result<Packed>;
    fn unpack(&self, packed: &Packed) -> Result<Tensor>;
}

pub type Packed = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct HookState {
    stack: Vec<Arc<dyn SavedHooks>>,
    /// Why hooks may not be used at present.
    refusal: Option<String>,
}

thread_local! {
    static HOOKS: RefCell<HookState> = RefCell::default();
}

/// The innermost hooks apply to what is saved from now on.
pub fn push_hooks(hooks: Arc<dyn SavedHooks>) -> Result<()> {
    HOOKS.with_borrow_mut(|h| {
        if let Some(text) = &h.refusal {
            return Err(Error::runtime(text.clone()));
        }
        h.stack.push(hooks);
        Ok(())
    })
}
pub fn pop_hooks() {
    let old = HOOKS.with_borrow_mut(|h| h.stack.pop());
    drop(old);
}
/// Refuses hooks with this message, or allows them again; answers the message before.
pub fn refuse_hooks(message: Option<String>) -> Result<Option<String>> {
    HOOKS.with_borrow_mut(|h| match &message {
        Some(text) if !h.stack.is_empty() => Err(Error::runtime(text.clone())),
        Some(_) | None => Ok(std::mem::replace(&mut h.refusal, message)),
    })
}

#[derive(Clone)]
enum Content {
    Captured(Saved),
    Packed(Arc<dyn SavedHooks>, Packed),
}

#[derive(Clone)]
pub struct SavedTensor {
    content: Content,
    layout: Layout,
    batch: Batch,
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
    pub fn input(t: &Tensor) -> Result<SavedTensor> {
        let edge = super::record::edge(t);
        let leaf = t.meta(|m| m.grad_fn.is_none() && m.requires_grad).unwrap_or(false);
        SavedTensor::new(t, edge, None, leaf)
    }
    pub fn output(t: &Tensor, number: usize) -> Result<SavedTensor> {
        SavedTensor::new(t, None, Some(number), false)
    }
    fn new(t: &Tensor, edge: Option<Edge>, output: Option<usize>, leaf: bool) -> Result<SavedTensor> {
        let hooks = HOOKS.with_borrow(|h| h.stack.last().cloned());
        let p = t.parts();
        let (layout, dtype, device, bytes) = (p.layout, p.dtype, p.storage.device(), p.storage.len());
        let batch = p.batch;
        let (content, exported) = match hooks {
            Some(hooks) => {
                let _off = super::mode::Guard::new(false);
                let packed = hooks.pack(&t.detach())?;
                (Content::Packed(hooks, packed), None)
            }
            None => {
                let exported = p.storage.is_exported().then(|| (p.storage.clone(), p.version.clone(), p.version.get()));
                (Content::Captured(p.storage.value().save()), exported)
            }
        };
        Ok(SavedTensor { content, layout, batch, dtype, device, bytes, edge, output, leaf, exported })
    }
    /// A tensor with the contents of the time of saving, connected to the graph as the saved one was.
    pub fn unpack(&self, owner: Option<&Arc<GradNode>>) -> Result<Tensor> {
        self.check_version()?;
        let t = match &self.content {
            Content::Captured(value) => {
                let storage = Storage::new(Value::from_cell(value.0.clone()), self.device, self.bytes);
                let version = Version::OfStorage(storage.clone());
                Tensor::from_parts(Parts {
                    dtype: self.dtype,
                    layout: self.layout.clone(),
                    storage,
                    version,
                    batch: self.batch.clone(),
                })
            }
            Content::Packed(hooks, packed) => hooks.unpack(packed)?.detach(),
        };
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
    fn check_version(&self) -> Result<()> {
        match &self.exported {
            Some((_, version, saved)) if version.get() != *saved => Err(Error::runtime(format!(
                "one of the variables needed for gradient computation has been modified by an inplace operation: \
                 [torch.{} {:?}] is at version {}; expected version {} instead. Hint: enable anomaly detection to find \
                 the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True).",
                self.dtype.cpp_name(),
                self.layout.shape.as_slice(),
                version.get(),
                saved
            ))),
            Some(_) | None => Ok(()),
        }
    }
    pub fn take_node(&mut self) -> Option<Arc<GradNode>> {
        self.edge.take().map(|e| e.node)
    }
}
