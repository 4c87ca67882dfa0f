//! Attributes of Tensor: what it is, where it lies, its place in the graph, and the way of its values to Python.
//! Operators stand in `tensor.rs` (the number protocol) and `ops/` (by name).

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use rtorch_core::Tensor;
use rtorch_core::ops::shape;
use rtorch_core::tensor::{Parts, Version};

use crate::autograd::{self, Handle};
use crate::device::PyDevice;
use crate::dtype::{self, MemoryFormat, PyDType, PyLayout, PyMemoryFormat};
use crate::error::OrRaise;
use crate::tensor::{PyTensor, wrap, wrap_opt};
use crate::{convert, numpy, size, tensor};

type Me<'a, 'py> = &'a Bound<'py, PyTensor>;
type Answer = PyResult<Py<PyAny>>;

fn one_of(list: &[i64], dim: Option<i64>) -> PyResult<Option<i64>> {
    let Some(d) = dim else { return Ok(None) };
    if list.is_empty() {
        return Err(pyo3::exceptions::PyIndexError::new_err(format!(
            "Dimension specified as {d} but tensor has no dimensions"
        )));
    }
    Ok(Some(list[rtorch_ir::layout::normalize_dim(d, list.len()).or_raise()?]))
}

const NO_GRAD_OF_RESULTS: &std::ffi::CStr = c"The .grad attribute of a Tensor that is not a leaf Tensor is being \
    accessed. Its .grad attribute won't be populated during autograd.backward(). If you indeed want the .grad field to \
    be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor \
    by mistake, make sure you access the leaf Tensor instead.";

#[pymethods]
impl PyTensor {
    // ---- sizes

    #[getter]
    fn shape(slf: Me) -> Answer {
        slf.get().t.with(|p| size::make(slf.py(), &p.layout.shape))
    }
    #[pyo3(signature = (dim = None))]
    fn size(slf: Me, dim: Option<i64>) -> Answer {
        let py = slf.py();
        let shape = slf.get().t.shape();
        let list: Vec<i64> = shape.iter().map(|&s| s as i64).collect();
        match one_of(&list, dim)? {
            None => size::make(py, &shape),
            Some(n) => Ok(n.into_pyobject(py)?.into_any().unbind()),
        }
    }
    #[pyo3(signature = (dim = None))]
    fn stride(slf: Me, dim: Option<i64>) -> Answer {
        let py = slf.py();
        let list: Vec<i64> = slf.get().t.with(|p| p.layout.strides.iter().map(|&s| s as i64).collect());
        match one_of(&list, dim)? {
            None => Ok(PyTuple::new(py, list)?.into_any().unbind()),
            Some(n) => Ok(n.into_pyobject(py)?.into_any().unbind()),
        }
    }
    fn storage_offset(&self) -> usize {
        self.t.with(|p| p.layout.offset)
    }
    fn dim(&self) -> usize {
        self.t.ndim()
    }
    #[getter]
    fn ndim(&self) -> usize {
        self.t.ndim()
    }
    fn ndimension(&self) -> usize {
        self.t.ndim()
    }
    fn numel(&self) -> usize {
        self.t.numel()
    }
    fn nelement(&self) -> usize {
        self.t.numel()
    }
    fn element_size(&self) -> usize {
        self.t.dtype().size()
    }
    #[getter]
    fn itemsize(&self) -> usize {
        self.t.dtype().size()
    }
    #[getter]
    fn nbytes(&self) -> usize {
        self.t.numel() * self.t.dtype().size()
    }
    #[pyo3(signature = (memory_format = None))]
    fn is_contiguous(&self, memory_format: Option<&PyMemoryFormat>) -> bool {
        match memory_format.map_or(MemoryFormat::Contiguous, |m| m.0) {
            MemoryFormat::Contiguous | MemoryFormat::Preserve => self.t.is_contiguous(),
            MemoryFormat::ChannelsLast => self.t.with(|p| p.layout.ndim() == 4 && p.layout.is_channels_last()),
            MemoryFormat::ChannelsLast3d => self.t.with(|p| p.layout.ndim() == 5 && p.layout.is_channels_last()),
        }
    }
    fn data_ptr(slf: Me) -> PyResult<usize> {
        let t = &slf.get().t;
        let simple = !t.dtype().is_complex() && !t.with(|p| p.storage.has_readers());
        match t.ready_ptr().filter(|_| simple) {
            Some(p) => Ok(p),
            None => crate::runtime::release(slf.py(), || t.told_ptr()).or_raise(),
        }
    }
    fn untyped_storage(&self) -> crate::storage::PyStorage {
        crate::storage::PyStorage(self.t.detach())
    }

    // ---- kind

    #[getter]
    fn dtype(slf: Me) -> PyResult<Py<PyDType>> {
        dtype::object(slf.py(), slf.get().t.dtype())
    }
    #[getter]
    fn device(&self) -> PyDevice {
        PyDevice::of(self.t.device())
    }
    #[getter]
    fn layout(slf: Me) -> PyResult<Py<PyLayout>> {
        dtype::strided(slf.py())
    }
    fn is_floating_point(&self) -> bool {
        self.t.dtype().is_float()
    }
    fn is_complex(&self) -> bool {
        self.t.dtype().is_complex()
    }
    fn is_signed(&self) -> bool {
        self.t.dtype().is_signed()
    }
    fn is_inference(&self) -> bool {
        self.t.is_inference()
    }
    #[getter]
    fn is_cpu(&self) -> bool {
        self.t.device().is_cpu()
    }
    #[getter]
    fn is_wgpu(&self) -> bool {
        matches!(self.t.device(), rtorch_core::Device::Wgpu(_))
    }
    #[getter]
    fn is_cuda(&self) -> bool {
        false
    }
    #[getter]
    fn is_sparse(&self) -> bool {
        false
    }
    #[getter]
    fn is_quantized(&self) -> bool {
        false
    }
    #[getter]
    fn is_meta(&self) -> bool {
        self.t.device().is_meta()
    }
    #[getter]
    fn is_mkldnn(&self) -> bool {
        false
    }
    #[getter]
    fn is_nested(&self) -> bool {
        false
    }
    fn is_conj(&self) -> bool {
        rtorch_core::ops::complex::is_conj(&self.t)
    }
    fn is_neg(&self) -> bool {
        false
    }
    #[getter]
    fn names<'py>(slf: Me<'_, 'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(slf.py(), (0..slf.get().t.ndim()).map(|_| slf.py().None()))
    }
    fn has_names(&self) -> bool {
        false
    }
    fn is_set_to(&self, other: &PyTensor) -> bool {
        let (a, b) = (self.t.parts(), other.t.parts());
        a.storage.same(&b.storage) && a.layout == b.layout && a.dtype == b.dtype
    }

    // ---- values

    fn item(slf: Me) -> Answer {
        let t = &slf.get().t;
        if t.numel() != 1 {
            return Err(PyRuntimeError::new_err(format!(
                "a Tensor with {} elements cannot be converted to Scalar",
                t.numel()
            )));
        }
        convert::scalar_to_py(slf.py(), convert::item(slf.py(), t)?)
    }
    fn tolist(slf: Me) -> Answer {
        convert::tolist(slf.py(), &slf.get().t)
    }
    /// The elements in row-major order (pickling).
    fn _to_bytes<'py>(slf: Me<'_, 'py>) -> PyResult<Bound<'py, PyBytes>> {
        let t = &slf.get().t;
        let bytes = crate::runtime::release(slf.py(), || t.to_bytes()).or_raise()?;
        Ok(PyBytes::new(slf.py(), &bytes))
    }
    #[pyo3(signature = (*, force = false))]
    fn numpy(slf: Me, force: bool) -> Answer {
        numpy::numpy(slf.py(), &slf.get().t, force)
    }
    #[pyo3(signature = (dtype = None, *, copy = None))]
    fn __array__(slf: Me, dtype: Option<Bound<'_, PyAny>>, copy: Option<bool>) -> Answer {
        let py = slf.py();
        let array = numpy::numpy(py, &slf.get().t, false)?;
        let array = array.bind(py);
        let same = match &dtype {
            None => true,
            Some(d) => array.getattr("dtype")?.eq(py.import("numpy")?.getattr("dtype")?.call1((d,))?)?,
        };
        let out = match (dtype, same) {
            (Some(d), false) => array.call_method1("astype", (d,))?,
            _ if copy == Some(true) => array.call_method0("copy")?,
            _ => array.clone(),
        };
        Ok(out.unbind())
    }

    // ---- views

    #[getter(T)]
    fn transposed(slf: Me) -> Answer {
        let t = &slf.get().t;
        let dims: Vec<i64> = (0..t.ndim() as i64).rev().collect();
        wrap(slf.py(), shape::permute(t, &dims).or_raise()?)
    }
    #[getter(mT)]
    fn matrix_transposed(slf: Me) -> Answer {
        let t = &slf.get().t;
        if t.ndim() == 1 {
            return Err(PyRuntimeError::new_err(format!(
                "tensor.mT is only supported on matrices or batches of matrices. Got {}-D tensor.",
                t.ndim()
            )));
        }
        wrap(slf.py(), shape::mt(t).or_raise()?)
    }
    #[getter(H)]
    fn adjoint_of_matrix(slf: Me) -> Answer {
        let t = &slf.get().t;
        if t.ndim() != 2 && t.ndim() != 0 {
            return Err(PyRuntimeError::new_err(format!(
                "tensor.H is only supported on matrices (2-D tensors). Got {}-D tensor.",
                t.ndim()
            )));
        }
        if t.ndim() == 0 {
            return wrap(slf.py(), rtorch_core::ops::complex::conj_view(t).or_raise()?);
        }
        wrap(slf.py(), rtorch_core::ops::complex::adjoint(t).or_raise()?)
    }
    #[getter(mH)]
    fn adjoint_of_matrices(slf: Me) -> Answer {
        let t = &slf.get().t;
        if t.ndim() == 1 {
            return Err(PyRuntimeError::new_err(format!(
                "tensor.mH is only supported on matrices or batches of matrices. Got {}-D tensor.",
                t.ndim()
            )));
        }
        wrap(slf.py(), rtorch_core::ops::complex::adjoint(t).or_raise()?)
    }
    fn detach(slf: Me) -> Answer {
        let t = &slf.get().t;
        wrap(slf.py(), t.detach())
    }
    fn detach_(slf: Me) -> PyResult<Py<PyAny>> {
        let t = &slf.get().t;
        if t.view_of().is_some() && t.requires_grad() {
            return Err(PyRuntimeError::new_err(
                "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) \
                 for training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and \
                 hence detach_() cannot be called on these gradients. To fix this error, please refer to the \
                 Optimizer.zero_grad() function in torch/optim/optimizer.py as a solution.",
            ));
        }
        if t.is_tracked() {
            let old = t.with_meta(|m| {
                m.requires_grad = false;
                m.grad_fn.take()
            });
            drop(old);
        }
        Ok(slf.clone().into_any().unbind())
    }
    #[getter]
    fn get_data(slf: Me) -> Answer {
        let p = slf.get().t.parts();
        // a version of its own: writes through `.data` are not seen by the graph
        wrap(slf.py(), Tensor::from_parts(Parts { version: Version::fresh(), ..p }))
    }
    #[setter]
    fn set_data(slf: Me, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Some(v) = tensor::get(value) else {
            return Err(PyTypeError::new_err(format!(
                "Variable data has to be a tensor, but got {}",
                value.get_type().name()?
            )));
        };
        let t = &slf.get().t;
        if t.requires_grad() && !v.dtype().is_differentiable() {
            return Err(PyRuntimeError::new_err(
                "data set to a tensor that requires gradients must be floating point or complex dtype",
            ));
        }
        let version = Version::kept(t.version() + 1);
        t.set_parts(Parts { version, ..v.parts() });
        Ok(())
    }

    // ---- autograd

    #[getter]
    fn get_requires_grad(&self) -> bool {
        self.t.requires_grad()
    }
    #[setter]
    fn set_requires_grad(&self, on: bool) -> PyResult<()> {
        self.t.set_requires_grad(on).or_raise()
    }
    #[pyo3(signature = (requires_grad = true))]
    fn requires_grad_(slf: Me, requires_grad: bool) -> PyResult<Py<PyAny>> {
        slf.get().t.set_requires_grad(requires_grad).or_raise()?;
        Ok(slf.clone().into_any().unbind())
    }
    #[getter]
    fn is_leaf(&self) -> bool {
        self.t.is_leaf()
    }
    #[getter]
    fn grad_fn(slf: Me) -> Answer {
        match slf.get().t.grad_fn() {
            Some(e) => autograd::wrap_node(slf.py(), &e.node),
            None => Ok(slf.py().None()),
        }
    }
    #[getter]
    fn output_nr(&self) -> usize {
        self.t.grad_fn().map_or(0, |e| e.output)
    }
    #[getter]
    fn _version(&self) -> PyResult<u64> {
        if self.t.is_inference() {
            return Err(PyRuntimeError::new_err("Inference tensors do not track version counter."));
        }
        Ok(self.t.version())
    }
    fn _bump_version(&self) {
        self.t.bump_version();
    }
    #[getter]
    fn _base(slf: Me) -> Answer {
        wrap_opt(slf.py(), slf.get().t.view_of().map(|v| v.base().clone()))
    }
    fn _is_view(&self) -> bool {
        self.t.view_of().is_some()
    }
    #[getter]
    fn get_grad(slf: Me) -> Answer {
        if let Some(grad) = tensor::grad_object(slf)? {
            return Ok(grad);
        }
        let me = slf.get();
        if !me.t.is_leaf() && !me.retains_grad() {
            let category = slf.py().get_type::<pyo3::exceptions::PyUserWarning>();
            PyErr::warn(slf.py(), &category, NO_GRAD_OF_RESULTS, 1)?;
        }
        Ok(slf.py().None())
    }
    #[setter]
    fn set_grad(slf: Me, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let me = slf.get();
        if value.is_none() {
            me.t.set_grad(None);
            let old = me.grad.lock().take();
            drop(old);
            return Ok(());
        }
        let Some(g) = tensor::get(value) else {
            return Err(PyTypeError::new_err(format!(
                "assigned grad expected to be a Tensor or None but got grad of type {}",
                value.get_type().name()?
            )));
        };
        check_assigned_grad(&me.t, g)?;
        me.t.set_grad(Some(g.clone()));
        let old = me.grad.lock().replace(value.clone().unbind());
        drop(old);
        Ok(())
    }
    #[deleter]
    fn delete_grad(slf: Me) {
        let me = slf.get();
        me.t.set_grad(None);
        let old = me.grad.lock().take();
        drop(old);
    }
    fn retain_grad(&self) -> PyResult<()> {
        let t = &self.t;
        if !t.requires_grad() {
            return Err(PyRuntimeError::new_err("can't retain_grad on Tensor that has requires_grad=False"));
        }
        let Some(e) = t.grad_fn() else { return Ok(()) };
        if !t.with_meta(|m| std::mem::replace(&mut m.retains_grad, true)) {
            e.node.extra().retain.push((e.output, t.downgrade()));
        }
        Ok(())
    }
    /// The dtype of the gradient: the leaf's own unless set; None takes any.
    #[getter]
    fn grad_dtype(&self, py: Python<'_>) -> PyResult<Option<Py<crate::dtype::PyDType>>> {
        if !self.t.is_leaf() {
            return Err(PyRuntimeError::new_err("grad_dtype can only be accessed on leaf tensors."));
        }
        let set = self.t.meta(|m| m.grad_dtype).flatten();
        set.unwrap_or(Some(self.t.dtype())).map(|d| crate::dtype::object(py, d)).transpose()
    }
    #[setter]
    fn set_grad_dtype(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.t.is_leaf() {
            return Err(PyRuntimeError::new_err("grad_dtype can only be set on leaf tensors."));
        }
        let dtype = match value.is_none() {
            true => None,
            false => Some(value.cast::<crate::dtype::PyDType>().map(|d| d.get().0).map_err(|_| {
                let kind = value.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string());
                PyRuntimeError::new_err(format!("grad_dtype must be a torch.dtype or None, but got {kind}"))
            })?),
        };
        if let (Some(d), Some(g)) = (dtype, self.t.grad().filter(|g| Some(g.dtype()) != dtype)) {
            return Err(PyRuntimeError::new_err(format!(
                "Cannot set grad_dtype to '{}' because there is already a gradient with dtype '{}'. Please clear the \
                 gradient (.grad = None) before changing grad_dtype.",
                d.cpp_name(),
                g.dtype().cpp_name()
            )));
        }
        self.t.with_meta(|m| m.grad_dtype = Some(dtype));
        Ok(())
    }
    #[getter]
    fn retains_grad(&self) -> bool {
        self.t.meta(|m| m.retains_grad).unwrap_or(false)
    }
    fn register_hook(&self, hook: Py<PyAny>) -> PyResult<Handle> {
        autograd::register_hook(&self.t, hook)
    }
    fn register_post_accumulate_grad_hook(&self, hook: Py<PyAny>) -> PyResult<Handle> {
        autograd::register_post_accumulate(&self.t, hook)
    }
}

fn check_assigned_grad(t: &Tensor, g: &Tensor) -> PyResult<()> {
    if g.same(t) {
        return Err(PyRuntimeError::new_err("can't assign Variable as its own grad"));
    }
    if let Some(want) = t.meta(|m| m.grad_dtype).flatten().unwrap_or(Some(t.dtype())).filter(|d| *d != g.dtype()) {
        return Err(PyRuntimeError::new_err(format!(
            "attempting to assign a gradient with dtype '{}' to a tensor with grad_dtype '{}'. The gradient must match \
             the tensor's grad_dtype (defaults to the tensor's dtype).",
            g.dtype().cpp_name(),
            want.cpp_name()
        )));
    }
    if g.device() != t.device() {
        return Err(PyRuntimeError::new_err("assigned grad has data located on a different device"));
    }
    if g.shape() != t.shape() {
        return Err(PyRuntimeError::new_err("assigned grad has data of a different size"));
    }
    Ok(())
}
