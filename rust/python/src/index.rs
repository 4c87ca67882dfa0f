//! `x[...]` and `x[...] = v`: Python subscripts as the core's items.

use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyEllipsis, PyInt, PyList, PySlice, PyString, PyTuple};
use rtorch_core::ops::index::{self, Item};
use rtorch_core::ops::shape;
use rtorch_core::{DType, Tensor};

use crate::error::OrRaise;
use crate::tensor::{self, DETACH_NUMEL, PyTensor, wrap};
use crate::{construct, convert, overrides, registry};

pub fn get(slf: &Bound<'_, PyTensor>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = slf.py();
    if overrides::in_mode() || !tensor::is_exact(slf.as_any()) && overrides::wants(slf.as_any()) {
        return registry::call(py, "__getitem__", &[slf.as_ptr(), key.as_ptr()]);
    }
    get_plain(py, &slf.get().t, key)
}

pub fn get_plain(py: Python<'_>, t: &Tensor, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if key.is_exact_instance_of::<PyInt>() {
        let i = key.extract::<i64>().map_err(|_| PyValueError::new_err("Overflow when unpacking long long"))?;
        if t.ndim() == 0 {
            return Err(PyIndexError::new_err(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or `tensor.item<T>()` in C++ to \
                 convert a 0-dim tensor to a number",
            ));
        }
        let n = t.size(0) as i64;
        if !(-n..n).contains(&i) {
            return Err(PyIndexError::new_err(format!("index {i} is out of bounds for dimension 0 with size {n}")));
        }
        return wrap(py, shape::select(t, 0, i).or_raise()?);
    }
    if let Ok(s) = key.cast_exact::<PySlice>()
        && t.ndim() > 0
        && let Item::Slice(start, end, step) = slice(s)?
    {
        let whole = start.is_none() && end.is_none() && step == 1;
        let v = if whole { shape::alias(t) } else { shape::slice(t, 0, start, end, step) };
        return wrap(py, v.or_raise()?);
    }
    let items = items(key)?;
    let r = if t.numel() < DETACH_NUMEL {
        index::get(t, &items)
    } else {
        crate::runtime::release(py, || index::get(t, &items))
    };
    wrap(py, r.or_raise()?)
}

pub fn set(slf: &Bound<'_, PyTensor>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = slf.py();
    if overrides::in_mode() || !tensor::is_exact(slf.as_any()) && overrides::wants(slf.as_any()) {
        return registry::call(py, "__setitem__", &[slf.as_ptr(), key.as_ptr(), value.as_ptr()]).map(|_| ());
    }
    set_plain(&slf.get().t, key, value)
}

pub fn set_plain(t: &Tensor, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = key.py();
    let items = items(key)?;
    let v = assigned(t, value)?;
    let go = || index::set(t, &items, &v);
    if t.numel() < DETACH_NUMEL { go() } else { crate::runtime::release(py, go) }.or_raise()
}

/// The value of an assignment as a tensor.
fn assigned(t: &Tensor, value: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    if let Some(v) = tensor::get(value) {
        return Ok(v.clone());
    }
    let Some(s) = convert::number(value)? else {
        return Err(PyTypeError::new_err(format!(
            "can't assign a {} to a torch.{}Tensor",
            value.get_type().name()?,
            t.dtype().cpp_name()
        )));
    };
    s.check_fits(t.dtype(), "setitem").or_raise()?;
    let mut bytes = Vec::new();
    rtorch_core::ops::convert::write_scalar(s, t.dtype(), &mut bytes);
    Tensor::from_bytes(&bytes, &[], t.dtype(), t.device()).or_raise()
}

fn items(key: &Bound<'_, PyAny>) -> PyResult<Vec<Item>> {
    let mut out: Vec<Item> = match key.cast::<PyTuple>() {
        Ok(t) => t.iter().map(|k| item(&k)).collect::<PyResult<_>>()?,
        Err(_) if stands_for_tuple(key) => key.try_iter()?.map(|k| item(&k?)).collect::<PyResult<_>>()?,
        Err(_) => vec![item(key)?],
    };
    // only the first ellipsis spans dimensions
    let mut seen = false;
    out.retain(|i| !matches!(i, Item::Ellipsis) || !std::mem::replace(&mut seen, true));
    Ok(out)
}

/// A short list that holds more than numbers means a tuple (NumPy's old rule, which PyTorch keeps).
fn stands_for_tuple(key: &Bound<'_, PyAny>) -> bool {
    const NUMPY_LIMIT: usize = 32;
    let Ok(list) = key.cast::<PyList>() else { return false };
    list.len() < NUMPY_LIMIT
        && list.iter().any(|x| {
            x.is_none()
                || x.is_instance_of::<PySlice>()
                || x.is_instance_of::<PyEllipsis>()
                || x.is_instance_of::<PyList>()
                || x.is_instance_of::<PyTuple>()
                || tensor::get(&x).is_some()
        })
}

fn item(key: &Bound<'_, PyAny>) -> PyResult<Item> {
    if key.is_none() {
        return Ok(Item::None);
    }
    if key.is_instance_of::<PyBool>() {
        return Ok(Item::Bool(key.is_truthy()?));
    }
    if key.is_instance_of::<PyInt>() {
        let i = key.extract::<i64>();
        return i.map(Item::Int).map_err(|_| PyValueError::new_err("Overflow when unpacking long long"));
    }
    if key.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("new(): invalid data type 'str'"));
    }
    if let Ok(s) = key.cast::<PySlice>() {
        return slice(s);
    }
    if key.is_instance_of::<PyEllipsis>() {
        return Ok(Item::Ellipsis);
    }
    if let Some(t) = tensor::get(key) {
        // an integer of no dimensions selects, as a Python int does
        if t.ndim() == 0 && t.dtype().is_int() && t.dtype() != DType::U8 && t.device().is_cpu() {
            return Ok(Item::Int(convert::item(key.py(), t)?.to_i64()));
        }
        return Ok(Item::Tensor(t.clone()));
    }
    if !convert::is_numpy(key) || key.get_type().name()?.to_str()? != "ndarray" {
        match convert::number(key)? {
            Some(rtorch_core::Scalar::Bool(b)) => return Ok(Item::Bool(b)),
            Some(rtorch_core::Scalar::Int(i)) => return Ok(Item::Int(i)),
            Some(_) | None => {}
        }
    }
    let listy = key.is_instance_of::<PyList>() || convert::is_numpy(key) || key.hasattr("__len__")?;
    if !listy {
        return Err(PyIndexError::new_err(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices (got "
                .to_string()
                + key.get_type().name()?.to_str()?
                + ")",
        ));
    }
    let t = construct::value(key, None, rtorch_core::Device::Cpu)
        .map_err(|e| PyIndexError::new_err(e.value(key.py()).to_string()))?;
    // an empty list selects nothing; floats in a list are truncated
    let t = if t.dtype().is_float() && (t.numel() == 0 || key.is_instance_of::<PyList>()) {
        rtorch_core::ops::convert::to_dtype(&t, DType::I64).or_raise()?
    } else {
        t
    };
    Ok(Item::Tensor(t))
}

fn slice(s: &Bound<'_, PySlice>) -> PyResult<Item> {
    let (mut a, mut b, mut step) = (0, 0, 0);
    // SAFETY: `s` is a slice and the three places are ours.
    if unsafe { ffi::PySlice_Unpack(s.as_ptr(), &mut a, &mut b, &mut step) } < 0 {
        return Err(PyErr::fetch(s.py()));
    }
    if step < 0 {
        return crate::error::value_error("step must be greater than zero");
    }
    let start = (a != 0).then_some(a as i64);
    let end = (b != isize::MAX).then_some(b as i64);
    Ok(Item::Slice(start, end, step as i64))
}

/// `rtorch_core::ops::search::sorted`.
#[pyfunction]
fn _search_sorted(
    rows: &Bound<'_, PyTensor>,
    values: &Bound<'_, PyTensor>,
    right: bool,
) -> PyResult<Option<Py<PyAny>>> {
    let py = rows.py();
    let (rows, values) = (&rows.get().t, &values.get().t);
    let found = crate::runtime::release(py, || rtorch_core::ops::search::sorted(rows, values, right)).or_raise()?;
    found.map(|t| wrap(py, t)).transpose()
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_search_sorted, m)?)
}
