//! Operators of neural networks: over fused primitives, or one pointwise program each. The losses, layers and
//! resamplings that no benchmark asks for are compositions in Python.

pub mod activation;
pub mod attention;
pub mod conv;
pub mod distance;
pub mod dropout;
pub mod embedding;
mod log_softmax_at;
pub mod loss;
mod lstm;
pub mod margin;
pub mod norm;
pub mod pad;
pub mod pool;
pub mod rnn;
pub(crate) mod rule;
pub mod sample;

pub use activation::{relu, softmax, softmax_in};

use rtorch_ir::Error;

use crate::tensor::Tensor;

/// PyTorch's text for what a primitive should have answered and did not: a fault of ours.
fn missing(name: &str) -> Error {
    Error::runtime(format!("{name}: a result is missing"))
}

/// Sizes as PyTorch prints them: `[2, 3]`.
fn sizes_text(s: &[usize]) -> String {
    format!("{s:?}")
}

/// An optional operand's reference list entry.
fn push<'a>(args: &mut smallvec::SmallVec<[&'a Tensor; 4]>, t: Option<&'a Tensor>) -> bool {
    args.extend(t);
    t.is_some()
}
