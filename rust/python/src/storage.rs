//! Storages as Python sees them, and what replaces a tensor's storage: `set_`, `resize_`, `.data =`.

use pyo3::prelude::*;
use rtorch_core::storage::Storage;
use rtorch_core::tensor::Parts;
use rtorch_core::{Layout, Result, Tensor};

use crate::error::OrRaise;

/// The untyped memory behind tensors: `tensor.untyped_storage()`.
#[pyclass(frozen, name = "UntypedStorage", module = "rtorch")]
pub struct PyStorage(pub Tensor);

impl PyStorage {
    fn storage(&self) -> Storage {
        self.0.storage()
    }
}

#[pymethods]
impl PyStorage {
    fn nbytes(&self) -> usize {
        self.storage().len()
    }
    fn size(&self) -> usize {
        self.storage().len()
    }
    fn __len__(&self) -> usize {
        self.storage().len()
    }
    fn element_size(&self) -> usize {
        1
    }
    fn data_ptr(&self) -> PyResult<usize> {
        let p = self.0.parts();
        let whole = Tensor::from_parts(Parts { layout: Layout { offset: 0, ..p.layout.clone() }, ..p });
        whole.data_ptr().or_raise()
    }
    #[getter]
    fn device(&self) -> crate::device::PyDevice {
        crate::device::PyDevice::of(self.storage().device())
    }
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<PyStorage>().is_ok_and(|o| o.get().storage().same(&self.storage()))
    }
    fn __hash__(&self) -> usize {
        self.storage().id()
    }
    #[getter]
    fn _cdata(&self) -> usize {
        self.storage().id()
    }
}

/// `resize_`: the sizes of a tensor changed in place, its memory grown where it is too small.
pub fn resize(t: &Tensor, shape: &[usize]) -> Result<()> {
    let p = t.parts();
    let layout = Layout { offset: p.layout.offset, ..Layout::contiguous(shape) };
    let need = rtorch_ir::layout::checked_numel(shape)?
        .checked_add(layout.offset)
        .and_then(|n| n.checked_mul(p.dtype.size()))
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| {
            rtorch_core::Error::runtime(format!("Storage size calculation overflowed with sizes={shape:?}"))
        })?;
    if need > p.storage.len() {
        let have = p.storage.len() / p.dtype.size();
        let grown = rtorch_core::ops::factory::zeros(&[need / p.dtype.size()], p.dtype, p.storage.device())?;
        if have > 0 {
            let _off = rtorch_core::autograd::mode::Guard::new(false);
            let old = Tensor::from_parts(Parts { layout: Layout::contiguous(&[have]), ..p.clone() });
            let part = rtorch_core::ops::shape::narrow(&grown, 0, 0, have as i64)?;
            rtorch_core::inplace::copy_(&part, &old)?;
        }
        grown.force()?;
        p.storage.set_value(grown.storage().value(), need);
    }
    t.set_parts(Parts { layout, ..p });
    Ok(())
}

/// `Tensor.set_`: the memory of another tensor or storage, with sizes of its own.
pub fn set(py: Python<'_>, a: &crate::parse::Args) -> PyResult<Py<PyAny>> {
    let t = a.t(0);
    let source = match a.overload {
        0 => Tensor::empty(&[0], t.dtype(), t.device()).or_raise()?,
        1 | 2 => a.t(1).clone(),
        _ => match a.obj(1).bind(py).cast::<PyStorage>() {
            Ok(s) => s.get().0.clone(),
            Err(_) => return crate::error::type_error("set_(): argument 'source' must be a Tensor or a storage"),
        },
    };
    let p = source.parts();
    let dtype = if a.overload < 3 { p.dtype } else { t.dtype() };
    let layout = match a.overload {
        2 | 4 => {
            let shape = rtorch_core::ops::factory::checked_shape(a.ints(3)).or_raise()?;
            let strides = match a.ints(4) {
                [] => rtorch_ir::layout::contiguous_strides(&shape),
                given => given.iter().map(|&s| s as isize).collect(),
            };
            if strides.len() != shape.len() || a.i(2) < 0 {
                return crate::error::runtime_error("set_: sizes, strides and offset do not fit each other");
            }
            Layout { shape, strides, offset: a.i(2) as usize }
        }
        3 => Layout::contiguous(&[p.storage.len() / dtype.size()]),
        _ => p.layout.clone(),
    };
    let room = p.storage.len() / dtype.size();
    if layout.extent().is_some_and(|e| e.1 > room) {
        return crate::error::runtime_error(format!(
            "setStorage: sizes {:?} are out of bounds for storage of size {}",
            layout.shape.as_slice(),
            p.storage.len()
        ));
    }
    t.set_parts(Parts { dtype, layout, ..p });
    t.version().bump();
    crate::tensor::wrap(py, t.clone())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyStorage>()
}
