//! Python numbers to `Scalar` and back, elements to Python lists. Whole arrays stand in `numpy.rs`, nested lists to
//! tensors in `construct.rs`.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyList};
use rtorch_core::{DType, Scalar, Tensor};

use crate::error::{OrRaise, guarded};
use crate::tensor::{self, DETACH_NUMEL};

/// A Python int that is not a bool.
#[inline]
pub fn is_int(obj: &Bound<'_, PyAny>) -> bool {
    obj.is_instance_of::<PyInt>() && !obj.is_instance_of::<PyBool>()
}

/// A Python or NumPy number (not a tensor) as a scalar.
#[inline]
pub fn number(obj: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if obj.is_instance_of::<PyFloat>() {
        return Ok(Some(Scalar::Float(obj.extract::<f64>()?)));
    }
    if obj.is_instance_of::<PyBool>() {
        return Ok(Some(Scalar::Bool(obj.is_truthy()?)));
    }
    if obj.is_instance_of::<PyInt>() {
        return match obj.extract::<i64>() {
            Ok(i) => Ok(Some(Scalar::Int(i))),
            Err(_) => match obj.extract::<u64>() {
                Ok(u) => Ok(Some(Scalar::UInt(u))),
                Err(_) => crate::error::value_error("Overflow when unpacking long long"),
            },
        };
    }
    if obj.is_instance_of::<PyComplex>() {
        return complex(obj).map(Some);
    }
    numpy_scalar(obj)
}

fn complex(obj: &Bound<'_, PyAny>) -> PyResult<Scalar> {
    // SAFETY: the object is a complex number, or one that converts to it; errors are checked below.
    let (re, im) = unsafe { (ffi::PyComplex_RealAsDouble(obj.as_ptr()), ffi::PyComplex_ImagAsDouble(obj.as_ptr())) };
    match PyErr::take(obj.py()) {
        Some(e) => Err(e),
        None => Ok(Scalar::Complex(re, im)),
    }
}

/// NumPy's scalar types, told by their module so that NumPy need not be imported.
pub fn is_numpy(obj: &Bound<'_, PyAny>) -> bool {
    obj.get_type().module().is_ok_and(|m| m.to_str().is_ok_and(|m| m == "numpy"))
}

fn numpy_scalar(obj: &Bound<'_, PyAny>) -> PyResult<Option<Scalar>> {
    if !is_numpy(obj) {
        return Ok(None);
    }
    let name = obj.get_type().name()?;
    let name = name.to_str()?;
    let is = |p: &str| name.starts_with(p);
    if name == "bool_" || name == "bool" {
        return Ok(Some(Scalar::Bool(obj.is_truthy()?)));
    }
    if is("int") || is("uint") || name == "longlong" {
        return number(&obj.call_method0("__int__")?);
    }
    if is("float") || name == "half" {
        return Ok(Some(Scalar::Float(obj.call_method0("__float__")?.extract()?)));
    }
    if is("complex") {
        return complex(&obj.call_method0("__complex__")?).map(Some);
    }
    Ok(None)
}

pub fn scalar_to_py(py: Python<'_>, s: Scalar) -> PyResult<Py<PyAny>> {
    Ok(match s {
        Scalar::Bool(b) => PyBool::new(py, b).to_owned().into_any().unbind(),
        Scalar::Int(i) => i.into_pyobject(py)?.into_any().unbind(),
        Scalar::UInt(u) => u.into_pyobject(py)?.into_any().unbind(),
        Scalar::Float(f) => PyFloat::new(py, f).into_any().unbind(),
        Scalar::Complex(re, im) => PyComplex::from_doubles(py, re, im).into_any().unbind(),
    })
}

/// The one element; waits without the GIL where there is work to wait for.
pub fn item(py: Python<'_>, t: &Tensor) -> PyResult<Scalar> {
    if t.device().is_cpu() && t.storage().len() < DETACH_NUMEL {
        return rtorch_core::ops::convert::item(t).or_raise();
    }
    guarded(|| crate::runtime::release(py, || rtorch_core::ops::convert::item(t)).or_raise())
}

/// `tolist()`: nested lists of Python numbers, a number for 0 dimensions.
pub fn tolist(py: Python<'_>, t: &Tensor) -> PyResult<Py<PyAny>> {
    let t = t.detach();
    let bytes = guarded(|| crate::runtime::release(py, || t.to_bytes()).or_raise())?;
    let shape = t.shape();
    let mut at = 0;
    nested(py, &bytes, t.dtype(), &shape, &mut at)
}

fn nested(py: Python<'_>, bytes: &[u8], dtype: DType, shape: &[usize], at: &mut usize) -> PyResult<Py<PyAny>> {
    let Some((&n, rest)) = shape.split_first() else {
        let s = rtorch_core::ops::convert::read_scalar(&bytes[*at..], dtype);
        *at += dtype.size();
        return scalar_to_py(py, s);
    };
    let out = PyList::empty(py);
    for _ in 0..n {
        out.append(nested(py, bytes, dtype, rest, at)?)?;
    }
    Ok(out.into_any().unbind())
}

/// An int from an int, a NumPy integer, an integral 0-d tensor or anything with `__index__`.
pub fn int(obj: &Bound<'_, PyAny>) -> PyResult<Option<i64>> {
    if is_int(obj) {
        return obj
            .extract::<i64>()
            .map(Some)
            .map_err(|_| pyo3::exceptions::PyRuntimeError::new_err("Overflow when unpacking long long"));
    }
    if obj.is_instance_of::<PyBool>() || obj.is_instance_of::<PyFloat>() {
        return Ok(None);
    }
    if let Some(t) = tensor::get(obj) {
        if t.ndim() == 0 && t.dtype().is_int() {
            return item(obj.py(), t).map(|s| Some(s.to_i64()));
        }
        return Ok(None);
    }
    if is_numpy(obj) && obj.hasattr("__index__")? {
        return match obj.call_method0("__index__") {
            Ok(i) => i.extract().map(Some),
            Err(_) => Ok(None),
        };
    }
    Ok(None)
}
