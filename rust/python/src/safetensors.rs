//! `rtorch._C._safetensors_header` and `_safetensors_save`: the format's header and writer for
//! `rtorch.utils.safetensors`.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::OrRaise;

type Entry = (String, Option<Py<crate::dtype::PyDType>>, String, Vec<usize>, usize, usize);

/// (strings beside the tensors, [(name, dtype or None, the format's name of it, shape, start, end)])
#[pyfunction]
fn _safetensors_header(
    py: Python<'_>,
    header: &[u8],
    data_len: usize,
) -> PyResult<(Option<HashMap<String, String>>, Vec<Entry>)> {
    let (info, entries) = rtorch_core::safetensors::header(header, data_len).or_raise()?;
    let entries = entries.into_iter().map(|e| {
        let dtype = e.dtype.map(|d| crate::dtype::object(py, d)).transpose()?;
        Ok((e.name, dtype, e.type_name, e.shape, e.start, e.end))
    });
    Ok((info, entries.collect::<PyResult<_>>()?))
}

/// Writes (name, tensor) pairs to `path`; the file's bytes where there is no path.
#[pyfunction]
#[pyo3(signature = (tensors, info, path = None))]
fn _safetensors_save<'py>(
    py: Python<'py>,
    tensors: Vec<(String, Bound<'py, crate::tensor::PyTensor>)>,
    info: Option<HashMap<String, String>>,
    path: Option<PathBuf>,
) -> PyResult<Bound<'py, PyBytes>> {
    let tensors: Vec<_> = tensors.into_iter().map(|(name, t)| (name, t.get().t.clone())).collect();
    let bytes =
        crate::runtime::release(py, || rtorch_core::safetensors::save(&tensors, info, path.as_deref())).or_raise()?;
    Ok(PyBytes::new(py, &bytes))
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_safetensors_header, m)?)?;
    m.add_function(wrap_pyfunction!(_safetensors_save, m)?)
}
