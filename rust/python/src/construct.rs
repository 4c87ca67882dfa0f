//! Tensors from Python data: nested sequences, numbers, arrays, other tensors; `rtorch.tensor` and the old constructor.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use rtorch_core::ops::pointwise::{default_dtype, scalar_dtype};
use rtorch_core::{DType, Device, Scalar, Tensor};
use rtorch_ir::promote;

use crate::error::OrRaise;
use crate::{convert, numpy, tensor};

/// A tensor of its own with the values of any Python data.
pub fn value(obj: &Bound<'_, PyAny>, dtype: Option<DType>, device: Device) -> PyResult<Tensor> {
    if let Some(t) = tensor::get(obj) {
        return copy(&t.detach(), dtype, device);
    }
    if numpy::is_array(obj) {
        return copy(&numpy::from_array(obj, false)?, dtype, device);
    }
    if let Some(s) = convert::number(obj)? {
        let d = dtype.unwrap_or_else(|| numpy::scalar_dtype(obj).unwrap_or_else(|| scalar_dtype(s)));
        let mut bytes = Vec::with_capacity(d.size());
        put(s, d, &mut bytes)?;
        return Tensor::from_bytes(&bytes, &[], d, device).or_raise();
    }
    let shape = shape_of(obj)?;
    let d = match dtype {
        Some(d) => d,
        None => infer(obj)?.unwrap_or_else(default_dtype),
    };
    let n: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(n * d.size());
    fill(obj, &shape, 0, d, &mut bytes)?;
    Tensor::from_bytes(&bytes, &shape, d, device).or_raise()
}

fn copy(t: &Tensor, dtype: Option<DType>, device: Device) -> PyResult<Tensor> {
    let d = dtype.unwrap_or(t.dtype());
    let moved = rtorch_core::ops::convert::to_dtype(t, d).or_raise()?;
    let moved = rtorch_core::ops::convert::to_device(&moved, device).or_raise()?;
    if moved.same(t) { rtorch_core::ops::shape::clone(t).or_raise() } else { Ok(moved) }
}

fn put(s: Scalar, d: DType, out: &mut Vec<u8>) -> PyResult<()> {
    let fits = match (d.int_range(), s) {
        // negative numbers wrap into unsigned types, but for the widest
        (Some(_), Scalar::Int(i)) if d == DType::U64 && i < 0 => {
            return Err(PyOverflowError::new_err("can't convert negative int to unsigned"));
        }
        (Some(_), Scalar::UInt(_)) if d == DType::I64 => {
            return crate::error::value_error("Overflow when unpacking long long");
        }
        (Some(_), Scalar::Float(_) | Scalar::Complex(..)) if d == DType::U64 => {
            return Err(PyTypeError::new_err("an integer is required"));
        }
        (Some((_, hi)), Scalar::Int(i)) if !d.is_signed() => (-hi..=hi).contains(&i.into()),
        (Some((lo, hi)), Scalar::Int(i)) => (lo..=hi).contains(&i.into()),
        (Some((_, hi)), Scalar::UInt(u)) => i128::from(u) <= hi,
        (Some((lo, hi)), Scalar::Float(f)) => f > lo as f64 - 1.0 && f < hi as f64 + 1.0,
        (Some(_) | None, _) => true,
    };
    if d != DType::Bool && !fits {
        let text = format!("value cannot be converted to type {} without overflow", cpp_type(d));
        return crate::error::runtime_error(text);
    }
    rtorch_core::ops::convert::write_scalar(s, d, out);
    Ok(())
}

fn cpp_type(d: DType) -> &'static str {
    match d {
        DType::U8 => "uint8_t",
        DType::I8 => "int8_t",
        DType::I16 => "int16_t",
        DType::I32 => "int",
        DType::I64 => "int64_t",
        DType::Bool => "bool",
        DType::F16 => "at::Half",
        DType::BF16 => "at::BFloat16",
        DType::F32 => "float",
        DType::F64 => "double",
        DType::C64 => "c10::complex<float>",
        DType::C128 => "c10::complex<double>",
        DType::U16 => "uint16_t",
        DType::U32 => "uint32_t",
        DType::U64 => "uint64_t",
        DType::E4M3 | DType::E5M2 | DType::E4M3Z | DType::E5M2Z | DType::E8M0 => d.cpp_name(),
    }
}

/// Elements of a sequence, or None where the object is none.
fn items<'py>(obj: &Bound<'py, PyAny>) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    if let Ok(l) = obj.cast::<PyList>() {
        return Ok(Some(l.iter().collect()));
    }
    if let Ok(t) = obj.cast::<PyTuple>() {
        return Ok(Some(t.iter().collect()));
    }
    if obj.is_instance_of::<PyString>() || obj.is_instance_of::<PyBytes>() || tensor::get(obj).is_some() {
        return Ok(None);
    }
    if obj.hasattr("__len__")? && obj.hasattr("__getitem__")? && !obj.is_instance_of::<PyDict>() {
        let n = obj.len()?;
        return (0..n).map(|i| obj.get_item(i)).collect::<PyResult<Vec<_>>>().map(Some);
    }
    Ok(None)
}

const MAX_DEPTH: usize = 128;

fn shape_of(obj: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    let mut shape = Vec::new();
    let mut at = obj.clone();
    loop {
        if let Some(t) = tensor::get(&at) {
            shape.extend_from_slice(&t.shape());
            return Ok(shape);
        }
        if numpy::is_array(&at) {
            shape.extend(at.getattr("shape")?.extract::<Vec<usize>>()?);
            return Ok(shape);
        }
        match items(&at)? {
            None => {
                if shape.is_empty() {
                    return Err(wrong_element(&at)?);
                }
                return Ok(shape);
            }
            Some(list) => {
                shape.push(list.len());
                if shape.len() > MAX_DEPTH {
                    return Err(PyValueError::new_err(format!("too many dimensions '{}'", at.get_type().name()?)));
                }
                match list.into_iter().next() {
                    None => return Ok(shape),
                    Some(first) => at = first,
                }
            }
        }
    }
}

fn wrong_element(obj: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let name = obj.get_type().name()?;
    if obj.is_instance_of::<PyString>() {
        return Ok(PyTypeError::new_err(format!("new(): invalid data type '{name}'")));
    }
    if obj.is_none() {
        return Ok(pyo3::exceptions::PyRuntimeError::new_err("Could not infer dtype of NoneType"));
    }
    Ok(PyTypeError::new_err(format!("new(): data must be a sequence (got {name})")))
}

/// The dtype of the elements, None for no elements.
fn infer(obj: &Bound<'_, PyAny>) -> PyResult<Option<DType>> {
    if let Some(t) = tensor::get(obj) {
        return Ok(Some(t.dtype()));
    }
    if numpy::is_array(obj) {
        return numpy::array_dtype(obj).map(Some);
    }
    if let Some(s) = convert::number(obj)? {
        return Ok(Some(numpy::scalar_dtype(obj).unwrap_or_else(|| scalar_dtype(s))));
    }
    let Some(list) = items(obj)? else { return Err(cannot_infer(obj)?) };
    let mut found: Option<DType> = None;
    for x in &list {
        if x.is_instance_of::<PyString>() {
            return crate::error::value_error("too many dimensions 'str'");
        }
        if let Some(d) = infer(x)? {
            found = Some(match found {
                Some(f) => promote(f, d).or_raise()?,
                None => d,
            });
        }
    }
    Ok(found)
}

fn cannot_infer(obj: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let name = obj.get_type().name()?;
    if obj.is_instance_of::<PyString>() {
        return Ok(PyTypeError::new_err(format!("new(): invalid data type '{name}'")));
    }
    Ok(pyo3::exceptions::PyRuntimeError::new_err(format!("Could not infer dtype of {name}")))
}

fn fill(obj: &Bound<'_, PyAny>, shape: &[usize], dim: usize, d: DType, out: &mut Vec<u8>) -> PyResult<()> {
    if dim == shape.len() {
        if let Some(t) = tensor::get(obj) {
            return put(convert::item(obj.py(), t)?, d, out);
        }
        return match convert::number(obj)? {
            Some(s) => put(s, d, out),
            None if items(obj)?.is_some() => Err(PyTypeError::new_err(format!(
                "'{}' object cannot be interpreted as an integer",
                obj.get_type().name()?
            ))),
            None => Err(PyTypeError::new_err(format!("must be real number, not {}", obj.get_type().name()?))),
        };
    }
    let n = shape[dim];
    if let Some(t) = tensor::get(obj) {
        if t.shape().as_slice() != &shape[dim..] {
            return Err(ragged(n, dim, t.shape().first().copied().unwrap_or(0)));
        }
        let same = rtorch_core::ops::convert::to_dtype(&t.detach(), d).or_raise()?;
        out.extend(same.to_bytes().or_raise()?);
        return Ok(());
    }
    if numpy::is_array(obj) {
        let t = numpy::from_array(obj, false)?;
        if t.shape().as_slice() != &shape[dim..] {
            return Err(ragged(n, dim, t.shape().first().copied().unwrap_or(0)));
        }
        let same = rtorch_core::ops::convert::to_dtype(&t, d).or_raise()?;
        out.extend(same.to_bytes().or_raise()?);
        return Ok(());
    }
    let Some(list) = items(obj)? else {
        return Err(PyTypeError::new_err(format!("expected sequence, but got {}", obj.get_type().name()?)));
    };
    if list.len() != n {
        return Err(ragged(n, dim, list.len()));
    }
    for x in &list {
        fill(x, shape, dim + 1, d, out)?;
    }
    Ok(())
}

fn ragged(n: usize, dim: usize, got: usize) -> PyErr {
    PyValueError::new_err(format!("expected sequence of length {n} at dim {dim} (got {got})"))
}

/// `Tensor(2, 3)`, `Tensor([1, 2])`, `Tensor(other)`: sizes or data, in the default dtype.
pub fn legacy(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Tensor> {
    let device = match kwargs.and_then(|k| k.get_item("device").transpose()).transpose()? {
        Some(d) => crate::device::extract(&d)?.unwrap_or_default(),
        None => Device::Cpu,
    };
    legacy_as(args, default_dtype(), device)
}

pub fn legacy_as(args: &Bound<'_, PyTuple>, dtype: DType, device: Device) -> PyResult<Tensor> {
    if args.len() == 1 {
        let only = args.get_item(0)?;
        if let Some(t) = tensor::get(&only) {
            if t.dtype() != dtype {
                return Err(PyTypeError::new_err(format!(
                    "expected {} (got {})",
                    dtype.cpp_name(),
                    t.dtype().cpp_name()
                )));
            }
            return Ok(t.detach());
        }
        let size = only.get_type().name()?.to_str()? == "Size";
        if !size && (numpy::is_array(&only) || items(&only)?.is_some()) {
            return value(&only, Some(dtype), device);
        }
        if size {
            return empty(&only.extract::<Vec<i64>>()?, dtype, device);
        }
    }
    let sizes: Vec<i64> = args
        .iter()
        .map(|a| {
            convert::int(&a)?
                .ok_or_else(|| PyTypeError::new_err(format!("new(): argument must be int, not {}", a.get_type())))
        })
        .collect::<PyResult<_>>()?;
    if sizes.is_empty() {
        return empty(&[0], dtype, device);
    }
    empty(&sizes, dtype, device)
}

/// PyTorch leaves such memory uninitialised; zeros are as fast and answer nothing of the past.
fn empty(sizes: &[i64], dtype: DType, device: Device) -> PyResult<Tensor> {
    let shape = rtorch_core::ops::factory::checked_shape(sizes).or_raise()?;
    rtorch_core::ops::factory::zeros(&shape, dtype, device).or_raise()
}

/// `FloatTensor(2, 3)` and its like.
#[pyfunction]
#[pyo3(signature = (dtype, *args))]
fn _legacy_tensor(dtype: &Bound<'_, crate::dtype::PyDType>, args: &Bound<'_, PyTuple>) -> PyResult<Py<PyAny>> {
    tensor::wrap(args.py(), legacy_as(args, dtype.get().0, Device::Cpu)?)
}

/// A 1-d tensor over the memory of an object with the buffer protocol.
#[pyfunction]
#[pyo3(signature = (buffer, *, dtype, count = -1, offset = 0, requires_grad = false))]
fn frombuffer(
    buffer: &Bound<'_, PyAny>,
    dtype: &Bound<'_, crate::dtype::PyDType>,
    count: i64,
    offset: i64,
    requires_grad: bool,
) -> PyResult<Py<PyAny>> {
    let py = buffer.py();
    let d = dtype.get().0;
    // NumPy reads the buffer protocol, which the stable ABI of Python 3.10 does not have
    let kw = PyDict::new(py);
    kw.set_item("dtype", "uint8")?;
    let all = py.import("numpy")?.getattr("frombuffer")?.call((buffer,), Some(&kw)).map_err(|e| {
        if e.is_instance_of::<PyTypeError>(py) { e } else { PyValueError::new_err(e.value(py).to_string()) }
    })?;
    let n = all.len()?;
    let start = usize::try_from(offset).ok().filter(|&o| o < n).ok_or_else(|| {
        PyValueError::new_err(format!(
            "offset ({offset} bytes) must be non-negative and no greater than buffer length ({n} bytes) minus 1"
        ))
    })?;
    let rest = n - start;
    let items = match count {
        c if c > 0 => c as usize,
        c if c < 0 && rest % d.size() == 0 => rest / d.size(),
        c if c < 0 => {
            return Err(PyValueError::new_err(format!(
                "buffer length ({rest} bytes) after offset ({offset} bytes) must be a multiple of element size ({})",
                d.size()
            )));
        }
        _ => return Err(PyValueError::new_err("both buffer length and count must not be 0")),
    };
    if items * d.size() > rest {
        return Err(PyValueError::new_err(format!(
            "requested buffer length ({items} * {} bytes) after offset ({offset} bytes) must not be greater than \
             actual buffer length ({n} bytes)",
            d.size()
        )));
    }
    let part = all.get_item(pyo3::types::PySlice::new(py, start as isize, (start + items * d.size()) as isize, 1))?;
    let bytes = numpy::from_array(&part, true)?;
    let t = rtorch_core::ops::shape::view_dtype(&bytes, d).or_raise()?.detach();
    if requires_grad {
        t.set_requires_grad(true).or_raise()?;
    }
    tensor::wrap(py, t)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_legacy_tensor, m)?)?;
    m.add_function(wrap_pyfunction!(frombuffer, m)?)
}
