//! `__torch_function__`: objects that want to answer operators themselves. One test per argument for exact tensors and
//! Python's own types; the rest is looked up by type.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple, PyType};

use crate::parse::Call;
use crate::tensor::{self, PyTensor};

/// Was a mode ever entered? A thread's own variables are dearer to read.
static EVER: AtomicBool = AtomicBool::new(false);

thread_local! {
    static DISABLED: Cell<bool> = const { Cell::new(false) };
    /// Modes that are entered, the innermost last; while one is asked, it stands aside.
    static MODES: RefCell<Vec<Py<PyAny>>> = const { RefCell::new(Vec::new()) };
    static IN_MODE: Cell<bool> = const { Cell::new(false) };
}

/// Types seen, with whether they override. They are kept alive, so that an address means one type.
type Seen = Mutex<HashMap<usize, (Py<PyType>, bool)>>;
static SEEN: PyOnceLock<Seen> = PyOnceLock::new();

/// Some types that were seen not to override (`Parameter`, mostly), to be told without a lock or a hash.
const PLAIN: usize = 4;
static PLAIN_TYPES: [AtomicPtr<ffi::PyObject>; PLAIN] = [const { AtomicPtr::new(std::ptr::null_mut()) }; PLAIN];

/// Is this of a type known not to override?
#[inline]
pub fn is_plain(obj: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object has a type.
    let ty = unsafe { ffi::Py_TYPE(obj.as_ptr()) }.cast::<ffi::PyObject>();
    PLAIN_TYPES.iter().any(|p| p.load(Ordering::Relaxed) == ty)
}

fn overrides(obj: &Bound<'_, PyAny>) -> bool {
    if tensor::is_exact(obj)
        || is_plain(obj)
        || obj.is_none()
        || obj.is_exact_instance_of::<PyFloat>()
        || obj.is_exact_instance_of::<PyInt>()
        || obj.is_exact_instance_of::<PyBool>()
        || obj.is_exact_instance_of::<PyString>()
    {
        return false;
    }
    let py = obj.py();
    let ty = obj.get_type();
    let id = ty.as_ptr() as usize;
    let seen = SEEN.get_or_init(py, Mutex::default);
    if let Some(found) = seen.lock().get(&id) {
        return found.1;
    }
    let yes = match ty.getattr(pyo3::intern!(py, "__torch_function__")) {
        Err(_) => false,
        Ok(f) => {
            let disabled = py.import("rtorch._C").and_then(|m| m.getattr("_disabled_torch_function_impl"));
            !disabled.is_ok_and(|d| f.is(&d))
        }
    };
    let address = ty.as_ptr();
    seen.lock().insert(id, (ty.unbind(), yes));
    if !yes {
        // kept alive by `seen`; only tensors, whose number of types is small
        let tensor = tensor::get(obj).is_some();
        if let Some(free) = PLAIN_TYPES.iter().find(|p| p.load(Ordering::Relaxed).is_null()).filter(|_| tensor) {
            free.store(address, Ordering::Relaxed);
        }
    }
    yes
}

/// Does a subclass of Tensor want to be asked now?
pub fn wants(obj: &Bound<'_, PyAny>) -> bool {
    !DISABLED.get() && overrides(obj)
}

fn any_in(obj: &Bound<'_, PyAny>) -> bool {
    if let Ok(l) = obj.cast_exact::<PyList>() {
        return l.iter().any(|x| overrides(&x));
    }
    if let Ok(t) = obj.cast_exact::<PyTuple>() {
        return t.iter().any(|x| overrides(&x));
    }
    overrides(obj)
}

/// Is a mode to be asked about every operator?
#[inline]
pub fn in_mode() -> bool {
    EVER.load(Ordering::Relaxed) && IN_MODE.get()
}

fn set_modes<R>(f: impl FnOnce(&mut Vec<Py<PyAny>>) -> R) -> R {
    MODES.with(|m| {
        let mut modes = m.borrow_mut();
        let r = f(&mut modes);
        IN_MODE.set(!modes.is_empty());
        EVER.fetch_or(!modes.is_empty(), Ordering::Relaxed);
        r
    })
}

/// What the innermost mode answers; None where there is none, or it declines.
fn ask_mode(
    func: &Bound<'_, PyAny>,
    types: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
) -> PyResult<Option<Py<PyAny>>> {
    let py = func.py();
    let Some(mode) = set_modes(Vec::pop) else { return Ok(None) };
    let r = mode.bind(py).call_method1(pyo3::intern!(py, "__torch_function__"), (func, types, args, kwargs));
    set_modes(|m| m.push(mode));
    let r = r?;
    Ok(if r.is(py.NotImplemented().bind(py)) { None } else { Some(r.unbind()) })
}

/// Must somebody be asked?
#[inline]
pub fn possible(call: &Call<'_, '_>) -> bool {
    if in_mode() {
        return true;
    }
    let plain = |o: &Bound<'_, PyAny>| tensor::is_exact(o) || is_plain(o) || !any_in(o);
    !(DISABLED.get() || call.args.iter().all(|a| plain(a)) && call.kwargs.iter().all(|k| plain(&k.1)))
}

/// Asks each overriding type once, subclasses before their bases.
pub fn dispatch<'py>(func: &Py<PyAny>, call: &Call<'_, 'py>) -> PyResult<Option<Py<PyAny>>> {
    let py = call.py;
    let mut found: Vec<Bound<'py, PyAny>> = Vec::new();
    let mut add = |o: &Bound<'py, PyAny>| -> PyResult<()> {
        if overrides(o) && !found.iter().any(|f| f.get_type().is(o.get_type())) {
            let ty = o.get_type();
            let at = found.iter().position(|f| ty.is_subclass(&f.get_type()).unwrap_or(false)).unwrap_or(found.len());
            found.insert(at, o.clone());
        }
        Ok(())
    };
    for o in call.args.iter().chain(call.kwargs.iter().map(|k| &k.1)) {
        add(o)?;
        if o.is_exact_instance_of::<PyList>() || o.is_exact_instance_of::<PyTuple>() {
            for x in o.try_iter()? {
                add(&x?)?;
            }
        }
    }
    let (args, kwargs) = call.to_python()?;
    if in_mode() {
        let types = PyTuple::new(py, found.iter().map(|f| f.get_type()))?;
        if let Some(r) = ask_mode(func.bind(py), &types, &args, &kwargs)? {
            return Ok(Some(r));
        }
    }
    if DISABLED.get() {
        return Ok(None);
    }
    ask(py, func.bind(py), &found, &args, &kwargs)
}

fn ask(
    py: Python<'_>,
    func: &Bound<'_, PyAny>,
    found: &[Bound<'_, PyAny>],
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
) -> PyResult<Option<Py<PyAny>>> {
    if found.is_empty() {
        return Ok(None);
    }
    let types = PyTuple::new(py, found.iter().map(|f| f.get_type()))?;
    for f in found {
        let hook = f.getattr(pyo3::intern!(py, "__torch_function__"))?;
        let r = hook.call1((func, &types, args, kwargs))?;
        if !r.is(py.NotImplemented().bind(py)) {
            return Ok(Some(r.unbind()));
        }
    }
    let names: Vec<String> =
        found.iter().map(|f| f.get_type().repr().map_or_else(|_| "?".into(), |r| r.to_string())).collect();
    crate::error::type_error(format!(
        "Multiple dispatch failed for '{}'; all __torch_function__ handlers returned NotImplemented:\n\n  - {}",
        func.getattr("__name__").map_or_else(|_| "operator".into(), |n| n.to_string()),
        names.join("\n  - ")
    ))
}

/// Enters a mode: from now on it is asked about every operator of this thread.
#[pyfunction]
fn _push_function_mode(mode: Py<PyAny>) {
    set_modes(|m| m.push(mode));
}

/// Leaves the innermost mode.
#[pyfunction]
fn _pop_function_mode() -> Option<Py<PyAny>> {
    set_modes(Vec::pop)
}

/// Has nobody to be asked about a call of a composition, neither a mode nor the class of an argument?
#[pyfunction]
fn _nobody_asks(args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>) -> bool {
    !in_mode() && !args.iter().any(|x| any_in(&x)) && (kwargs.is_empty() || !kwargs.values().iter().any(|x| any_in(&x)))
}

#[pyfunction]
fn _in_function_mode() -> bool {
    IN_MODE.get()
}

/// What the innermost mode answers for an operator written in Python; NotImplemented where there is none.
#[pyfunction]
fn _ask_function_mode(
    func: &Bound<'_, PyAny>,
    types: &Bound<'_, PyAny>,
    args: &Bound<'_, PyTuple>,
    kwargs: &Bound<'_, PyDict>,
) -> PyResult<Py<PyAny>> {
    Ok(ask_mode(func, types, args, kwargs)?.unwrap_or_else(|| func.py().NotImplemented()))
}

/// Switches `__torch_function__` off for this thread; answers whether it was.
#[pyfunction]
fn _set_torch_function_disabled(on: bool) -> bool {
    DISABLED.replace(on)
}

#[pyfunction]
fn _is_torch_function_disabled() -> bool {
    DISABLED.get()
}

/// What a class sets `__torch_function__` to for plain tensors to come out of its operators.
#[pyfunction]
#[pyo3(signature = (func, types, args = None, kwargs = None))]
fn _disabled_torch_function_impl(
    func: &Bound<'_, PyAny>,
    types: &Bound<'_, PyAny>,
    args: Option<Bound<'_, PyTuple>>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let _ = types;
    let before = DISABLED.replace(true);
    let args = args.unwrap_or_else(|| PyTuple::empty(func.py()));
    let r = func.call(args, kwargs);
    DISABLED.set(before);
    r.map(Bound::unbind)
}

/// Has the object a `__torch_function__` of its own?
#[pyfunction]
fn _has_torch_function(obj: &Bound<'_, PyAny>) -> bool {
    !obj.is_exact_instance_of::<PyTensor>() && !DISABLED.get() && any_in(obj)
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_set_torch_function_disabled, m)?)?;
    m.add_function(wrap_pyfunction!(_is_torch_function_disabled, m)?)?;
    m.add_function(wrap_pyfunction!(_push_function_mode, m)?)?;
    m.add_function(wrap_pyfunction!(_pop_function_mode, m)?)?;
    m.add_function(wrap_pyfunction!(_in_function_mode, m)?)?;
    m.add_function(wrap_pyfunction!(_nobody_asks, m)?)?;
    m.add_function(wrap_pyfunction!(_ask_function_mode, m)?)?;
    m.add_function(wrap_pyfunction!(_disabled_torch_function_impl, m)?)?;
    m.add_function(wrap_pyfunction!(_has_torch_function, m)?)
}
