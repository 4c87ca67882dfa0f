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

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyStorage>()
}
