//! The one argument parser: PyTorch-style signatures, values bound to them, and the errors PyTorch gives when nothing
//! fits. What the operators do with the values stands in `ops/`, how they become Python functions in `registry.rs`.

pub mod bind;
pub mod signature;
pub mod value;

pub use bind::{Call, bind};
pub use signature::{Kind, Signature};
pub use value::{Args, Val};
