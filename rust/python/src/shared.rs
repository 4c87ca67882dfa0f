//! Memory shared between processes as Python sees it, and what surrounds `fork`. How descriptors travel is written in
//! Python (`rtorch/multiprocessing`).

use pyo3::prelude::*;
use pyo3::types::PyDict;
use rtorch_core::{DType, Tensor, shared};
use rtorch_cpu::shared::Mapping;

use crate::dtype::PyDType;
use crate::error::OrRaise;
use crate::storage::PyStorage;

#[pymethods]
impl PyStorage {
    /// Moves the memory to where other processes can map it; tensors over it go along.
    fn share_memory_(slf: &Bound<'_, Self>) -> PyResult<Py<Self>> {
        let storage = slf.get().0.storage();
        crate::runtime::release(slf.py(), || shared::share(&storage)).or_raise()?;
        Ok(slf.clone().unbind())
    }
    fn is_shared(&self) -> bool {
        shared::mapping(&self.0.storage()).is_some()
    }
    /// (descriptor, bytes) of the shared memory. The descriptor belongs to the storage.
    #[cfg(unix)]
    fn _share_fd_cpu_(&self, py: Python<'_>) -> PyResult<(i32, usize)> {
        use std::os::fd::AsRawFd;
        let storage = self.0.storage();
        let mapping = crate::runtime::release(py, || {
            shared::share(&storage)?;
            match shared::mapping(&storage) {
                Some(m) if m.fd().is_some() => Ok(m),
                Some(_) | None => shared::share_again(&storage),
            }
        })
        .or_raise()?;
        match mapping.fd() {
            Some(fd) => Ok((fd.as_raw_fd(), storage.len())),
            None => crate::error::runtime_error("the shared memory has no descriptor"),
        }
    }
    /// The storage of a descriptor, which it takes over; `keep` is false where it will not be handed on.
    #[cfg(unix)]
    #[staticmethod]
    #[pyo3(signature = (fd, size, keep = true))]
    fn _new_shared_fd_cpu(fd: i32, size: usize, keep: bool) -> PyResult<PyStorage> {
        use std::os::fd::{FromRawFd, OwnedFd};
        if fd < 0 {
            return crate::error::value_error(format!("invalid file descriptor {fd}"));
        }
        // SAFETY: the caller hands the descriptor over.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut mapping = Mapping::open(fd, size).or_raise()?;
        if !keep {
            mapping.close();
        }
        Ok(PyStorage(shared::tensor(mapping, size, &[size], DType::U8)))
    }
    /// Fresh shared memory of that many bytes.
    #[staticmethod]
    fn _new_shared(size: usize) -> PyResult<PyStorage> {
        let mapping = Mapping::create(size).or_raise()?;
        Ok(PyStorage(shared::tensor(mapping, size, &[size], DType::U8)))
    }
}

/// An uninitialised tensor in shared memory.
#[pyfunction]
fn _empty_shared(shape: Vec<i64>, dtype: &Bound<'_, PyDType>) -> PyResult<Py<PyAny>> {
    let d = dtype.get().0;
    let shape = rtorch_core::ops::factory::checked_shape(&shape).or_raise()?;
    let n = rtorch_ir::layout::checked_numel(&shape).or_raise()?;
    let Some(bytes) = n.checked_mul(d.size()) else {
        return crate::error::runtime_error(format!("Storage size calculation overflowed with sizes={shape:?}"));
    };
    let made: Tensor = shared::tensor(Mapping::create(bytes).or_raise()?, bytes, &shape, d);
    crate::tensor::wrap(dtype.py(), made)
}

/// Asks the system to send this process a signal when the thread that started it ends.
#[cfg(target_os = "linux")]
#[pyfunction]
fn _signal_when_parent_dies(signal: i32) -> PyResult<()> {
    // SAFETY: only sets an attribute of this process.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(())
}

/// Other systems have nothing of the kind.
#[cfg(not(target_os = "linux"))]
#[pyfunction]
fn _signal_when_parent_dies(_signal: i32) {}

#[pyfunction]
#[expect(clippy::disallowed_methods, reason = "who waits to fork is not inside")]
fn _before_fork(py: Python<'_>) {
    rtorch_core::fork::before(|t| py.detach(|| std::thread::sleep(t)));
}

#[pyfunction]
fn _after_fork_in_parent() {
    // SAFETY: Python calls the three on the thread that forks, in this order.
    unsafe { rtorch_core::fork::parent() };
}

#[pyfunction]
fn _after_fork_in_child() {
    // SAFETY: as above.
    unsafe { rtorch_core::fork::child() };
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add_function(wrap_pyfunction!(_empty_shared, m)?)?;
    m.add_function(wrap_pyfunction!(_signal_when_parent_dies, m)?)?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        hooks.set_item("before", wrap_pyfunction!(_before_fork, m)?)?;
        hooks.set_item("after_in_parent", wrap_pyfunction!(_after_fork_in_parent, m)?)?;
        hooks.set_item("after_in_child", wrap_pyfunction!(_after_fork_in_child, m)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}
