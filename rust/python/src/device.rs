//! `rtorch.device`: where tensors live, and the default device of factories.

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use rtorch_core::Device;

use crate::error::OrRaise;

/// A kind of device and, perhaps, which one.
#[pyclass(frozen, name = "device", module = "rtorch", eq, hash)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PyDevice {
    device: DeviceKind,
    index: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum DeviceKind {
    Cpu,
    Wgpu,
    Meta,
    /// One of PyTorch's that does not exist here: it can be named and compared, no tensor lives there.
    Other(&'static str),
}

/// Kinds of devices that PyTorch programs name.
const OTHERS: [&str; 10] = ["cuda", "mps", "xpu", "xla", "hpu", "mtia", "ipu", "vulkan", "privateuseone", "mkldnn"];

/// The default device, and what `with device:` blocks put in front of it.
static DEFAULT: Mutex<(Option<Device>, Vec<Option<Device>>)> = Mutex::new((None, Vec::new()));

pub fn default_device() -> Device {
    DEFAULT.lock().0.unwrap_or_default()
}

impl PyDevice {
    pub fn of(d: Device) -> PyDevice {
        match d {
            Device::Cpu => PyDevice { device: DeviceKind::Cpu, index: None },
            Device::Wgpu(i) => PyDevice { device: DeviceKind::Wgpu, index: Some(i) },
            Device::Meta => PyDevice { device: DeviceKind::Meta, index: None },
        }
    }
    /// Where tensors of this device live; an error for devices that only have a name.
    pub fn get(&self) -> PyResult<Device> {
        Ok(match self.device {
            DeviceKind::Cpu => Device::Cpu,
            DeviceKind::Wgpu => Device::Wgpu(self.index.unwrap_or(0)),
            DeviceKind::Meta => Device::Meta,
            DeviceKind::Other(name) => {
                return Err(PyRuntimeError::new_err(format!(
                    "rtorch has no device '{name}': tensors live on 'cpu', on 'wgpu' (any GPU) or on 'meta'"
                )));
            }
        })
    }
    fn parse(text: &str) -> PyResult<PyDevice> {
        let kind = text.split_once(':').map_or(text, |t| t.0);
        let named = match OTHERS.iter().find(|o| **o == kind) {
            Some(name) => PyDevice { device: DeviceKind::Other(name), index: None },
            None => PyDevice::of(Device::parse(text).or_raise()?),
        };
        let index = match text.split_once(':') {
            Some((_, i)) => Some(
                i.parse::<u32>().map_err(|_| PyRuntimeError::new_err(format!("Invalid device string: '{text}'")))?,
            ),
            None => None,
        };
        Ok(PyDevice { index, ..named })
    }
    fn type_name(&self) -> &'static str {
        match self.device {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Wgpu => "wgpu",
            DeviceKind::Meta => "meta",
            DeviceKind::Other(name) => name,
        }
    }
}

/// A device from an object, a string or an index of the accelerator.
pub fn extract(obj: &Bound<'_, PyAny>) -> PyResult<Option<Device>> {
    if let Ok(d) = obj.cast::<PyDevice>() {
        return d.get().get().map(Some);
    }
    if let Ok(s) = obj.cast::<PyString>() {
        return PyDevice::parse(s.to_str()?)?.get().map(Some);
    }
    if crate::convert::is_int(obj) {
        return Ok(Some(Device::Wgpu(index_of(obj.extract::<i64>()?)?)));
    }
    Ok(None)
}

fn index_of(i: i64) -> PyResult<u32> {
    u32::try_from(i).map_err(|_| PyRuntimeError::new_err(format!("Device index must not be negative, got {i}")))
}

#[pymethods]
impl PyDevice {
    #[new]
    #[pyo3(signature = (device = None, index = None, r#type = None))]
    fn new(
        device: Option<&Bound<'_, PyAny>>,
        index: Option<i64>,
        r#type: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyDevice> {
        let Some(what) = device.or(r#type) else {
            return Err(PyTypeError::new_err("device(): missing 1 required argument: 'type' or 'device'"));
        };
        let base = if let Ok(d) = what.cast::<PyDevice>() {
            *d.get()
        } else if let Ok(s) = what.cast::<PyString>() {
            PyDevice::parse(s.to_str()?)?
        } else if crate::convert::is_int(what) {
            PyDevice::of(Device::Wgpu(index_of(what.extract()?)?))
        } else {
            return Err(PyTypeError::new_err(format!(
                "device(): argument 'device' (position 1) must be torch.device, str or int, not {}",
                what.get_type().name()?
            )));
        };
        let Some(i) = index else { return Ok(base) };
        if base.index.is_some() {
            return Err(PyRuntimeError::new_err(
                "type (string) must not include an index because index was passed explicitly",
            ));
        }
        let i = index_of(i)?;
        if base.device == DeviceKind::Cpu && i > 0 {
            return Err(PyRuntimeError::new_err(format!("Invalid device string: 'cpu:{i}'")));
        }
        Ok(PyDevice { index: Some(i), ..base })
    }
    #[getter]
    fn r#type(&self) -> &'static str {
        self.type_name()
    }
    #[getter]
    fn index(&self) -> Option<u32> {
        self.index
    }
    fn __repr__(&self) -> String {
        match self.index {
            None => format!("device(type='{}')", self.type_name()),
            Some(i) => format!("device(type='{}', index={i})", self.type_name()),
        }
    }
    fn __str__(&self) -> String {
        match self.index {
            None => self.type_name().to_string(),
            Some(i) => format!("{}:{i}", self.type_name()),
        }
    }
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<(Py<PyAny>, (String,))> {
        Ok((slf.get_type().into_any().unbind(), (slf.get().__str__(),)))
    }
    fn __enter__(slf: Py<Self>) -> PyResult<Py<Self>> {
        let device = slf.get().get()?;
        let mut d = DEFAULT.lock();
        let before = d.0;
        d.1.push(before);
        d.0 = Some(device);
        drop(d);
        Ok(slf)
    }
    #[pyo3(signature = (*_exc))]
    fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
        let mut d = DEFAULT.lock();
        if let Some(before) = d.1.pop() {
            d.0 = before;
        }
    }
    fn __call__(&self, py: Python<'_>, func: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(py.import("rtorch._device")?.getattr("decorate")?.call1((*self, func))?.unbind())
    }
}

#[pyfunction]
fn set_default_device(device: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let d = match device {
        None => None,
        Some(d) => match extract(d)? {
            Some(d) => Some(d),
            None => return Err(PyTypeError::new_err("set_default_device(): expected a device")),
        },
    };
    DEFAULT.lock().0 = d;
    Ok(())
}

#[pyfunction]
fn get_default_device() -> PyDevice {
    PyDevice::of(default_device())
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<PyDevice>()?;
    m.add_function(wrap_pyfunction!(set_default_device, m)?)?;
    m.add_function(wrap_pyfunction!(get_default_device, m)?)
}
