//! DLPack both ways: tensors of other libraries over the same memory, as capsules (the protocol's version 1 and the
//! older form without flags). CPU memory only: a wgpu buffer has no address to hand out.

use std::ffi::{c_char, c_int, c_void};

use pyo3::exceptions::{PyBufferError, PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rtorch_core::storage::Export;
use rtorch_core::{DType, Layout, Tensor};
use smallvec::SmallVec;

use crate::error::OrRaise;
use crate::tensor;

const CPU: i32 = 1;
const NAME: &[u8] = b"dltensor\0";
const USED: &[u8] = b"used_dltensor\0";
const NAME_1: &[u8] = b"dltensor_versioned\0";
const USED_1: &[u8] = b"used_dltensor_versioned\0";
const READ_ONLY: u64 = 1;

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device: (i32, i32),
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *mut i64,
    strides: *mut i64,
    byte_offset: u64,
}

#[repr(C)]
struct Managed {
    tensor: DlTensor,
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut Managed)>,
}

#[repr(C)]
struct ManagedVersioned {
    version: (u32, u32),
    context: *mut c_void,
    deleter: Option<unsafe extern "C" fn(*mut ManagedVersioned)>,
    flags: u64,
    tensor: DlTensor,
}

/// What an exported tensor keeps alive.
struct Held {
    _memory: (Export, rtorch_cpu::Memory),
    numbers: Vec<i64>,
}

fn code(d: DType) -> (u8, u8) {
    let bits = (d.size() * 8) as u8;
    match d {
        DType::Bool => (6, 8),
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => (1, bits),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => (0, bits),
        DType::F16 | DType::F32 | DType::F64 => (2, bits),
        DType::BF16 => (4, bits),
        DType::C64 | DType::C128 => (5, bits),
        DType::E4M3 => (10, bits),
        DType::E4M3Z => (11, bits),
        DType::E5M2 => (12, bits),
        DType::E5M2Z => (13, bits),
        DType::E8M0 => (14, bits),
    }
}

fn dtype_of(code: u8, bits: u8) -> Option<DType> {
    DType::ALL.into_iter().find(|&d| self::code(d) == (code, bits))
}

/// Lets the memory go. Consumers do that on any thread, and not all of them hold the GIL.
fn release(held: Box<Held>) {
    let mut held = Some(held);
    if crate::runtime::try_attach(|| drop(held.take())).is_none() {
        std::mem::forget(held); // the interpreter is gone, and soon the process
    }
}

unsafe extern "C" fn delete(m: *mut Managed) {
    // SAFETY: both were boxed by `export`, and the consumer calls this once.
    unsafe {
        release(Box::from_raw((*m).context.cast::<Held>()));
        drop(Box::from_raw(m));
    }
}

unsafe extern "C" fn delete_versioned(m: *mut ManagedVersioned) {
    // SAFETY: as `delete`.
    unsafe {
        release(Box::from_raw((*m).context.cast::<Held>()));
        drop(Box::from_raw(m));
    }
}

unsafe extern "C" fn unused(capsule: *mut ffi::PyObject) {
    // SAFETY: a capsule that nobody consumed still has its first name, and holds what `export` boxed.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr().cast()) == 1 {
            delete(ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr().cast()).cast());
        } else if ffi::PyCapsule_IsValid(capsule, NAME_1.as_ptr().cast()) == 1 {
            delete_versioned(ffi::PyCapsule_GetPointer(capsule, NAME_1.as_ptr().cast()).cast());
        }
    }
}

fn export(py: Python<'_>, t: &Tensor, versioned: bool) -> PyResult<Py<PyAny>> {
    if t.requires_grad() {
        return Err(PyBufferError::new_err("Can't export tensors that require gradient, use tensor.detach()"));
    }
    if !t.device().is_cpu() {
        return Err(PyBufferError::new_err("Can't export tensors of wgpu devices: copy them with .cpu() first"));
    }
    let t = t.detach();
    let memory = crate::runtime::release(py, || rtorch_core::inplace::export(&t)).or_raise()?;
    let (layout, d) = (t.layout(), t.dtype());
    let data = memory.1.as_ptr() as usize + layout.offset * d.size();
    let mut numbers: Vec<i64> = layout.shape.iter().map(|&s| s as i64).collect();
    numbers.extend(layout.strides.iter().map(|&s| s as i64));
    let mut held = Box::new(Held { _memory: memory, numbers });
    let n = layout.ndim();
    let shape = held.numbers.as_mut_ptr();
    let (code, bits) = code(d);
    let tensor = DlTensor {
        data: data as *mut c_void,
        device: (CPU, 0),
        ndim: n as i32,
        code,
        bits,
        lanes: 1,
        shape,
        // SAFETY: the strides follow the n sizes in one vector.
        strides: unsafe { shape.add(n) },
        byte_offset: 0,
    };
    let context = Box::into_raw(held).cast::<c_void>();
    let (pointer, name) = if versioned {
        let deleter = Some(delete_versioned as unsafe extern "C" fn(*mut ManagedVersioned));
        let m = Box::new(ManagedVersioned { version: (1, 0), context, deleter, flags: 0, tensor });
        (Box::into_raw(m).cast::<c_void>(), NAME_1)
    } else {
        let m = Box::new(Managed { tensor, context, deleter: Some(delete) });
        (Box::into_raw(m).cast::<c_void>(), NAME)
    };
    // SAFETY: the name is static and the destructor knows what it frees.
    unsafe {
        let c = ffi::PyCapsule_New(pointer, name.as_ptr().cast::<c_char>(), Some(unused));
        Ok(Bound::from_owned_ptr_or_err(py, c)?.unbind())
    }
}

/// Calls the producer's deleter when the tensor's memory is let go.
enum Owner {
    Old(usize),
    Versioned(usize),
}

impl Drop for Owner {
    fn drop(&mut self) {
        // SAFETY: the capsule was marked used, so that this is the only call; deleters may be called from any thread
        // that
        // holds the GIL.
        crate::runtime::attach(|_| unsafe {
            match *self {
                Owner::Old(p) => {
                    let m = p as *mut Managed;
                    if let Some(f) = (*m).deleter {
                        f(m);
                    }
                }
                Owner::Versioned(p) => {
                    let m = p as *mut ManagedVersioned;
                    if let Some(f) = (*m).deleter {
                        f(m);
                    }
                }
            }
        });
    }
}

fn import(py: Python<'_>, capsule: &Bound<'_, PyAny>) -> PyResult<Tensor> {
    let c = capsule.as_ptr();
    // SAFETY: names are checked before pointers are read as what the protocol puts under them; renaming marks the
    // capsule
    // as consumed.
    let (tensor, owner, read_only): (&DlTensor, Owner, bool) = unsafe {
        if ffi::PyCapsule_IsValid(c, NAME_1.as_ptr().cast()) == 1 {
            let m = ffi::PyCapsule_GetPointer(c, NAME_1.as_ptr().cast()).cast::<ManagedVersioned>();
            if (*m).version.0 > 1 {
                return Err(PyRuntimeError::new_err("the DLPack capsule is of a newer major version than 1"));
            }
            ffi::PyCapsule_SetName(c, USED_1.as_ptr().cast());
            (&(*m).tensor, Owner::Versioned(m as usize), (*m).flags & READ_ONLY != 0)
        } else if ffi::PyCapsule_IsValid(c, NAME.as_ptr().cast()) == 1 {
            let m = ffi::PyCapsule_GetPointer(c, NAME.as_ptr().cast()).cast::<Managed>();
            ffi::PyCapsule_SetName(c, USED.as_ptr().cast());
            (&(*m).tensor, Owner::Old(m as usize), false)
        } else {
            return Err(PyRuntimeError::new_err(
                "from_dlpack received an invalid capsule. Note that DLTensor capsules can be consumed only once, so \
                 you might have already constructed a tensor from it once.",
            ));
        }
    };
    if tensor.device.0 != CPU {
        return Err(PyBufferError::new_err("from_dlpack: only tensors in CPU memory can be shared"));
    }
    let dtype = dtype_of(tensor.code, tensor.bits).filter(|_| tensor.lanes == 1).ok_or_else(|| {
        PyBufferError::new_err(format!("Unsupported DLPack type code {} of {} bits", tensor.code, tensor.bits))
    })?;
    let n = tensor.ndim as usize;
    // SAFETY: the protocol promises ndim sizes, and as many strides where they are given.
    let (sizes, strides) = unsafe {
        let sizes = if n == 0 { &[] } else { std::slice::from_raw_parts(tensor.shape, n) };
        let strides = (!tensor.strides.is_null() && n > 0).then(|| std::slice::from_raw_parts(tensor.strides, n));
        (sizes, strides)
    };
    if sizes.iter().any(|&s| s < 0) || strides.is_some_and(|s| s.iter().any(|&s| s < 0)) {
        return Err(PyBufferError::new_err("from_dlpack: negative sizes or strides"));
    }
    let shape: SmallVec<[usize; 5]> = sizes.iter().map(|&s| s as usize).collect();
    let strides = match strides {
        None => rtorch_ir::layout::contiguous_strides(&shape),
        Some(s) => s.iter().map(|&s| s as isize).collect(),
    };
    let layout = Layout { shape, strides, offset: 0 };
    let len = layout.extent().map_or(0, |e| e.1) * dtype.size();
    let data = tensor.data as usize + tensor.byte_offset as usize;
    // SAFETY: the producer's memory lives until its deleter is called, which the owner does when it is dropped.
    let t = unsafe { Tensor::from_foreign(data as *mut u8, len, Box::new(owner), layout, dtype) };
    if read_only || (len > 0 && !data.is_multiple_of(dtype.size().min(8))) {
        // what may not be written is copied
        return crate::runtime::release(py, || rtorch_core::ops::shape::clone(&t)).or_raise();
    }
    Ok(t)
}

#[pymethods]
impl tensor::PyTensor {
    #[pyo3(signature = (*, stream = None, max_version = None, dl_device = None, copy = None))]
    fn __dlpack__(
        slf: &Bound<'_, Self>,
        stream: Option<&Bound<'_, PyAny>>,
        max_version: Option<(u32, u32)>,
        dl_device: Option<(i32, i32)>,
        copy: Option<bool>,
    ) -> PyResult<Py<PyAny>> {
        if let Some(s) = stream
            && !s.is_none()
            && s.extract::<c_int>().is_ok_and(|s| s != -1)
        {
            return Err(PyTypeError::new_err("stream must be None for tensors of the CPU"));
        }
        if dl_device.is_some_and(|d| d.0 != CPU) {
            return Err(PyBufferError::new_err("__dlpack__: only the CPU can be asked for"));
        }
        let t = &slf.get().t;
        let t = if copy == Some(true) { rtorch_core::ops::shape::clone(t).or_raise()? } else { t.clone() };
        export(slf.py(), &t, max_version.is_some_and(|v| v.0 >= 1))
    }
    fn __dlpack_device__(&self) -> PyResult<(i32, i32)> {
        match self.t.device() {
            rtorch_core::Device::Cpu => Ok((CPU, 0)),
            rtorch_core::Device::Meta => Err(PyBufferError::new_err("a meta tensor has no data to share")),
            rtorch_core::Device::Wgpu(_) => Err(PyBufferError::new_err("wgpu is no device of DLPack")),
        }
    }
}

#[pyfunction]
fn to_dlpack(t: &Bound<'_, tensor::PyTensor>) -> PyResult<Py<PyAny>> {
    export(t.py(), &t.get().t, false)
}

/// A tensor over the memory of an object with `__dlpack__`, or of a capsule.
#[pyfunction]
#[pyo3(signature = (ext_tensor, *, device = None, copy = None))]
fn from_dlpack(
    ext_tensor: &Bound<'_, PyAny>,
    device: Option<&Bound<'_, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Py<PyAny>> {
    let py = ext_tensor.py();
    let capsule = if ext_tensor.hasattr("__dlpack__")? {
        let kw = PyDict::new(py);
        kw.set_item("max_version", (1, 0))?;
        match ext_tensor.call_method("__dlpack__", (), Some(&kw)) {
            Err(e) if e.is_instance_of::<PyTypeError>(py) => ext_tensor.call_method0("__dlpack__")?,
            r => r?,
        }
    } else {
        ext_tensor.clone()
    };
    let mut t = import(py, &capsule)?;
    if copy == Some(true) {
        t = rtorch_core::ops::shape::clone(&t).or_raise()?;
    }
    if let Some(d) = device
        && let Some(d) = crate::device::extract(d)?
    {
        t = rtorch_core::ops::convert::to_device(&t, d).or_raise()?;
    }
    tensor::wrap(py, t)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(to_dlpack, m)?)?;
    m.add_function(wrap_pyfunction!(from_dlpack, m)?)
}
