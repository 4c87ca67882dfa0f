//! What Python sees of GPU adapters (`rtorch.wgpu`): names, memory, counters. Without the cargo feature "gpu" there are
//! none.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use rtorch_core::Device;

use crate::error::OrRaise;

/// Sums over the devices in use.
#[derive(Default)]
pub struct Totals {
    pub dispatches: u64,
    pub pipelines: u64,
    pub in_use: u64,
    pub peak: u64,
    pub cached: u64,
}

#[cfg(feature = "gpu")]
pub fn totals() -> Totals {
    let mut t = Totals::default();
    for d in rtorch_gpu::opened() {
        let c = d.counters();
        t.dispatches += c.dispatches;
        t.pipelines += c.pipelines;
        t.in_use += d.bytes_in_use();
        t.peak += d.peak_bytes();
        t.cached += d.bytes_cached();
    }
    t
}

#[cfg(feature = "gpu")]
pub fn reset() {
    for d in rtorch_gpu::opened() {
        d.reset_counters();
        d.reset_peak();
    }
}

#[cfg(feature = "gpu")]
pub fn set_interrupt_hook(hook: fn() -> bool) {
    rtorch_gpu::set_interrupt_hook(hook);
}

#[cfg(feature = "gpu")]
fn describe<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    let out = PyList::empty(py);
    for a in rtorch_gpu::adapters() {
        let d = PyDict::new(py);
        d.set_item("name", a.name)?;
        d.set_item("driver", a.driver)?;
        d.set_item("backend", a.backend)?;
        let kind = match (a.software, a.integrated) {
            (true, _) => "Cpu",
            (false, true) => "IntegratedGpu",
            (false, false) => "DiscreteGpu",
        };
        d.set_item("type", kind)?;
        out.append(d)?;
    }
    Ok(out)
}

/// What kernels may count on; opens the device.
#[cfg(feature = "gpu")]
fn limits<'py>(py: Python<'py>, index: u32) -> PyResult<Bound<'py, PyDict>> {
    let device = crate::runtime::release(py, || rtorch_gpu::device(index as usize)).or_raise()?;
    let d = PyDict::new(py);
    d.set_item("max_storage_buffers_per_shader_stage", device.profile.storage_buffers)?;
    d.set_item("max_storage_buffer_binding_size", device.profile.binding)?;
    d.set_item("max_buffer_size", device.profile.buffer)?;
    d.set_item("immediates", device.profile.immediates)?;
    d.set_item("shader_int64", device.profile.types.int64)?;
    d.set_item("shader_f16", device.profile.types.half)?;
    d.set_item("subgroups", device.profile.subgroups)?;
    Ok(d)
}

#[cfg(feature = "gpu")]
fn close() {
    rtorch_gpu::opened().iter().for_each(|d| d.close());
}

#[cfg(feature = "gpu")]
fn lose(index: u32) -> rtorch_ir::Result<()> {
    rtorch_gpu::device(index as usize).map(|d| d.lose())
}

#[cfg(feature = "gpu")]
fn empty_caches() {
    for d in rtorch_gpu::opened() {
        d.empty_cache();
    }
}

#[cfg(not(feature = "gpu"))]
pub fn totals() -> Totals {
    Totals::default()
}
#[cfg(not(feature = "gpu"))]
pub fn reset() {}
#[cfg(not(feature = "gpu"))]
pub fn set_interrupt_hook(_hook: fn() -> bool) {}
#[cfg(not(feature = "gpu"))]
fn describe<'py>(py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
    Ok(PyList::empty(py))
}
#[cfg(not(feature = "gpu"))]
fn limits<'py>(py: Python<'py>, _index: u32) -> PyResult<Bound<'py, PyDict>> {
    Ok(PyDict::new(py))
}
#[cfg(not(feature = "gpu"))]
fn close() {}
#[cfg(not(feature = "gpu"))]
fn lose(_index: u32) -> rtorch_ir::Result<()> {
    Ok(())
}
#[cfg(not(feature = "gpu"))]
fn empty_caches() {}

#[pyfunction]
fn _wgpu_adapters(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    describe(py)
}

#[pyfunction]
fn _wgpu_limits(py: Python<'_>, index: u32) -> PyResult<Bound<'_, PyDict>> {
    limits(py, index)
}

/// At the end of the process: no more work for the drivers, whose threads would outlive what they use.
#[pyfunction]
fn _wgpu_close(py: Python<'_>) {
    crate::runtime::release(py, close);
}

/// Ends an adapter's device as a driver's reset would: for tests of what follows.
#[pyfunction]
fn _wgpu_lose(py: Python<'_>, index: u32) -> PyResult<()> {
    crate::runtime::release(py, || lose(index)).or_raise()
}

/// (bytes in use, peak, cached) over all adapters.
#[pyfunction]
fn _wgpu_memory() -> (u64, u64, u64) {
    let t = totals();
    (t.in_use, t.peak, t.cached)
}

#[pyfunction]
fn _wgpu_empty_cache() {
    empty_caches();
}

#[pyfunction]
fn _synchronize(py: Python<'_>, device: &Bound<'_, PyAny>) -> PyResult<()> {
    let d = crate::device::extract(device)?.unwrap_or(Device::Cpu);
    crate::runtime::release(py, || rtorch_core::backend::synchronize(d)).or_raise()
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(_wgpu_adapters, m)?)?;
    m.add_function(wrap_pyfunction!(_wgpu_limits, m)?)?;
    m.add_function(wrap_pyfunction!(_wgpu_close, m)?)?;
    m.py().import("atexit")?.call_method1("register", (m.getattr("_wgpu_close")?,))?;
    m.add_function(wrap_pyfunction!(_wgpu_lose, m)?)?;
    m.add_function(wrap_pyfunction!(_wgpu_memory, m)?)?;
    m.add_function(wrap_pyfunction!(_wgpu_empty_cache, m)?)?;
    m.add_function(wrap_pyfunction!(_synchronize, m)?)
}
