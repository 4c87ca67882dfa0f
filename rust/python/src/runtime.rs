//! The process around the operators: counters, threads, Ctrl-C, warnings, the default dtype.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use rtorch_core::stats::{self, Event, Mode};
use rtorch_core::{fork, host};
use std::sync::atomic::Ordering;

use crate::dtype::{self, PyDType};
use crate::error::OrRaise;

#[pyfunction]
fn runtime_stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let d = PyDict::new(py);
    for e in Event::ALL {
        d.set_item(e.name(), stats::counted(e))?;
    }
    d.set_item("pending", stats::PENDING.load(Ordering::Relaxed))?;
    d.set_item("pending_bytes", stats::PENDING_BYTES.load(Ordering::Relaxed))?;
    let gpu = crate::wgpu::totals();
    d.set_item("bytes_in_use", rtorch_cpu::alloc::bytes_in_use() as u64 + gpu.in_use)?;
    d.set_item("peak_bytes", rtorch_cpu::alloc::peak_bytes() as u64 + gpu.peak)?;
    d.set_item("bytes_cached", rtorch_cpu::alloc::bytes_cached() as u64 + gpu.cached)?;
    d.set_item("gpu_dispatches", gpu.dispatches)?;
    d.set_item("gpu_pipelines", gpu.pipelines)?;
    Ok(d)
}

#[pyfunction]
fn reset_runtime_stats() {
    rtorch_core::stats::reset();
    rtorch_cpu::alloc::reset_peak();
    crate::wgpu::reset();
}

#[pyfunction]
fn _empty_cache() {
    rtorch_cpu::alloc::empty_cache();
}

/// For the fuzzer: "default", "eager" or "always".
#[pyfunction]
fn _set_defer_mode(mode: &str) -> PyResult<()> {
    rtorch_core::stats::set_mode(match mode {
        "default" => Mode::Default,
        "eager" => Mode::Eager,
        "always" => Mode::Always,
        _ => return Err(PyValueError::new_err(format!("unknown mode '{mode}'"))),
    });
    Ok(())
}

#[pyfunction]
fn get_num_threads() -> usize {
    rtorch_cpu::threads::num_threads()
}

/// The instruction set that the CPU's kernels use.
#[pyfunction]
fn _cpu_capability() -> &'static str {
    rtorch_cpu::simd::detect::capability().name()
}

#[pyfunction]
fn set_num_threads(n: &Bound<'_, PyAny>) -> PyResult<()> {
    if !crate::convert::is_int(n) {
        return Err(PyTypeError::new_err(format!("set_num_threads expects an int, but got {}", n.get_type().name()?)));
    }
    match n.extract::<i64>()? {
        n if n > 0 => {
            rtorch_cpu::threads::set_num_threads(n as usize);
            Ok(())
        }
        _ => crate::error::runtime_error("set_num_threads expects a positive integer"),
    }
}

#[pyfunction]
fn get_default_dtype(py: Python<'_>) -> PyResult<Py<PyDType>> {
    dtype::object(py, rtorch_core::ops::pointwise::default_dtype())
}

#[pyfunction]
fn set_default_dtype(d: &Bound<'_, PyAny>) -> PyResult<()> {
    let Ok(d) = d.cast::<PyDType>() else {
        return Err(PyTypeError::new_err(
            "invalid dtype object: only floating-point types are supported as the default type",
        ));
    };
    if !d.get().0.is_float() {
        return Err(PyTypeError::new_err(format!(
            "only floating-point types are supported as the default type, but got {}",
            d.get().0
        )));
    }
    rtorch_core::ops::pointwise::set_default_dtype(d.get().0).or_raise()
}

/// Works in the core with the GIL released; a fork waits for that.
pub fn release<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let _away = host::Away::new();
    #[expect(clippy::disallowed_methods, reason = "this is what is used instead")]
    py.detach(|| {
        let _inside = fork::enter(false);
        work()
    })
}

/// Leaves the core for Python code, which may run for long, fork, or wait for somebody who does.
pub fn attach<T>(work: impl FnOnce(Python<'_>) -> T) -> T {
    #[expect(clippy::disallowed_methods, reason = "this is what is used instead")]
    fork::outside(|| Python::attach(work))
}

/// Runs what needs the GIL on a thread that may be anybody's; None where the interpreter is going down.
pub fn try_attach<T>(work: impl FnOnce() -> T) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "this is what is used instead")]
    fork::outside(|| Python::try_attach(|_| work()))
}

/// Runs something with the GIL.
fn with_gil(work: &mut dyn FnMut()) {
    attach(|_| work());
}

/// Waits for another thread with the GIL released.
fn blocking(wait: &mut dyn FnMut()) {
    struct Cross<'a>(&'a mut dyn FnMut());
    // SAFETY: the closure runs on this very thread; `detach` only asks for Send to keep Python objects out of it, and
    // what waits here is a lock of the core.
    unsafe impl Send for Cross<'_> {}
    if fork::is_inside() {
        return wait(); // the GIL was released there
    }
    #[expect(clippy::disallowed_methods, reason = "this thread may hold locks of the core: it enters urgently")]
    Python::attach(|py| {
        let c = Cross(wait);
        let _away = host::Away::new();
        py.detach(move || {
            let c = c;
            let _inside = fork::enter(true);
            (c.0)();
        });
    });
}

/// Ctrl-C (or another signal handler that raised): asked by long kernels on the calling thread.
fn interrupted() -> bool {
    attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(e) => {
            let _ = crate::error::carry(e);
            true
        }
    })
}

fn warn(text: &str) {
    attach(|py| {
        let raised = py.import("warnings").and_then(|w| {
            let category = py.get_type::<pyo3::exceptions::PyUserWarning>();
            let kw = PyDict::new(py);
            kw.set_item("stacklevel", 2)?;
            w.getattr("warn")?.call((text, category), Some(&kw))
        });
        if let Err(e) = raised {
            // `-W error`: the warning cannot become an exception inside the core
            e.print(py);
        }
    });
}

/// Notes from now on what operators of this thread are made of.
#[pyfunction]
fn _trace_begin() {
    rtorch_core::trace::begin();
}

/// The notes: `map rows`, `view Name`, `prim Name native|host`.
#[pyfunction]
fn _trace_end() -> Vec<String> {
    rtorch_core::trace::end()
}

/// The table's rows: name, class, doc line.
#[pyfunction]
fn _rows() -> Vec<(&'static str, String, &'static str)> {
    rtorch_ir::table::ROWS.iter().map(|r| (r.op.name(), format!("{:?}", r.class), r.doc)).collect()
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_trace_begin, m)?)?;
    m.add_function(wrap_pyfunction!(_trace_end, m)?)?;
    m.add_function(wrap_pyfunction!(_rows, m)?)?;
    rtorch_core::defer::set_blocking_hook(blocking);
    // SAFETY: functions of this module run with the GIL, and give it up by `release` and `blocking` alone (clippy.toml
    // refuses PyO3's own way); the pool's threads know kernels, not tensors.
    unsafe { host::bind(with_gil) };
    rtorch_cpu::threads::set_interrupt_hook(interrupted);
    crate::wgpu::set_interrupt_hook(interrupted);
    rtorch_core::warn::set_hook(warn);
    m.add_function(wrap_pyfunction!(runtime_stats, m)?)?;
    m.add_function(wrap_pyfunction!(reset_runtime_stats, m)?)?;
    m.add_function(wrap_pyfunction!(_empty_cache, m)?)?;
    m.add_function(wrap_pyfunction!(_set_defer_mode, m)?)?;
    m.add_function(wrap_pyfunction!(get_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(set_num_threads, m)?)?;
    m.add_function(wrap_pyfunction!(_cpu_capability, m)?)?;
    m.add_function(wrap_pyfunction!(get_default_dtype, m)?)?;
    m.add_function(wrap_pyfunction!(set_default_dtype, m)?)
}
