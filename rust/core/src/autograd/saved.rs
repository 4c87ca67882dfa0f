//! `SavedTensor`: contents captured for backward. A capture is the value itself, so an in-place write later can never
//! change it; only exported memory is shared for real and has its version checked. Inside `saved_tensors_hooks` what
//! the user's pack function answers is kept instead.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use rtorch_ir::{DType, Error, Layout, Result};
use smallvec::SmallVec;

use super::graph::GradNode;
use super::meta::Edge;
use crate::batch::Batch;
use crate::device::Device;
use crate::storage::{Saved, Storage, Value};
use crate::tensor::{Parts, Tensor, Version};

/// What tensors pass through when they are saved for backward, and again when they are used there.
pub trait SavedHooks: Send + Sync {
    fn as_any(&self) -> &dyn Any;
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

/// What a node saved, by number: of an input, or of an output after these.
#[derive(Default)]
pub struct Saves(SmallVec<[(u16, SavedTensor); 2]>);

impl Saves {
    pub fn has(&self, i: usize) -> bool {
        self.get(i).is_some()
    }
    pub fn get(&self, i: usize) -> Option<&SavedTensor> {
        self.0.iter().find(|s| s.0 as usize == i).map(|s| &s.1)
    }
    pub fn push(&mut self, i: usize, s: SavedTensor) {
        self.0.push((i as u16, s));
    }
    pub fn iter(&self) -> impl Iterator<Item = &SavedTensor> {
        self.0.iter().map(|s| &s.1)
    }
    /// The numbers that were saved, in order.
    pub fn numbers(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self.0.iter().map(|s| s.0 as usize).collect();
        all.sort_unstable();
        all
    }
}

impl IntoIterator for Saves {
    type Item = SavedTensor;
    type IntoIter = std::iter::Map<smallvec::IntoIter<[(u16, SavedTensor); 2]>, fn((u16, SavedTensor)) -> SavedTensor>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|s| s.1)
    }
}

impl FromIterator<Option<SavedTensor>> for Saves {
    fn from_iter<I: IntoIterator<Item = Option<SavedTensor>>>(all: I) -> Saves {
        let mut out = Saves::default();
        for (i, s) in all.into_iter().enumerate() {
            if let Some(s) = s {
                out.push(i, s);
            }
        }
        out
    }
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
    /// Exported memory cannot be captured: what it was, and its version, when it was saved.
    exported: Option<Box<(Parts, u64)>>,
}

impl SavedTensor {
    pub fn input(t: &Tensor) -> Result<SavedTensor> {
        SavedTensor::input_of(t, super::record::edge(t))
    }
    /// An input whose edge is known.
    pub fn input_of(t: &Tensor, edge: Option<Edge>) -> Result<SavedTensor> {
        let leaf = t.meta(|m| m.grad_fn.is_none() && m.requires_grad).unwrap_or(false);
        SavedTensor::new(t, edge, None, leaf)
    }
    pub fn output(t: &Tensor, number: usize) -> Result<SavedTensor> {
        SavedTensor::new(t, None, Some(number), false)
    }
    fn new(t: &Tensor, edge: Option<Edge>, output: Option<usize>, leaf: bool) -> Result<SavedTensor> {
        let packed = match HOOKS.with_borrow(|h| h.stack.last().cloned()) {
            None => None,
            Some(hooks) => {
                let _off = super::mode::Guard::new(false);
                let packed = hooks.pack(&t.detach())?;
                Some(Content::Packed(hooks, packed))
            }
        };
        Ok(t.with(|p| {
            let (layout, batch) = (p.layout.clone(), p.batch.clone());
            let (dtype, device, bytes) = (p.dtype, p.storage.device(), p.storage.len());
            let exported = packed.is_none() && p.storage.is_exported();
            let exported = exported.then(|| Box::new((p.clone(), p.version())));
            let content = packed.unwrap_or_else(|| Content::Captured(p.storage.value().save()));
            SavedTensor { content, layout, batch, dtype, device, bytes, edge, output, leaf, exported }
        }))
    }
    /// The graph behind a saved input.
    pub fn edge(&self) -> Option<&Edge> {
        self.edge.as_ref()
    }
    /// What hooks made of it.
    pub fn packed(&self) -> Option<(&Arc<dyn SavedHooks>, &Packed)> {
        match &self.content {
            Content::Packed(hooks, packed) => Some((hooks, packed)),
            Content::Captured(_) => None,
        }
    }
    /// Does unpacking call nobody?
    pub fn is_captured(&self) -> bool {
        matches!(self.content, Content::Captured(_))
    }
    /// A tensor with the contents of the time of saving, outside of the graph.
    pub fn unpack_bare(&self) -> Result<Tensor> {
        self.check_version()?;
        match &self.content {
            Content::Captured(value) => {
                let storage = Storage::new(Value::from_cell(value.0.clone()), self.device, self.bytes);
                let (dtype, layout, batch) = (self.dtype, self.layout.clone(), self.batch.clone());
                Ok(Tensor::from_parts(Parts { dtype, layout, storage, version: Version::OfStorage, batch }))
            }
            Content::Packed(hooks, packed) => {
                let _user = super::mode::Engine::new(false);
                Ok(hooks.unpack(packed)?.detach())
            }
        }
    }
    /// The same connected to the graph as the saved one was.
    pub fn unpack(&self, owner: Option<&Arc<GradNode>>) -> Result<Tensor> {
        let t = self.unpack_bare()?;
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
        match self.exported.as_deref() {
            Some((parts, saved)) if parts.version() != *saved => Err(Error::runtime(format!(
                "one of the variables needed for gradient computation has been modified by an inplace operation: \
                 [torch.{} {:?}] is at version {}; expected version {} instead. Hint: enable anomaly detection to find \
                 the operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True).",
                self.dtype.cpp_name(),
                self.layout.shape.as_slice(),
                parts.version(),
                saved
            ))),
            Some(_) | None => Ok(()),
        }
    }
    pub fn take_node(&mut self) -> Option<Arc<GradNode>> {
        self.edge.take().map(|e| e.node)
    }
}
