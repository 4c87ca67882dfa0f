//! `rtorch-ir`: the meaning of rtorch. Dtypes, layouts, the scalar-op table, programs, primitives' rules, errors.
//! No threads, no backend, no unsafe: the backends (`rtorch-cpu`, `rtorch-gpu`) and the core build on it.

pub mod complex;
pub mod derive;
pub mod dtype;
pub mod error;
pub mod float8;
pub mod layout;
pub mod oracle;
pub mod prim;
pub mod program;
pub mod shape;
pub mod special;
pub mod table;

pub use dtype::{CType, Category, DType, Scalar, promote};
pub use error::{Error, ErrorKind, Result};
pub use layout::{Layout, Shape, Strides};
pub use prim::Prim;
pub use program::{Const, Ex, Inst, Program, Reg};
pub use special::SpecialFn;
pub use table::{Class, ScalarOp};
