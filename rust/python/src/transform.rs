//! vmap and forward mode as Python uses them: levels, and tensors into and out of a batch or a pair.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use rtorch_core::autograd::forward;
use rtorch_core::batch::{self, Randomness};

use crate::error::OrRaise;
use crate::tensor::{self, wrap};

fn tensor_of(obj: &Bound<'_, PyAny>) -> PyResult<rtorch_core::Tensor> {
    tensor::get(obj).cloned().ok_or_else(|| PyValueError::new_err("vmap: expected a Tensor"))
}

/// Starts a vmap over `size` samples; answers its number.
#[pyfunction]
fn _vmap_enter(size: usize, randomness: &str) -> PyResult<u64> {
    let randomness = match randomness {
        "error" => Randomness::Error,
        "same" => Randomness::Same,
        "different" => Randomness::Different,
        _ => {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(format!(
                "Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
            )));
        }
    };
    Ok(batch::enter(size, randomness))
}

/// Has there been any vmap?
#[pyfunction]
fn _vmap_used() -> bool {
    batch::used()
}

#[pyfunction]
fn _vmap_exit(level: u64) {
    batch::exit(level);
}

/// The tensor with its first dimension hidden as the batch dimension of `level`.
#[pyfunction]
fn _vmap_wrap(py: Python<'_>, t: &Bound<'_, PyAny>, level: u64) -> PyResult<Py<PyAny>> {
    wrap(py, batch::wrap(&tensor_of(t)?, level).or_raise()?)
}

/// The way back: the batch dimension first.
#[pyfunction]
fn _vmap_unwrap(py: Python<'_>, t: &Bound<'_, PyAny>, level: u64, size: usize) -> PyResult<Py<PyAny>> {
    wrap(py, batch::peel(&tensor_of(t)?, level, size).or_raise()?)
}

/// A tensor as a sample of every vmap that is running.
#[pyfunction]
fn _vmap_lift(py: Python<'_>, t: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    wrap(py, batch::lift(&tensor_of(t)?).or_raise()?)
}

/// The vmaps that a tensor is a batch of.
#[pyfunction]
fn _vmap_levels(t: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    Ok(batch::levels(&tensor_of(t)?).map_or_else(Vec::new, |l| l.to_vec()))
}

// ---- forward mode

#[pyfunction]
fn _enter_dual_level() -> PyResult<u64> {
    forward::enter().or_raise()
}
/// Is a level open?
#[pyfunction]
fn _forward_level() -> bool {
    forward::active()
}
#[pyfunction]
fn _exit_dual_level(level: u64) -> PyResult<()> {
    forward::exit(level).or_raise()
}
/// A tensor with the contents of the first that carries the second as its tangent.
#[pyfunction]
fn _make_dual(py: Python<'_>, primal: &Bound<'_, PyAny>, tangent: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    wrap(py, forward::make_dual(&tensor_of(primal)?, &tensor_of(tangent)?).or_raise()?)
}
/// (contents without the tangent, the tangent or None)
#[pyfunction]
fn _unpack_dual(py: Python<'_>, t: &Bound<'_, PyAny>) -> PyResult<(Py<PyAny>, Py<PyAny>)> {
    let (primal, tangent) = forward::unpack_dual(&tensor_of(t)?).or_raise()?;
    Ok((wrap(py, primal)?, tensor::wrap_opt(py, tangent)?))
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_enter_dual_level, m)?)?;
    m.add_function(wrap_pyfunction!(_forward_level, m)?)?;
    m.add_function(wrap_pyfunction!(_exit_dual_level, m)?)?;
    m.add_function(wrap_pyfunction!(_make_dual, m)?)?;
    m.add_function(wrap_pyfunction!(_unpack_dual, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_enter, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_exit, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_used, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_wrap, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_unwrap, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_lift, m)?)?;
    m.add_function(wrap_pyfunction!(_vmap_levels, m)?)
}
