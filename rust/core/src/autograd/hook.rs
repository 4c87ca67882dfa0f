//! Hooks: callbacks on gradients, in the order they were added, removable by number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtorch_ir::Result;

use crate::tensor::Tensor;

/// A tensor hook gets the gradient and may answer another one; node hooks get lists.
pub trait Hook: Send + Sync {
    /// Called with one gradient (tensor hooks), the input gradients and output gradients (post hooks of a node: first
    /// the gradients it computed, then those it got), or the output gradients (pre hooks).
    fn call(&self, first: &[Option<Tensor>], second: &[Option<Tensor>]) -> Result<Option<Vec<Option<Tensor>>>>;
    /// The Python object inside, for the garbage collector.
    fn object(&self) -> *mut ();
    fn as_any(&self) -> &dyn std::any::Any;
}

#[derive(Clone, Default)]
pub struct Hooks(pub Vec<(u64, Arc<dyn Hook>)>);

impl Hooks {
    /// Answers the hook's number.
    pub fn add(&mut self, hook: Arc<dyn Hook>) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        self.0.push((id, hook));
        id
    }
    /// The hook is handed back, to be dropped where no lock is held.
    pub fn remove(&mut self, id: u64) -> Option<Arc<dyn Hook>> {
        let i = self.0.iter().position(|h| h.0 == id)?;
        Some(self.0.remove(i).1)
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Passes a gradient through every hook.
    pub fn run(&self, mut grad: Tensor) -> Result<Tensor> {
        let _user = super::mode::Engine::new(false);
        for (_, h) in &self.0 {
            if let Some(mut r) = h.call(&[Some(grad.clone())], &[])?
                && let Some(Some(g)) = r.pop()
            {
                grad = g;
            }
        }
        Ok(grad)
    }
}
