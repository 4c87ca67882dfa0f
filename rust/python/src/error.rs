//! The only map from the core's errors to Python exceptions, and the way back for exceptions raised inside hooks.

use std::cell::RefCell;

use pyo3::create_exception;
use pyo3::exceptions::{
    PyAssertionError, PyIndexError, PyKeyboardInterrupt, PyNotImplementedError, PyRuntimeError, PyTypeError,
    PyValueError,
};
use pyo3::prelude::*;
use rtorch_core::{Error, ErrorKind};

create_exception!(rtorch, OutOfMemoryError, PyRuntimeError, "The device has no memory left for a tensor.");
create_exception!(rtorch.linalg, LinAlgError, PyRuntimeError, "A decomposition or solver failed on its data.");

thread_local! {
    /// An exception on its way through the core: raised by a hook or by a signal handler.
    static CARRIED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Hands an exception to the core, which passes the error on to whoever called it.
pub fn carry(e: PyErr) -> Error {
    CARRIED.with(|c| *c.borrow_mut() = Some(e));
    Error::interrupted()
}

/// The exception of an error.
pub fn to_py(e: Error) -> PyErr {
    match e.kind {
        ErrorKind::Runtime => PyRuntimeError::new_err(e.message),
        ErrorKind::Type => PyTypeError::new_err(e.message),
        ErrorKind::Value => PyValueError::new_err(e.message),
        ErrorKind::Index => PyIndexError::new_err(e.message),
        ErrorKind::NotImplemented => PyNotImplementedError::new_err(e.message),
        ErrorKind::Linalg => LinAlgError::new_err(e.message),
        ErrorKind::OutOfMemory => OutOfMemoryError::new_err(e.message),
        ErrorKind::Interrupted => match CARRIED.with(|c| c.borrow_mut().take()) {
            Some(carried) => carried,
            None => PyKeyboardInterrupt::new_err(()),
        },
        ErrorKind::Assertion => PyAssertionError::new_err(e.message),
    }
}

/// `?` from a core result to a Python one.
pub trait OrRaise<T> {
    fn or_raise(self) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    #[inline]
    fn or_raise(self) -> PyResult<T> {
        self.map_err(to_py)
    }
}

pub fn type_error<T>(text: impl Into<String>) -> PyResult<T> {
    Err(PyTypeError::new_err(text.into()))
}
pub fn value_error<T>(text: impl Into<String>) -> PyResult<T> {
    Err(PyValueError::new_err(text.into()))
}
pub fn runtime_error<T>(text: impl Into<String>) -> PyResult<T> {
    Err(PyRuntimeError::new_err(text.into()))
}

/// Runs what calls the core and turns a panic into RuntimeError (PyO3's own guard would raise something that is no
/// Exception).
pub fn guarded<T>(f: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)) {
        Ok(r) => r,
        Err(p) => Err(to_py(rtorch_core::backend::panicked(&*p))),
    }
}
