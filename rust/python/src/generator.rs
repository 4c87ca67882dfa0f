//! `rtorch.Generator`: a stream of random numbers. The streams themselves are the core's.

use pyo3::prelude::*;
use rtorch_core::Device;
use rtorch_core::ops::random::generator::{self, Generator};

use crate::error::OrRaise;
use crate::tensor::{self, wrap};

/// A source of random numbers with a state of its own.
#[pyclass(frozen, name = "Generator", module = "rtorch", subclass, weakref)]
pub struct PyGenerator(pub Generator);

#[pymethods]
impl PyGenerator {
    #[new]
    #[pyo3(signature = (device = None))]
    fn new(device: Option<&Bound<'_, PyAny>>) -> PyResult<PyGenerator> {
        let d = match device {
            None => Device::Cpu,
            Some(d) => match crate::device::extract(d)? {
                Some(d) => d,
                None => return crate::error::type_error("Generator(): argument 'device' must be torch.device"),
            },
        };
        Ok(PyGenerator(Generator::new(d)))
    }
    #[getter]
    fn device(&self) -> crate::device::PyDevice {
        crate::device::PyDevice::of(self.0.device())
    }
    fn manual_seed<'py>(slf: &Bound<'py, Self>, seed: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        slf.get().0.manual_seed(seed_of(seed)?);
        Ok(slf.clone())
    }
    fn seed(&self) -> u64 {
        self.0.seed()
    }
    fn initial_seed(&self) -> u64 {
        self.0.initial_seed()
    }
    fn get_state(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        state_tensor(slf.py(), &slf.get().0)
    }
    fn set_state<'py>(slf: &Bound<'py, Self>, state: &Bound<'py, PyAny>) -> PyResult<Bound<'py, Self>> {
        set_state(&slf.get().0, state)?;
        Ok(slf.clone())
    }
    fn clone_state(&self) -> PyResult<PyGenerator> {
        let g = Generator::new(self.0.device());
        g.set_state(&self.0.get_state()).or_raise()?;
        Ok(PyGenerator(g))
    }
    fn __repr__(slf: &Bound<'_, Self>) -> String {
        format!("<torch._C.Generator object at 0x{:x}>", slf.as_ptr() as usize)
    }
}

fn state_tensor(py: Python<'_>, g: &Generator) -> PyResult<Py<PyAny>> {
    let state = g.get_state();
    let t = rtorch_core::Tensor::from_bytes(&state, &[state.len()], rtorch_core::DType::U8, Device::Cpu).or_raise()?;
    wrap(py, t)
}

fn set_state(g: &Generator, state: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(t) = tensor::get(state).filter(|t| t.dtype() == rtorch_core::DType::U8) else {
        return crate::error::type_error("RNG state must be a torch.ByteTensor");
    };
    g.set_state(&t.to_bytes().or_raise()?).or_raise()
}

/// A seed as PyTorch takes it: negative ones count from the end of 64 bits.
fn seed_of(seed: &Bound<'_, PyAny>) -> PyResult<u64> {
    let seed = match tensor::get(seed) {
        Some(t) => crate::convert::item(seed.py(), t)?.to_i64().into_pyobject(seed.py())?.into_any(),
        None => seed.py().get_type::<pyo3::types::PyInt>().call1((seed,))?,
    };
    if let Ok(u) = seed.extract::<u64>() {
        return Ok(u);
    }
    match seed.extract::<i64>() {
        Ok(i) => Ok(i as u64),
        Err(_) => crate::error::runtime_error("Overflow when unpacking long long"),
    }
}

#[pyfunction]
fn manual_seed(py: Python<'_>, seed: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    generator::manual_seed(seed_of(seed)?);
    default_generator(py)
}

fn default_generator(py: Python<'_>) -> PyResult<Py<PyAny>> {
    Ok(py.import("rtorch._C")?.getattr("default_generator")?.unbind())
}

#[pyfunction]
fn seed() -> u64 {
    generator::seed()
}

#[pyfunction]
fn initial_seed() -> u64 {
    generator::initial_seed()
}

#[pyfunction]
fn get_rng_state(py: Python<'_>) -> PyResult<Py<PyAny>> {
    state_tensor(py, &generator::default_generator(Device::Cpu))
}

#[pyfunction]
fn set_rng_state(new_state: &Bound<'_, PyAny>) -> PyResult<()> {
    set_state(&generator::default_generator(Device::Cpu), new_state)
}

/// The generator that a device draws from where none is named: `rtorch.random.fork_rng` keeps its state.
#[pyfunction]
fn _generator_of(device: &Bound<'_, PyAny>) -> PyResult<PyGenerator> {
    match crate::device::extract(device)? {
        Some(d) => Ok(PyGenerator(generator::default_generator(d))),
        None => crate::error::type_error("_generator_of(): argument 'device' (position 1) must be torch.device"),
    }
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyGenerator>()?;
    m.add("default_generator", Py::new(m.py(), PyGenerator(generator::default_generator(Device::Cpu)))?)?;
    m.add_function(wrap_pyfunction!(manual_seed, m)?)?;
    m.add_function(wrap_pyfunction!(seed, m)?)?;
    m.add_function(wrap_pyfunction!(initial_seed, m)?)?;
    m.add_function(wrap_pyfunction!(get_rng_state, m)?)?;
    m.add_function(wrap_pyfunction!(_generator_of, m)?)?;
    m.add_function(wrap_pyfunction!(set_rng_state, m)?)
}
