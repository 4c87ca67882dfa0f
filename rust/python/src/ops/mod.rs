//! The operators that Python sees, a file per family. Each file has `register`, which adds its entries:
//!
//! ```ignore
//! r.op("roll", &["roll(Tensor input, int[1] shifts, int[1] dims=[])"], |a| Ok(shape::roll(a.t(0), a.ints(1),
//! a.ints(2))?.into()));
//! ```
//!
//! * The signatures are PyTorch's (`parse/signature.rs` lists the types), tried in order; `a.overload` says which
//!   fitted.
//!   The first tensor is called `input`; `axis`, `keepdims`, `self`, `x` are understood everywhere.
//! * An entry is a function of `rtorch._C` and a method of Tensor; `.function_only()`, `.method_only()` and
//!   `.within("_nn")` (a function of that submodule) say otherwise. `.out()` gives it `out=`.
//! * After `r.op(..)`, `r.inplace()` adds `NAME_`, which writes the result into the first argument. An operator with an
//!   in-place form of its own is an entry of its own: do the write, then answer `a.t(0).clone()`.
//! * The body runs without the GIL on large tensors and must not touch Python; `r.py(..)` is for those that must.
//! * Every answer is an `Out` (`output.rs`); most are `.into()`.

mod complex;
mod composite;
mod convert;
mod decomposition;
mod factory;
mod fft;
mod index;
mod linalg;
mod nn;
mod nn_layers;
mod optim;
mod pointwise;
mod random;
mod reduce;
mod shape;
mod special;

use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    pointwise::register(r);
    special::register(r);
    complex::register(r);
    composite::register(r);
    reduce::register(r);
    shape::register(r);
    index::register(r);
    linalg::register(r);
    nn::register(r);
    nn_layers::register(r);
    optim::register(r);
    random::register(r);
    factory::register(r);
    convert::register(r);
    decomposition::register(r);
    fft::register(r);
}
