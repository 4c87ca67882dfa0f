//! `rtorch-core`: tensors, storage, deferral, autograd, operators. The only crate whose types users of the library see;
//! the backends stand behind `backend`, the Python binding in front (`rtorch-python`).

pub mod autograd;
pub mod backend;
pub mod batch;
mod counted;
pub mod defer;
pub mod device;
pub mod dispatch;
pub mod fork;
pub mod host;
pub mod inplace;
pub mod kernel;
mod lock;
pub mod ops;
pub mod optim;
pub mod safetensors;
pub mod shared;
pub mod stats;
pub mod storage;
pub mod tensor;
pub mod trace;
pub mod view;
pub mod vjp;
pub mod warn;

pub use device::Device;
pub use rtorch_ir::{DType, Error, ErrorKind, Layout, Result, Scalar, ScalarOp, Shape};
pub use tensor::Tensor;
