//! `rtorch.dtype`, `rtorch.layout`, `rtorch.memory_format`: named constants as Python objects, one object per value.
//! Promotion and sizes stand in `rtorch-ir`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;
use rtorch_core::DType;

/// The type of a tensor's elements, `rtorch.float32`.
#[pyclass(frozen, name = "dtype", module = "rtorch")]
pub struct PyDType(pub DType);

/// Names beside the canonical ones.
pub const ALIASES: [(&str, DType); 8] = [
    ("half", DType::F16),
    ("float", DType::F32),
    ("double", DType::F64),
    ("short", DType::I16),
    ("int", DType::I32),
    ("long", DType::I64),
    ("cfloat", DType::C64),
    ("cdouble", DType::C128),
];

static OBJECTS: PyOnceLock<Vec<Py<PyDType>>> = PyOnceLock::new();

fn objects(py: Python<'_>) -> PyResult<&Vec<Py<PyDType>>> {
    OBJECTS.get_or_try_init(py, || DType::ALL.iter().map(|&d| Py::new(py, PyDType(d))).collect())
}

/// The object of a dtype.
pub fn object(py: Python<'_>, d: DType) -> PyResult<Py<PyDType>> {
    Ok(objects(py)?[d as usize].clone_ref(py))
}

#[pymethods]
impl PyDType {
    fn __repr__(&self) -> String {
        self.0.to_string()
    }
    fn __reduce__(&self, py: Python<'_>) -> PyResult<(Py<PyAny>, (&'static str,))> {
        let make = py.import("rtorch._C")?.getattr("_dtype_from_name")?;
        Ok((make.unbind(), (self.0.name(),)))
    }
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }
    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }
    #[getter]
    fn itemsize(&self) -> usize {
        self.0.size()
    }
    #[getter]
    fn is_floating_point(&self) -> bool {
        self.0.is_float()
    }
    #[getter]
    fn is_complex(&self) -> bool {
        self.0.is_complex()
    }
    #[getter]
    fn is_signed(&self) -> bool {
        self.0.is_signed()
    }
    fn to_real(&self, py: Python<'_>) -> PyResult<Py<PyDType>> {
        object(py, self.0.real())
    }
    fn to_complex(&self, py: Python<'_>) -> PyResult<Py<PyDType>> {
        if !self.0.is_differentiable() || self.0.is_storage() {
            return crate::error::runtime_error(format!("Unknown Complex ScalarType for {}", self.0.cpp_name()));
        }
        object(py, self.0.complex())
    }
}

#[pyfunction]
fn _dtype_from_name(py: Python<'_>, name: &str) -> PyResult<Py<PyDType>> {
    match DType::from_name(name) {
        Some(d) => object(py, d),
        None => crate::error::value_error(format!("unknown dtype '{name}'")),
    }
}

/// How the elements lie. Only strided tensors are the core's; sparse COO ones are composed in Python
/// (`python/rtorch/sparse`), the others are names to compare with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LayoutKind {
    Strided,
    SparseCoo,
    SparseCsr,
    SparseCsc,
    SparseBsr,
    SparseBsc,
}

impl LayoutKind {
    pub const ALL: [LayoutKind; 6] = [
        LayoutKind::Strided,
        LayoutKind::SparseCoo,
        LayoutKind::SparseCsr,
        LayoutKind::SparseCsc,
        LayoutKind::SparseBsr,
        LayoutKind::SparseBsc,
    ];
    pub fn name(self) -> &'static str {
        match self {
            LayoutKind::Strided => "strided",
            LayoutKind::SparseCoo => "sparse_coo",
            LayoutKind::SparseCsr => "sparse_csr",
            LayoutKind::SparseCsc => "sparse_csc",
            LayoutKind::SparseBsr => "sparse_bsr",
            LayoutKind::SparseBsc => "sparse_bsc",
        }
    }
}

/// `rtorch.strided` and its like.
#[pyclass(frozen, name = "layout", module = "rtorch")]
pub struct PyLayout(pub LayoutKind);

#[pymethods]
impl PyLayout {
    fn __repr__(&self) -> String {
        format!("torch.{}", self.0.name())
    }
    fn __reduce__(&self) -> &'static str {
        self.0.name()
    }
}

static LAYOUTS: PyOnceLock<Vec<Py<PyLayout>>> = PyOnceLock::new();

fn layout(py: Python<'_>, kind: LayoutKind) -> PyResult<Py<PyLayout>> {
    let make = || LayoutKind::ALL.iter().map(|&l| Py::new(py, PyLayout(l))).collect();
    Ok(LAYOUTS.get_or_try_init::<_, PyErr>(py, make)?[kind as usize].clone_ref(py))
}

pub fn strided(py: Python<'_>) -> PyResult<Py<PyLayout>> {
    layout(py, LayoutKind::Strided)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryFormat {
    Contiguous,
    Preserve,
    ChannelsLast,
    ChannelsLast3d,
}

impl MemoryFormat {
    pub const ALL: [MemoryFormat; 4] =
        [MemoryFormat::Contiguous, MemoryFormat::Preserve, MemoryFormat::ChannelsLast, MemoryFormat::ChannelsLast3d];
    pub fn name(self) -> &'static str {
        match self {
            MemoryFormat::Contiguous => "contiguous_format",
            MemoryFormat::Preserve => "preserve_format",
            MemoryFormat::ChannelsLast => "channels_last",
            MemoryFormat::ChannelsLast3d => "channels_last_3d",
        }
    }
}

/// `rtorch.channels_last` and its like.
#[pyclass(frozen, name = "memory_format", module = "rtorch")]
pub struct PyMemoryFormat(pub MemoryFormat);

#[pymethods]
impl PyMemoryFormat {
    fn __repr__(&self) -> String {
        format!("torch.{}", self.0.name())
    }
    fn __reduce__(&self) -> &'static str {
        self.0.name()
    }
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add_class::<PyDType>()?;
    m.add_class::<PyLayout>()?;
    m.add_class::<PyMemoryFormat>()?;
    m.add_function(wrap_pyfunction!(_dtype_from_name, m)?)?;
    for d in DType::ALL {
        m.add(d.name(), object(py, d)?)?;
    }
    for (name, d) in ALIASES {
        m.add(name, object(py, d)?)?;
    }
    for l in LayoutKind::ALL {
        m.add(l.name(), layout(py, l)?)?;
    }
    for f in MemoryFormat::ALL {
        m.add(f.name(), Py::new(py, PyMemoryFormat(f))?)?;
    }
    let names: Vec<&str> = DType::ALL.iter().map(|d| d.name()).chain(ALIASES.iter().map(|a| a.0)).collect();
    m.add("_dtype_names", PyTuple::new(py, names)?)
}
