//! NumPy both ways without its headers: through `__array_interface__`, sharing memory.

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use rtorch_core::storage::Export;
use rtorch_core::{DType, Layout, Tensor};
use smallvec::SmallVec;

use crate::error::OrRaise;
use crate::tensor::must_be_cpu;

/// An `ndarray` (or a subclass)?
pub fn is_array(obj: &Bound<'_, PyAny>) -> bool {
    crate::convert::is_numpy(obj) && obj.get_type().name().is_ok_and(|n| n.to_str().is_ok_and(|n| n == "ndarray"))
        || (obj.hasattr("__array_interface__").unwrap_or(false) && !crate::convert::is_numpy(obj))
}

fn dtype_of(typestr: &str) -> Option<DType> {
    Some(match &typestr[1..] {
        "b1" => DType::Bool,
        "u1" => DType::U8,
        "u2" => DType::U16,
        "u4" => DType::U32,
        "u8" => DType::U64,
        "i1" => DType::I8,
        "i2" => DType::I16,
        "i4" => DType::I32,
        "i8" => DType::I64,
        "f2" => DType::F16,
        "f4" => DType::F32,
        "f8" => DType::F64,
        "c8" => DType::C64,
        "c16" => DType::C128,
        _ => return None,
    })
}

/// `typestr` of the array interface.
fn typestr(d: DType) -> Option<&'static str> {
    Some(match d {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::I8 => "|i1",
        DType::I16 => "<i2",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::C64 => "<c8",
        DType::C128 => "<c16",
        DType::BF16 | DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => return None,
    })
}

/// The dtype of a NumPy scalar (None for Python's own numbers).
pub fn scalar_dtype(obj: &Bound<'_, PyAny>) -> Option<DType> {
    if !crate::convert::is_numpy(obj) {
        return None;
    }
    let s = obj.getattr("dtype").ok()?.getattr("str").ok()?;
    dtype_of(s.extract::<String>().ok()?.as_str())
}

pub fn array_dtype(obj: &Bound<'_, PyAny>) -> PyResult<DType> {
    let s: String = interface(obj)?.get_item("typestr")?.extract()?;
    checked_dtype(obj, &s)
}

fn interface<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    obj.getattr("__array_interface__")
}

fn checked_dtype(obj: &Bound<'_, PyAny>, s: &str) -> PyResult<DType> {
    if s.starts_with('>') {
        return Err(PyValueError::new_err(
            "given numpy array has byte order different from the native byte order. Conversion between byte orders is \
             currently not supported.",
        ));
    }
    dtype_of(s).ok_or_else(|| {
        let name = obj.getattr("dtype").and_then(|d| d.getattr("type")).and_then(|t| t.getattr("__name__"));
        PyTypeError::new_err(format!(
            "can't convert np.ndarray of type numpy.{}. The only supported types are: float64, float32, float16, \
             complex64, complex128, int64, int32, int16, int8, uint64, uint32, uint16, uint8, and bool.",
            name.map_or_else(|_| s.to_string(), |n| n.to_string())
        ))
    })
}

/// A tensor over an array's memory; `warn` when that is read-only.
pub fn from_array(obj: &Bound<'_, PyAny>, warn: bool) -> PyResult<Tensor> {
    let py = obj.py();
    let info = interface(obj)?;
    let dtype = checked_dtype(obj, &info.get_item("typestr")?.extract::<String>()?)?;
    let shape: SmallVec<[usize; 5]> = info.get_item("shape")?.extract::<Vec<usize>>()?.into_iter().collect();
    let (ptr, read_only): (usize, bool) = info.get_item("data")?.extract()?;
    let size = dtype.size() as isize;
    let strides = match info.cast::<PyDict>()?.get_item("strides")?.filter(|s| !s.is_none()) {
        None => rtorch_ir::layout::contiguous_strides(&shape),
        Some(s) => {
            let mut out = SmallVec::new();
            for (st, &n) in s.extract::<Vec<isize>>()?.into_iter().zip(&shape) {
                if st < 0 && n > 1 {
                    return Err(PyValueError::new_err(
                        "At least one stride in the given numpy array is negative, and tensors with negative strides \
                         are not currently supported. (You can probably work around this by making a copy of your \
                         array  with array.copy().) ",
                    ));
                }
                if st % size != 0 {
                    return Err(PyValueError::new_err(
                        "given numpy array strides not a multiple of the element byte size. Copy the numpy array to \
                         reallocate the memory.",
                    ));
                }
                out.push(st.max(0) / size);
            }
            out
        }
    };
    if read_only && warn {
        rtorch_core::warn::once(
            "The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This means \
             writing to this tensor will result in undefined behavior. You may want to copy the array to protect its \
             data or make it writable before converting it to a tensor. This type of warning will be suppressed for \
             the rest of this program.",
        );
    }
    let layout = Layout { shape, strides, offset: 0 };
    let len = layout.extent().map_or(0, |e| e.1) * dtype.size();
    if ptr % dtype.size().min(8) != 0 && len > 0 {
        // unaligned memory cannot be shared
        let aligned = py.import("numpy")?.getattr("array")?.call1((obj,))?;
        return from_array(&aligned, false);
    }
    let owner: Py<PyAny> = obj.clone().unbind();
    // SAFETY: the array owns (or keeps alive) `len` bytes from its data pointer on, and `owner` keeps the array alive.
    // A read-only array may be written through the tensor, as with PyTorch; the warning says so.
    Ok(unsafe { Tensor::from_foreign(ptr as *mut u8, len, Box::new(owner), layout, dtype) })
}

/// Keeps exported memory alive as the base of an array.
#[pyclass(frozen, name = "_ExportedArray", module = "rtorch._C")]
struct Exported {
    ptr: usize,
    layout: Layout,
    dtype: DType,
    #[allow(dead_code)]
    held: (Export, rtorch_cpu::Memory),
}

#[pymethods]
impl Exported {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let d = PyDict::new(py);
        let size = self.dtype.size() as isize;
        d.set_item("shape", PyTuple::new(py, self.layout.shape.iter())?)?;
        d.set_item("strides", PyTuple::new(py, self.layout.strides.iter().map(|s| s * size))?)?;
        d.set_item("typestr", typestr(self.dtype))?;
        d.set_item("data", (self.ptr, false))?;
        d.set_item("version", 3)?;
        Ok(d)
    }
}

/// An array over a tensor's memory.
pub fn to_array(py: Python<'_>, t: &Tensor) -> PyResult<Py<PyAny>> {
    must_be_cpu(t)?;
    if typestr(t.dtype()).is_none() {
        return Err(PyTypeError::new_err(format!("Got unsupported ScalarType {}", t.dtype().cpp_name())));
    }
    let t = t.detach();
    let held = crate::runtime::release(py, || rtorch_core::inplace::export(&t)).or_raise()?;
    let layout = t.layout();
    let ptr = held.1.as_ptr() as usize + layout.offset * t.dtype().size();
    let holder = Bound::new(py, Exported { ptr, layout, dtype: t.dtype(), held })?;
    Ok(py.import("numpy")?.getattr("asarray")?.call1((holder,))?.unbind())
}

/// `Tensor.numpy(force=False)`
pub fn numpy(py: Python<'_>, t: &Tensor, force: bool) -> PyResult<Py<PyAny>> {
    if force {
        let host = rtorch_core::ops::convert::to_device(&t.detach(), rtorch_core::Device::Cpu).or_raise()?;
        return to_array(py, &host);
    }
    if t.requires_grad() {
        return Err(PyRuntimeError::new_err(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.",
        ));
    }
    to_array(py, t)
}

#[pyfunction]
fn from_numpy(array: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if !is_array(array) {
        return Err(PyTypeError::new_err(format!("expected np.ndarray (got {})", array.get_type().name()?)));
    }
    crate::tensor::wrap(array.py(), from_array(array, true)?)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(from_numpy, m)?)
}
