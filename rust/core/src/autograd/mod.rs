//! Autograd: the graph (`graph`), recording (`record`), the backward pass (`backward`), what is saved for it (`saved`),
//! hooks and modes. Derivatives of primitives stand in `crate::vjp`, of pointwise rows in `rtorch_ir::table`.

pub mod backward;
pub mod composite;
pub mod forward;
pub mod graph;
pub mod hook;
pub mod meta;
pub mod mode;
pub mod record;
pub mod saved;

/// Is the tensor more than its elements: a batch of a vmap, or the carrier of a tangent?
pub fn transformed(t: &crate::tensor::Tensor) -> bool {
    crate::batch::is_batched(t) || forward::any(&[t])
}
