//! Operators as PyTorch names them: argument checks, dtype rules and the call of the choke point. Families:
//! `pointwise` (rows of the table and programs of several), `convert`, `factory`, `shape`, `reduce`, `index`, `nn` ...

pub mod complex;
pub mod composite;
pub mod convert;
pub mod cross;
pub mod factory;
pub mod fft;
pub mod index;
pub mod linalg;
pub mod nn;
pub mod pointwise;
pub mod random;
pub mod reduce;
pub mod search;
mod several;
pub mod shape;
pub mod special;

use rtorch_ir::{Result, ScalarOp};

use crate::tensor::Tensor;
pub use pointwise::{Arg, binary, unary};

pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Add, Arg::T(a), Arg::T(b))
}
pub fn sub(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Sub, Arg::T(a), Arg::T(b))
}
pub fn mul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Mul, Arg::T(a), Arg::T(b))
}
pub fn div(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    binary(ScalarOp::Div, Arg::T(a), Arg::T(b))
}
pub fn mul_scalar(a: &Tensor, s: f64) -> Result<Tensor> {
    binary(ScalarOp::Mul, Arg::T(a), Arg::S(s.into()))
}
/// `a += b`.
pub fn add_(a: &Tensor, b: &Tensor) -> Result<()> {
    pointwise::binary_into(ScalarOp::Add, Arg::T(a), Arg::T(b), Some(a)).map(|_| ())
}
