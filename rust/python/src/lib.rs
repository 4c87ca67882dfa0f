//! `rtorch._C`: the PyO3 binding. Forwards and conversions only; what operators mean stands in `rtorch-core`.
//! The way of a call: `registry` (C function) -> `overrides` (`__torch_function__`) -> `parse` -> `ops` -> `output`.
//! Operators of the number protocol take a shorter way (`tensor.rs`).
#![allow(non_snake_case)]
// wgpu types nest deeply where a tensor is asked to be Send
#![recursion_limit = "256"]

mod attrs;
mod autocast;
mod autograd;
mod collect;
mod construct;
mod convert;
mod device;
mod dlpack;
mod dtype;
mod error;
mod generator;
mod index;
mod nodes;
mod numpy;
mod ops;
mod output;
mod overrides;
mod parse;
mod registry;
mod runtime;
mod safetensors;
mod shared;
mod size;
mod storage;
mod tensor;
mod transform;
mod wgpu;

use pyo3::prelude::*;

// the core reads without locks what changes under the GIL only (`rtorch_core::host`)
#[pymodule(gil_used = true)]
fn _C(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("OutOfMemoryError", py.get_type::<error::OutOfMemoryError>())?;
    m.add("LinAlgError", py.get_type::<error::LinAlgError>())?;
    m.add_class::<tensor::PyTensor>()?;
    tensor::install(py);
    dtype::install(m)?;
    device::install(m)?;
    storage::install(m)?;
    generator::install(m)?;
    numpy::install(m)?;
    dlpack::install(m)?;
    autocast::install(m)?;
    autograd::install(m)?;
    nodes::install(m)?;
    transform::install(m)?;
    overrides::install(m)?;
    output::install(m)?;
    construct::install(m)?;
    runtime::install(m)?;
    safetensors::install(m)?;
    index::install(m)?;
    shared::install(m)?;
    wgpu::install(m)?;
    let mut registry = registry::Registry::default();
    ops::register(&mut registry);
    registry::install(m, registry)
}
