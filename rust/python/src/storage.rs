//! Storages as Python sees them, and what replaces a tensor's storage: `set_`, `resize_`, `.data =`.

use pyo3::prelude::*;
use rtorch_core::ops::shape;
use rtorch_core::storage::Storage;
use rtorch_core::tensor::{Parts, Version};
use rtorch_core::{DType, Layout, Result, Tensor};

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
    /// `UntypedStorage()`, `UntypedStorage(nbytes)` (zeros), `UntypedStorage([1, 2, 3])`.
    #[new]
    #[pyo3(signature = (data = None, *, device = None))]
    fn new(data: Option<&Bound<'_, PyAny>>, device: Option<&Bound<'_, PyAny>>) -> PyResult<PyStorage> {
        let device = match device {
            Some(d) => crate::device::extract(d)?.unwrap_or_default(),
            None => rtorch_core::Device::Cpu,
        };
        let n = match data {
            None => Some(0),
            Some(d) => crate::convert::int(d)?,
        };
        let made = match (n, data) {
            (None, Some(d)) => crate::construct::value(d, Some(DType::U8), device)?,
            (n, _) => {
                let shape = rtorch_core::ops::factory::checked_shape(&[n.unwrap_or(0)]).or_raise()?;
                rtorch_core::ops::factory::zeros(&shape, DType::U8, device).or_raise()?
            }
        };
        Ok(PyStorage(made))
    }
    /// A tensor over this memory: sizes, strides and offset in elements of `dtype`.
    fn _tensor(
        &self,
        py: Python<'_>,
        dtype: &Bound<'_, crate::dtype::PyDType>,
        offset: usize,
        size: Vec<usize>,
        stride: Vec<usize>,
    ) -> PyResult<Py<PyAny>> {
        let (storage, dtype) = (self.storage(), dtype.get().0);
        if size.len() != stride.len() {
            return crate::error::runtime_error("a tensor has as many strides as sizes");
        }
        let end = checked_end(offset, &size, &stride).and_then(|n| n.checked_mul(dtype.size()));
        if end.is_none_or(|n| n > storage.len()) {
            return crate::error::runtime_error(format!(
                "setStorage: sizes {size:?}, strides {stride:?}, storage offset {offset} are out of bounds for storage \
                 of size {}",
                storage.len()
            ));
        }
        let strides = stride.iter().map(|&s| s as isize).collect();
        let layout = Layout { shape: size.into_iter().collect(), strides, offset };
        let version = Version::OfStorage;
        crate::tensor::wrap(py, Tensor::from_parts(Parts { dtype, layout, storage, version, batch: None }))
    }
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

/// One past the last element that a tensor touches; None where that, or a step to it, overflows.
fn checked_end(offset: usize, size: &[usize], stride: &[usize]) -> Option<usize> {
    let most = isize::MAX as usize;
    size.iter().try_fold(1usize, |n, &s| n.checked_mul(s)).filter(|&n| n <= most)?;
    if size.contains(&0) {
        return Some(offset).filter(|&o| o <= most && stride.iter().all(|&s| s <= most));
    }
    let mut last = offset;
    for (&n, &step) in size.iter().zip(stride) {
        // a step that is never taken must be a number all the same
        last = last.checked_add((n - 1).checked_mul(step)?).filter(|&l| l < most && step <= most)?;
    }
    Some(last + 1)
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
        if rtorch_core::shared::mapping(&p.storage).is_some() {
            return Err(rtorch_core::Error::runtime("Trying to resize storage that is not resizable"));
        }
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
        _ => match a.opt_obj(1).map(|o| o.bind(py).cast::<PyStorage>()) {
            Some(Ok(s)) => s.get().0.clone(),
            None | Some(Err(_)) => {
                return crate::error::type_error("set_(): argument 'source' must be a Tensor or a storage");
            }
        },
    };
    let p = source.parts();
    let dtype = if a.overload < 3 { p.dtype } else { t.dtype() };
    let layout = match a.overload {
        2 | 4 => {
            let shape = rtorch_core::ops::factory::checked_shape(a.ints(3)).or_raise()?;
            let rows: Vec<i64> = rtorch_ir::layout::contiguous_strides(&shape).iter().map(|&s| s as i64).collect();
            let strides = if a.ints(4).is_empty() { &rows } else { a.ints(4) };
            shape::checked_window("set_", a.ints(3), strides, a.i(2), dtype, p.storage.len()).or_raise()?
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
    t.bump_version();
    crate::tensor::wrap(py, t.clone())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyStorage>()
}
