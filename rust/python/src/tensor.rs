//! `rtorch.Tensor`: the Python object around a core tensor, its identity, and its operators. Attributes stand in
//! `attrs.rs`, named methods in `ops/`, compositions in Python.

use std::sync::atomic::{AtomicPtr, Ordering};

use parking_lot::Mutex;
use pyo3::basic::CompareOp;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyTuple, PyType};
use pyo3::{PyTraverseError, PyVisit};
use rtorch_core::ops::{Arg, binary, unary};
use rtorch_core::{Device, Scalar, ScalarOp, Tensor};

use crate::convert;
use crate::error::{OrRaise, guarded};
use crate::{overrides, registry};

/// A multi-dimensional array of numbers of one dtype, on one device, that records what is computed from it.
#[pyclass(frozen, name = "Tensor", module = "rtorch", subclass, dict, weakref)]
pub struct PyTensor {
    pub t: Tensor,
    /// This object, to clear the core's slot when it dies.
    me: AtomicPtr<()>,
    /// Keeps the Python object of `.grad`, with its attributes, alive.
    pub grad: Mutex<Option<Py<PyAny>>>,
}

thread_local! {
    /// What the next `Tensor.__new__` of this thread wraps (`_make_subclass`).
    static PENDING: std::cell::RefCell<Option<Tensor>> = const { std::cell::RefCell::new(None) };
}

/// From this many elements on, an operator runs without the GIL.
pub const DETACH_NUMEL: usize = 16 * 1024;

impl PyTensor {
    fn new(t: Tensor) -> PyTensor {
        PyTensor { t, me: AtomicPtr::default(), grad: Mutex::new(None) }
    }
}

impl Drop for PyTensor {
    fn drop(&mut self) {
        let me = *self.me.get_mut();
        if !me.is_null() {
            // another object may have taken the place while this one was dying; objects die with the GIL held
            let slot = self.t.py();
            if slot.load(Ordering::Relaxed) == me {
                slot.store(std::ptr::null_mut(), Ordering::Relaxed);
            }
        }
    }
}

/// Makes `obj` the Python object of its tensor.
fn claim(obj: &Bound<'_, PyTensor>) {
    let me = obj.as_ptr().cast::<()>();
    let slot = obj.get();
    slot.me.store(me, Ordering::Relaxed);
    slot.t.py().store(me, Ordering::Relaxed);
}

/// The Python object of a tensor: the one it has, or a new one.
#[inline]
pub fn wrap(py: Python<'_>, t: Tensor) -> PyResult<Py<PyAny>> {
    let have = t.py().load(Ordering::Relaxed).cast::<ffi::PyObject>();
    if !have.is_null() {
        // SAFETY: the slot is cleared when the object dies, with the GIL held, so that the pointer is to an object; one
        // whose count is 0 is being destroyed and is not touched again.
        unsafe {
            if ffi::Py_REFCNT(have) > 0 {
                return Ok(Bound::from_borrowed_ptr(py, have).unbind());
            }
        }
    }
    let Some(made) = LAYOUT.get(py) else {
        // the first object of the process shows where objects keep their Rust part
        let obj = Bound::new(py, PyTensor::new(t))?;
        claim(&obj);
        learn_layout(&obj)?;
        return Ok(obj.into_any().unbind());
    };
    // SAFETY: the allocator answers zeroed memory of the class's size with a reference of ours. What PyO3 keeps in an
    // object beside the Rust value is the slots of `__dict__` and weak references, whose start is null.
    // (`object.__new__`,
    // which PyO3 calls, makes a dict for every object at once; here it is made when an attribute is set.)
    unsafe {
        let raw = (made.alloc)(made.class.as_ptr().cast(), 0);
        if raw.is_null() {
            return Err(PyErr::fetch(py));
        }
        t.py().store(raw.cast(), Ordering::Relaxed);
        let value = PyTensor { t, me: AtomicPtr::new(raw.cast()), grad: Mutex::new(None) };
        std::ptr::write(raw.cast::<u8>().add(made.offset).cast::<PyTensor>(), value);
        Ok(Bound::from_owned_ptr(py, raw).unbind())
    }
}

/// How the class's objects are allocated, and where the Rust value lies in them.
struct ObjectLayout {
    class: Py<PyType>,
    alloc: ffi::allocfunc,
    offset: usize,
}

static LAYOUT: PyOnceLock<ObjectLayout> = PyOnceLock::new();

fn learn_layout(obj: &Bound<'_, PyTensor>) -> PyResult<()> {
    let py = obj.py();
    let class = py.get_type::<PyTensor>();
    // SAFETY: a heap type's slots may be read.
    let slot = unsafe { ffi::PyType_GetSlot(class.as_type_ptr(), ffi::Py_tp_alloc) };
    if slot.is_null() {
        return crate::error::type_error("Tensor has no allocator");
    }
    // SAFETY: that slot holds an allocfunc.
    let alloc = unsafe { std::mem::transmute::<*mut std::ffi::c_void, ffi::allocfunc>(slot) };
    let offset = std::ptr::from_ref(obj.get()) as usize - obj.as_ptr() as usize;
    let _ = LAYOUT.set(py, ObjectLayout { class: class.unbind(), alloc, offset });
    Ok(())
}

/// The Python object of `.grad`, which lives as long as the gradient is this one.
pub fn grad_object(t: &Bound<'_, PyTensor>) -> PyResult<Option<Py<PyAny>>> {
    let me = t.get();
    let Some(g) = me.t.grad() else { return Ok(None) };
    let obj = wrap(t.py(), g)?;
    let old = me.grad.lock().replace(obj.clone_ref(t.py()));
    drop(old);
    Ok(Some(obj))
}

pub fn wrap_opt(py: Python<'_>, t: Option<Tensor>) -> PyResult<Py<PyAny>> {
    match t {
        None => Ok(py.None()),
        Some(t) => wrap(py, t),
    }
}

/// An object of a subclass around a tensor.
pub fn wrap_as(cls: &Bound<'_, PyType>, t: Tensor) -> PyResult<Py<PyAny>> {
    let py = cls.py();
    PENDING.with(|p| *p.borrow_mut() = Some(t));
    let new = py.get_type::<PyTensor>().getattr(pyo3::intern!(py, "__new__"))?;
    let made = new.call1((cls,));
    PENDING.with(|p| p.borrow_mut().take());
    let obj = made?.cast_into::<PyTensor>()?;
    claim(&obj);
    Ok(obj.into_any().unbind())
}

/// The tensor in an object, if it is one.
#[inline]
pub fn get<'a>(obj: &'a Bound<'_, PyAny>) -> Option<&'a Tensor> {
    if is_exact(obj) || overrides::is_plain(obj) {
        // SAFETY: as in `fast_arg`.
        return Some(unsafe { &obj.cast_unchecked::<PyTensor>().get().t });
    }
    obj.cast::<PyTensor>().ok().map(|b| &b.get().t)
}

/// The class, which lives as long as the process; null until the module is made.
static CLASS: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the class known to `is_exact`.
pub fn install(py: Python<'_>) {
    CLASS.store(py.get_type::<PyTensor>().as_type_ptr(), Ordering::Relaxed);
}

/// Exactly a Tensor (not of a subclass, which might override things)?
#[inline]
pub fn is_exact(obj: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object has a type.
    unsafe { ffi::Py_TYPE(obj.as_ptr()) == CLASS.load(Ordering::Relaxed) }
}

/// An argument of an operator that needs no general parser.
#[inline]
pub fn fast_arg<'a>(obj: &'a Bound<'_, PyAny>) -> Option<Arg<'a>> {
    if is_exact(obj) || overrides::is_plain(obj) {
        // SAFETY: an exact Tensor is a PyTensor, and so is an object of the types that `is_plain` knows.
        return Some(Arg::T(unsafe { &obj.cast_unchecked::<PyTensor>().get().t }));
    }
    if obj.is_exact_instance_of::<PyFloat>() {
        return obj.extract::<f64>().ok().map(|f| Arg::S(Scalar::Float(f)));
    }
    if obj.is_exact_instance_of::<PyInt>() {
        return obj.extract::<i64>().ok().map(|i| Arg::S(Scalar::Int(i)));
    }
    None
}

fn numel(a: Arg) -> usize {
    match a {
        Arg::T(t) => t.numel(),
        Arg::S(_) => 0,
    }
}

/// `a OP b` where at least one is a tensor; NotImplemented where the other is nothing an operator takes.
fn operator(name: &'static str, op: ScalarOp, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = a.py();
    if !overrides::in_mode()
        && let (Some(x), Some(y)) = (fast_arg(a), fast_arg(b))
    {
        let small = numel(x).max(numel(y)) < DETACH_NUMEL;
        let run = || {
            if small {
                binary(op, x, y).or_raise()
            } else {
                crate::runtime::release(py, || binary(op, x, y)).or_raise()
            }
        };
        return wrap(py, guarded(run)?);
    }
    general(name, a, b)
}

fn tensor_like_array(x: &Bound<'_, PyAny>) -> bool {
    get(x).is_none() && convert::is_numpy(x) && crate::numpy::is_array(x)
}

/// An operator through the registry, with its `__torch_function__` and conversions.
fn general(name: &str, a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = a.py();
    // an array joins as the tensor over its memory
    for (x, left) in [(a, true), (b, false)] {
        if tensor_like_array(x) {
            let t = wrap(py, crate::numpy::from_array(x, false)?)?;
            let (p, q) = if left { (t.as_ptr(), b.as_ptr()) } else { (a.as_ptr(), t.as_ptr()) };
            return registry::call(py, name, &[p, q]);
        }
    }
    match registry::call(py, name, &[a.as_ptr(), b.as_ptr()]) {
        Err(e) if e.is_instance_of::<PyTypeError>(py) => Ok(py.NotImplemented()),
        r => r,
    }
}

fn inplace_operator(
    name: &'static str,
    op: Option<ScalarOp>,
    a: &Bound<'_, PyTensor>,
    b: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = a.py();
    let any = a.as_any();
    if let Some(op) = op
        && (is_exact(any) || overrides::is_plain(any))
        && !overrides::in_mode()
        && let Some(y) = fast_arg(b)
    {
        let t = &a.get().t;
        let go = || rtorch_core::ops::pointwise::binary_into(op, Arg::T(t), y, Some(t));
        let run = || if t.numel() < DETACH_NUMEL { go() } else { crate::runtime::release(py, go) }.or_raise();
        return guarded(run).map(|_| ());
    }
    registry::call(py, name, &[any.as_ptr(), b.as_ptr()]).map(|_| ())
}

fn one(name: &'static str, op: ScalarOp, a: &Bound<'_, PyTensor>) -> PyResult<Py<PyAny>> {
    let py = a.py();
    if overrides::in_mode() || !is_exact(a.as_any()) && !overrides::is_plain(a.as_any()) {
        return registry::call(py, name, &[a.as_ptr()]);
    }
    let t = &a.get().t;
    let run = || {
        if t.numel() < DETACH_NUMEL { unary(op, t) } else { crate::runtime::release(py, || unary(op, t)) }.or_raise()
    };
    wrap(py, guarded(run)?)
}

type Obj<'py> = Bound<'py, PyAny>;
type Me<'a, 'py> = &'a Bound<'py, PyTensor>;
type Answer = PyResult<Py<PyAny>>;

#[pymethods]
impl PyTensor {
    #[new]
    #[pyo3(signature = (*args, **kwargs))]
    fn py_new(args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<PyTensor> {
        if let Some(t) = PENDING.with(|p| p.borrow_mut().take()) {
            return Ok(PyTensor::new(t));
        }
        Ok(PyTensor::new(crate::construct::legacy(args, kwargs)?))
    }
    #[pyo3(signature = (*_args, **_kwargs))]
    fn __init__(&self, _args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) {}
    #[staticmethod]
    #[pyo3(signature = (cls, data, require_grad = false))]
    fn _make_subclass(cls: &Bound<'_, PyType>, data: Me, require_grad: bool) -> Answer {
        let t = data.get().t.detach();
        if require_grad {
            t.set_requires_grad(true).or_raise()?;
        }
        wrap_as(cls, t)
    }
    fn as_subclass(slf: Me, cls: &Bound<'_, PyType>) -> Answer {
        wrap_as(cls, rtorch_core::ops::shape::alias(&slf.get().t).or_raise()?)
    }
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Making the object can start a collection (CPython 3.11 allocates its dict first): until it is claimed its
        // memory is all zero, and `t` must not be looked at.
        if self.me.load(Ordering::Relaxed).is_null() {
            return Ok(());
        }
        if let Some(g) = self.grad.try_lock()
            && let Some(o) = g.as_ref()
        {
            visit.call(o)?;
        }
        crate::collect::traverse(&self.t, &visit)
    }
    fn __clear__(&self) {
        let old = self.grad.try_lock().and_then(|mut g| g.take());
        drop(old);
        crate::collect::clear(&self.t);
    }

    fn __add__(slf: Me, o: Obj) -> Answer {
        operator("add", ScalarOp::Add, slf.as_any(), &o)
    }
    fn __radd__(slf: Me, o: Obj) -> Answer {
        operator("add", ScalarOp::Add, slf.as_any(), &o)
    }
    fn __sub__(slf: Me, o: Obj) -> Answer {
        operator("sub", ScalarOp::Sub, slf.as_any(), &o)
    }
    fn __rsub__(slf: Me, o: Obj) -> Answer {
        general("rsub", slf.as_any(), &o)
    }
    fn __mul__(slf: Me, o: Obj) -> Answer {
        operator("mul", ScalarOp::Mul, slf.as_any(), &o)
    }
    fn __rmul__(slf: Me, o: Obj) -> Answer {
        operator("mul", ScalarOp::Mul, slf.as_any(), &o)
    }
    fn __truediv__(slf: Me, o: Obj) -> Answer {
        operator("div", ScalarOp::Div, slf.as_any(), &o)
    }
    fn __rtruediv__(slf: Me, o: Obj) -> Answer {
        let inverse = one("reciprocal", ScalarOp::Reciprocal, slf)?;
        operator("mul", ScalarOp::Mul, inverse.bind(slf.py()), &o)
    }
    fn __floordiv__(slf: Me, o: Obj) -> Answer {
        operator("floor_divide", ScalarOp::FloorDiv, slf.as_any(), &o)
    }
    fn __rfloordiv__(slf: Me, o: Obj) -> Answer {
        operator("floor_divide", ScalarOp::FloorDiv, &o, slf.as_any())
    }
    fn __mod__(slf: Me, o: Obj) -> Answer {
        operator("remainder", ScalarOp::Remainder, slf.as_any(), &o)
    }
    fn __rmod__(slf: Me, o: Obj) -> Answer {
        operator("remainder", ScalarOp::Remainder, &o, slf.as_any())
    }
    fn __pow__(slf: Me, o: Obj, _modulo: Obj) -> Answer {
        general("pow", slf.as_any(), &o)
    }
    fn __rpow__(slf: Me, o: Obj, _modulo: Obj) -> Answer {
        general("pow", &o, slf.as_any())
    }
    fn __matmul__(slf: Me, o: Obj) -> Answer {
        general("matmul", slf.as_any(), &o)
    }
    fn __rmatmul__(slf: Me, o: Obj) -> Answer {
        general("matmul", &o, slf.as_any())
    }
    fn __and__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_and", ScalarOp::BitAnd, slf.as_any(), &o)
    }
    fn __rand__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_and", ScalarOp::BitAnd, slf.as_any(), &o)
    }
    fn __or__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_or", ScalarOp::BitOr, slf.as_any(), &o)
    }
    fn __ror__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_or", ScalarOp::BitOr, slf.as_any(), &o)
    }
    fn __xor__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_xor", ScalarOp::BitXor, slf.as_any(), &o)
    }
    fn __rxor__(slf: Me, o: Obj) -> Answer {
        operator("bitwise_xor", ScalarOp::BitXor, slf.as_any(), &o)
    }
    fn __lshift__(slf: Me, o: Obj) -> Answer {
        general("bitwise_left_shift", slf.as_any(), &o)
    }
    fn __rlshift__(slf: Me, o: Obj) -> Answer {
        general("bitwise_left_shift", &o, slf.as_any())
    }
    fn __rshift__(slf: Me, o: Obj) -> Answer {
        general("bitwise_right_shift", slf.as_any(), &o)
    }
    fn __rrshift__(slf: Me, o: Obj) -> Answer {
        general("bitwise_right_shift", &o, slf.as_any())
    }
    fn __iadd__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("add_", Some(ScalarOp::Add), slf, &o)
    }
    fn __isub__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("sub_", Some(ScalarOp::Sub), slf, &o)
    }
    fn __imul__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("mul_", Some(ScalarOp::Mul), slf, &o)
    }
    fn __itruediv__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("div_", Some(ScalarOp::Div), slf, &o)
    }
    fn __ifloordiv__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("floor_divide_", None, slf, &o)
    }
    fn __imod__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("remainder_", None, slf, &o)
    }
    fn __ipow__(slf: Me, o: Obj, _modulo: Obj) -> PyResult<()> {
        inplace_operator("pow_", None, slf, &o)
    }
    fn __iand__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("bitwise_and_", None, slf, &o)
    }
    fn __ior__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("bitwise_or_", None, slf, &o)
    }
    fn __ixor__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("bitwise_xor_", None, slf, &o)
    }
    fn __ilshift__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("bitwise_left_shift_", None, slf, &o)
    }
    fn __irshift__(slf: Me, o: Obj) -> PyResult<()> {
        inplace_operator("bitwise_right_shift_", None, slf, &o)
    }
    fn __neg__(slf: Me) -> Answer {
        one("neg", ScalarOp::Neg, slf)
    }
    fn __pos__(slf: Me) -> Answer {
        if slf.get().t.dtype() == rtorch_core::DType::Bool {
            return Err(PyRuntimeError::new_err("The `+` operator, on a bool tensor is not supported."));
        }
        Ok(slf.clone().into_any().unbind())
    }
    fn __abs__(slf: Me) -> Answer {
        one("abs", ScalarOp::Abs, slf)
    }
    fn __invert__(slf: Me) -> Answer {
        one("bitwise_not", ScalarOp::BitNot, slf)
    }
    fn __richcmp__(slf: Me, o: Obj, op: CompareOp) -> Answer {
        let (name, op) = match op {
            CompareOp::Lt => ("lt", ScalarOp::Lt),
            CompareOp::Le => ("le", ScalarOp::Le),
            CompareOp::Eq => ("eq", ScalarOp::Eq),
            CompareOp::Ne => ("ne", ScalarOp::Ne),
            CompareOp::Gt => ("gt", ScalarOp::Gt),
            CompareOp::Ge => ("ge", ScalarOp::Ge),
        };
        operator(name, op, slf.as_any(), &o)
    }
    fn __hash__(slf: Me) -> isize {
        // id(self), as in PyTorch
        slf.as_ptr() as isize
    }

    fn __len__(&self) -> PyResult<usize> {
        if self.t.ndim() == 0 {
            return Err(PyTypeError::new_err("len() of a 0-d tensor"));
        }
        Ok(self.t.size(0))
    }
    fn __bool__(slf: Me) -> PyResult<bool> {
        let t = &slf.get().t;
        let n = t.numel();
        if n != 1 {
            let text = if n == 0 { "no values" } else { "more than one value" };
            return crate::error::runtime_error(format!("Boolean value of Tensor with {text} is ambiguous"));
        }
        if rtorch_core::batch::is_batched(t) {
            return crate::error::runtime_error(
                "vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't \
                 support that yet.",
            );
        }
        Ok(convert::item(slf.py(), t)?.is_true())
    }
    fn __float__(slf: Me) -> PyResult<f64> {
        match one_number(slf)? {
            Scalar::Complex(_, im) if im != 0.0 => {
                crate::error::runtime_error("value cannot be converted to type double without overflow")
            }
            s => Ok(s.to_f64()),
        }
    }
    fn __complex__(slf: Me) -> Answer {
        let s = one_number(slf)?;
        convert::scalar_to_py(slf.py(), Scalar::Complex(s.to_f64(), s.imag()))
    }
    fn __int__(slf: Me) -> Answer {
        let py = slf.py();
        let s = one_number(slf)?;
        match s {
            Scalar::Float(_) | Scalar::Complex(..) => Ok(py.get_type::<PyInt>().call1((s.to_f64(),))?.unbind()),
            Scalar::Bool(b) => convert::scalar_to_py(py, Scalar::Int(b.into())),
            Scalar::Int(_) | Scalar::UInt(_) => convert::scalar_to_py(py, s),
        }
    }
    fn __index__(slf: Me) -> PyResult<i64> {
        let t = &slf.get().t;
        if t.numel() != 1 || !t.dtype().is_integral() {
            return Err(PyTypeError::new_err("only integer tensors of a single element can be converted to an index"));
        }
        Ok(convert::item(slf.py(), t)?.to_i64())
    }
    fn __getitem__(slf: Me, key: Obj) -> Answer {
        guarded(|| crate::index::get(slf, &key))
    }
    fn __setitem__(slf: Me, key: Obj, value: Obj) -> PyResult<()> {
        guarded(|| crate::index::set(slf, &key, &value))
    }
    fn __delitem__(&self, _key: Obj) -> PyResult<()> {
        Err(PyTypeError::new_err("Tensor does not support deleting items"))
    }
}

/// The element that `int(t)` and its like convert.
fn one_number(slf: &Bound<'_, PyTensor>) -> PyResult<Scalar> {
    let t = &slf.get().t;
    if t.numel() != 1 {
        return crate::error::value_error("only one element tensors can be converted to Python scalars");
    }
    convert::item(slf.py(), t)
}

/// The device in a message about conversions.
pub fn must_be_cpu(t: &Tensor) -> PyResult<()> {
    match t.device() {
        Device::Cpu => Ok(()),
        d => Err(PyTypeError::new_err(format!(
            "can't convert {d} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        ))),
    }
}
