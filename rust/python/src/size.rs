//! `rtorch.Size`: a tuple subclass written in Python (`rtorch/_size.py`), made here without a call into Python.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

struct SizeClass {
    class: Py<PyAny>,
    alloc: ffi::allocfunc,
}

static CLASS: PyOnceLock<SizeClass> = PyOnceLock::new();

fn class(py: Python<'_>) -> PyResult<&SizeClass> {
    CLASS.get_or_try_init(py, || {
        let class = py.import("rtorch._size")?.getattr("Size")?;
        // SAFETY: the class is a heap type, whose slots may be read; every type has an allocator.
        let slot = unsafe { ffi::PyType_GetSlot(class.as_ptr().cast(), ffi::Py_tp_alloc) };
        if slot.is_null() {
            return crate::error::type_error("rtorch.Size has no allocator");
        }
        // SAFETY: that slot holds an allocfunc.
        let alloc = unsafe { std::mem::transmute::<*mut std::ffi::c_void, ffi::allocfunc>(slot) };
        Ok(SizeClass { class: class.unbind(), alloc })
    })
}

pub fn make(py: Python<'_>, sizes: &[usize]) -> PyResult<Py<PyAny>> {
    let c = class(py)?;
    // SAFETY: a tuple subclass without fields of its own is laid out as a tuple, its allocator makes one of that length
    // with empty slots, and each slot is filled once with a reference that it takes over.
    unsafe {
        let obj = Bound::from_owned_ptr_or_err(py, (c.alloc)(c.class.as_ptr().cast(), sizes.len() as ffi::Py_ssize_t))?;
        for (i, &n) in sizes.iter().enumerate() {
            let item = n.into_pyobject(py)?.into_ptr();
            if ffi::PyTuple_SetItem(obj.as_ptr(), i as ffi::Py_ssize_t, item) < 0 {
                return Err(PyErr::fetch(py));
            }
        }
        Ok(obj.unbind())
    }
}
