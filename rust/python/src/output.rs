//! What operators answer, as Python objects, and `out=`.

use std::collections::HashMap;

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple};
use rtorch_core::{Scalar, Tensor};

use crate::error::OrRaise;
use crate::parse::Args;
use crate::{convert, tensor};

/// The answer of an operator.
pub enum Out {
    Tensor(Tensor),
    /// A tuple.
    Tensors(Vec<Tensor>),
    OptTensors(Vec<Option<Tensor>>),
    List(Vec<Tensor>),
    /// `rtorch.return_types.NAME`
    Named(&'static str, Vec<Tensor>),
    Bool(bool),
    Int(i64),
    None,
    Object(Py<PyAny>),
}

impl Out {
    /// The tensors in it, in order.
    pub fn tensors(&self) -> Vec<&Tensor> {
        match self {
            Out::Tensor(t) => vec![t],
            Out::Tensors(ts) | Out::List(ts) | Out::Named(_, ts) => ts.iter().collect(),
            Out::OptTensors(ts) => ts.iter().flatten().collect(),
            Out::Bool(_) | Out::Int(_) | Out::None | Out::Object(_) => Vec::new(),
        }
    }
}

impl From<Tensor> for Out {
    fn from(t: Tensor) -> Out {
        Out::Tensor(t)
    }
}
impl From<Vec<Tensor>> for Out {
    fn from(t: Vec<Tensor>) -> Out {
        Out::Tensors(t)
    }
}
impl From<(Tensor, Tensor)> for Out {
    fn from(t: (Tensor, Tensor)) -> Out {
        Out::Tensors(vec![t.0, t.1])
    }
}
impl From<bool> for Out {
    fn from(b: bool) -> Out {
        Out::Bool(b)
    }
}
impl From<()> for Out {
    fn from((): ()) -> Out {
        Out::None
    }
}

fn wrap_all(py: Python<'_>, ts: Vec<Tensor>) -> PyResult<Vec<Py<PyAny>>> {
    ts.into_iter().map(|t| tensor::wrap(py, t)).collect()
}

pub fn finish(py: Python<'_>, out: Out) -> PyResult<Py<PyAny>> {
    match out {
        Out::Tensor(t) => tensor::wrap(py, t),
        Out::Tensors(ts) => Ok(PyTuple::new(py, wrap_all(py, ts)?)?.into_any().unbind()),
        Out::OptTensors(ts) => {
            let items: Vec<Py<PyAny>> = ts.into_iter().map(|t| tensor::wrap_opt(py, t)).collect::<PyResult<_>>()?;
            Ok(PyTuple::new(py, items)?.into_any().unbind())
        }
        Out::List(ts) => Ok(PyList::new(py, wrap_all(py, ts)?)?.into_any().unbind()),
        Out::Named(name, ts) => {
            let items = PyTuple::new(py, wrap_all(py, ts)?)?;
            Ok(return_type(py, name)?.bind(py).call1((items,))?.unbind())
        }
        Out::Bool(b) => convert::scalar_to_py(py, Scalar::Bool(b)),
        Out::Int(i) => convert::scalar_to_py(py, Scalar::Int(i)),
        Out::None => Ok(py.None()),
        Out::Object(o) => Ok(o),
    }
}

/// A class of `rtorch.return_types`, looked up once.
fn return_type(py: Python<'_>, name: &'static str) -> PyResult<Py<PyAny>> {
    static SEEN: PyOnceLock<Mutex<HashMap<&'static str, Py<PyAny>>>> = PyOnceLock::new();
    let seen = SEEN.get_or_init(py, Mutex::default);
    if let Some(c) = seen.lock().get(name) {
        return Ok(c.clone_ref(py));
    }
    let c = py.import("rtorch.return_types")?.getattr(name)?.unbind();
    seen.lock().insert(name, c.clone_ref(py));
    Ok(c)
}

/// What `out=` may be, by dtype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutRule {
    /// Any dtype that the result can be cast to.
    Casts,
    /// The result is made in the target's dtype (`Args::fill`).
    Fills,
    /// The result's dtype.
    Exact,
    /// As `Casts`, refused by a TypeError.
    Typed,
}

/// `out=`: the result is computed outside of the graph and written into the given tensors, resized where their shape
/// differs.
pub fn write_out(
    py: Python<'_>,
    name: &str,
    out: &Bound<'_, PyAny>,
    args: &Args,
    rule: OutRule,
    compute: impl FnOnce() -> PyResult<Out>,
) -> PyResult<Py<PyAny>> {
    let targets: Vec<Tensor> = match tensor::get(out) {
        Some(t) => vec![t.clone()],
        None => {
            let bad = || {
                PyTypeError::new_err(format!(
                    "{name}(): argument 'out' must be Tensor, not {}",
                    out.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string())
                ))
            };
            let items = out.try_iter().map_err(|_| bad())?;
            items.map(|i| tensor::get(&i?).cloned().ok_or_else(bad)).collect::<PyResult<_>>()?
        }
    };
    let grad = rtorch_core::autograd::mode::is_enabled();
    if grad && (args.requires_grad() || targets.iter().any(Tensor::requires_grad)) {
        return Err(PyRuntimeError::new_err(format!(
            "{name}(): functions with out=... arguments don't support automatic differentiation, but one of the \
             arguments requires grad."
        )));
    }
    let mut kind = None;
    let results = match compute()? {
        Out::Tensor(t) => vec![t],
        Out::Named(name, ts) => {
            kind = Some(name);
            ts
        }
        Out::Tensors(ts) | Out::List(ts) => ts,
        Out::OptTensors(ts) => ts.into_iter().flatten().collect(),
        other @ (Out::Bool(_) | Out::Int(_) | Out::None | Out::Object(_)) => return finish(py, other),
    };
    for (r, t) in results.iter().zip(&targets) {
        check_rule(name, rule, r, t)?;
    }
    store(py, name, results, targets)?;
    match kind {
        Some(kind) => Ok(return_type(py, kind)?.bind(py).call1((out.extract::<Vec<Py<PyAny>>>()?,))?.unbind()),
        None => Ok(out.clone().unbind()),
    }
}

fn check_rule(name: &str, rule: OutRule, r: &Tensor, t: &Tensor) -> PyResult<()> {
    match rule {
        OutRule::Exact if r.dtype() != t.dtype() => Err(PyRuntimeError::new_err(format!(
            "{name}(): Expected out tensor to have dtype {}, but got {} instead",
            r.dtype().name(),
            t.dtype().name()
        ))),
        OutRule::Fills if r.dtype() != t.dtype() => Err(PyRuntimeError::new_err(format!(
            "dtype {} does not match dtype of out parameter ({})",
            r.dtype().cpp_name(),
            t.dtype().cpp_name()
        ))),
        OutRule::Typed if !r.dtype().can_cast_to(t.dtype()) => Err(PyTypeError::new_err(format!(
            "torch.{name}(): input types can't be cast to the desired output type {}",
            t.dtype().cpp_name()
        ))),
        OutRule::Casts | OutRule::Fills | OutRule::Exact | OutRule::Typed => Ok(()),
    }
}

fn store(py: Python<'_>, name: &str, results: Vec<Tensor>, targets: Vec<Tensor>) -> PyResult<()> {
    if results.len() != targets.len() {
        return Err(PyTypeError::new_err(format!(
            "{name}(): argument 'out' must be a tuple of {} Tensors",
            results.len()
        )));
    }
    for (r, t) in results.iter().zip(&targets) {
        one_out(py, r, t).or_raise()?;
    }
    Ok(())
}

/// `out=` of operators composed in Python: their result, computed already, written into the target.
#[pyfunction]
fn _write_out(py: Python<'_>, result: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let list = |x: &Bound<'_, PyAny>| -> PyResult<Vec<Tensor>> {
        if let Some(t) = tensor::get(x) {
            return Ok(vec![t.clone()]);
        }
        let bad = || PyTypeError::new_err("argument 'out' must be Tensor");
        x.try_iter().map_err(|_| bad())?.map(|i| tensor::get(&i?).cloned().ok_or_else(bad)).collect()
    };
    let (results, targets) = (list(result)?, list(out)?);
    let grad = rtorch_core::autograd::mode::is_enabled();
    if grad && (results.iter().any(Tensor::requires_grad) || targets.iter().any(Tensor::requires_grad)) {
        return Err(PyRuntimeError::new_err(
            "functions with out=... arguments don't support automatic differentiation, but one of the arguments \
             requires grad.",
        ));
    }
    store(py, "out", results, targets)?;
    Ok(out.clone().unbind())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_write_out, m)?)
}

fn one_out(py: Python<'_>, r: &Tensor, t: &Tensor) -> rtorch_core::Result<()> {
    rtorch_core::ops::pointwise::cast_target(r.dtype(), t.dtype())?;
    if r.device() != t.device() {
        return Err(rtorch_core::Error::runtime(format!(
            "Expected all tensors to be on the same device, but found at least two devices, {} and {}!",
            t.device(),
            r.device()
        )));
    }
    if r.shape() != t.shape() {
        if t.numel() != 0 {
            rtorch_core::warn::warn(&format!(
                "An output with one or more elements was resized since it had shape {}, which does not match the \
                 required output shape {}. This behavior is deprecated, and in a future PyTorch release outputs will \
                 not be resized unless they have zero elements. You can explicitly reuse an out tensor t by resizing \
                 it, inplace, to zero elements with t.resize_(0).",
                t.shape_text(),
                r.shape_text()
            ));
        }
        crate::storage::resize(t, &r.shape())?;
    }
    crate::runtime::release(py, || {
        let _off = rtorch_core::autograd::mode::Guard::new(false);
        rtorch_core::inplace::copy_(t, r)
    })
}
