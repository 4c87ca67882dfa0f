//! Automatic mixed precision: while it is on, operators that a policy names get their tensors in another dtype before
//! they run. Here are the policies, the state of the thread and the casts; the context manager that users see is
//! `rtorch.amp`. Compositions in Python that have a policy ask `_autocast_full`.
//!
//! The lists are PyTorch's, one for CPUs and one for accelerators: products in the lower precision, sums and functions
//! of wide range in float32, and what mixes operands in the widest of theirs.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rtorch_core::ops::convert::to_dtype;
use rtorch_core::{DType, Device, Result, Tensor};

use crate::dtype::PyDType;
use crate::error::OrRaise;
use crate::parse::{Args, Val};
use crate::tensor;

/// What becomes of an operator's floating tensors (float64 is left alone).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Keep,
    /// To the autocast dtype.
    Lower,
    /// To float32.
    Full,
    /// To the widest among them.
    Widest,
}

/// On both kinds of devices.
const LOWER: &[&str] = &[
    "addbmm",
    "addmm",
    "baddbmm",
    "bmm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
    "matmul",
    "mm",
    "scaled_dot_product_attention",
];
const LOWER_ACCELERATOR: &[&str] = &["addmv", "addr", "mv", "prelu", "rnn_layer"];
const LOWER_CPU: &[&str] = &["rnn_layer"];
const FULL: &[&str] = &["binary_cross_entropy", "cdist", "cross_entropy_loss", "nll_loss", "prod"];
const FULL_ACCELERATOR: &[&str] = &[
    "__pow__",
    "acos",
    "asin",
    "cosh",
    "cumprod",
    "cumsum",
    "dist",
    "erfinv",
    "exp",
    "expm1",
    "group_norm",
    "layer_norm",
    "log",
    "log10",
    "log1p",
    "log2",
    "log_softmax",
    "logsumexp",
    "norm",
    "pow",
    "reciprocal",
    "rms_norm",
    "rsqrt",
    "sinh",
    "softmax",
    "softplus",
    "sum",
    "tan",
];
const FULL_CPU: &[&str] = &[
    "adaptive_avg_pool3d",
    "avg_pool3d",
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "max_pool3d",
    "nanquantile",
    "quantile",
    "trace",
];
const WIDEST: &[&str] = &["cat", "index_copy", "stack"];
const WIDEST_ACCELERATOR: &[&str] =
    &["addcdiv", "addcmul", "atan2", "bilinear", "cross", "dot", "index_put", "scatter_add", "tensordot", "vdot"];

/// Policies of an operator: on CPUs, on accelerators.
pub fn policies(name: &str) -> [Policy; 2] {
    let of = |lower: &[&str], full: &[&str], widest: &[&str]| {
        if LOWER.contains(&name) || lower.contains(&name) {
            Policy::Lower
        } else if FULL.contains(&name) || full.contains(&name) {
            Policy::Full
        } else if WIDEST.contains(&name) || widest.contains(&name) {
            Policy::Widest
        } else {
            Policy::Keep
        }
    };
    [of(LOWER_CPU, FULL_CPU, &[]), of(LOWER_ACCELERATOR, FULL_ACCELERATOR, WIDEST_ACCELERATOR)]
}

/// A thread's setting. The first of each pair is the CPU's, the second accelerators'.
struct State {
    dtype: [DType; 2],
    cache: bool,
    depth: u32,
    /// Casts of parameters made since the outermost context was entered, by the parameter.
    casts: Vec<(Tensor, Tensor)>,
}

thread_local! {
    static ON: Cell<[bool; 2]> = const { Cell::new([false; 2]) };
    static STATE: RefCell<State> = const {
        RefCell::new(State { dtype: [DType::BF16, DType::F16], cache: true, depth: 0, casts: Vec::new() })
    };
}

/// Is it on for any device?
#[inline]
pub fn active() -> bool {
    ON.get() != [false; 2]
}

fn slot(device: Device) -> usize {
    usize::from(!device.is_cpu())
}

/// A floating tensor of a device for which it is on, which the policies are about.
fn eligible(t: &Tensor) -> bool {
    let dtype = t.dtype();
    ON.get()[slot(t.device())] && dtype.is_float() && dtype != DType::F64
}

fn cast(t: &Tensor, to: DType) -> Result<Tensor> {
    let parameter = t.dtype() == DType::F32 && to != DType::F32 && t.requires_grad() && t.grad_fn().is_none();
    let cached = parameter && STATE.with(|s| s.borrow().cache && s.borrow().depth > 0);
    if cached {
        let found = STATE.with(|s| {
            let s = s.borrow();
            s.casts.iter().find(|c| c.0.same(t) && c.1.dtype() == to).map(|c| c.1.clone())
        });
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let made = to_dtype(t, to)?;
    // one made where nothing is recorded would cut the graph of a later use
    if cached && made.requires_grad() {
        STATE.with(|s| s.borrow_mut().casts.push((t.clone(), made.clone())));
    }
    Ok(made)
}

/// The tensors among arguments.
fn tensors<'v>(vals: &'v mut [Val]) -> impl Iterator<Item = &'v mut Tensor> {
    vals.iter_mut().flat_map(|v| {
        let found: Vec<&mut Tensor> = match v {
            Val::Tensor(t) => vec![t.to_mut()],
            Val::Tensors(l) => l.iter_mut().collect(),
            Val::OptTensors(l) => l.iter_mut().flatten().collect(),
            Val::None
            | Val::Scalar(_)
            | Val::Int(_)
            | Val::Ints(_)
            | Val::Float(_)
            | Val::Bool(_)
            | Val::Str(_)
            | Val::DType(_)
            | Val::Device(_)
            | Val::Layout
            | Val::MemoryFormat(_)
            | Val::Generator(_)
            | Val::Object(_) => Vec::new(),
        };
        found
    })
}

/// Casts the arguments of a call as the operator's policies say.
pub fn apply(policies: [Policy; 2], args: &mut Args) -> Result<()> {
    let Some(device) = tensors(&mut args.vals).next().map(|t| t.device()) else { return Ok(()) };
    let to = match policies[slot(device)] {
        Policy::Keep => return Ok(()),
        Policy::Full => DType::F32,
        Policy::Lower => STATE.with(|s| s.borrow().dtype[slot(device)]),
        Policy::Widest => {
            let wide = tensors(&mut args.vals).any(|t| t.dtype() == DType::F32);
            if wide { DType::F32 } else { return Ok(()) }
        }
    };
    for t in tensors(&mut args.vals) {
        if eligible(t) && t.dtype() != to {
            *t = cast(t, to)?;
        }
    }
    Ok(())
}

fn kind(device_type: &str) -> PyResult<usize> {
    match device_type {
        "cpu" => Ok(0),
        // programs ask by PyTorch's accelerator: rtorch has one setting for accelerators
        "wgpu" | "cuda" => Ok(1),
        other => Err(PyRuntimeError::new_err(format!(
            "User specified an unsupported autocast device_type '{other}': rtorch has cpu and wgpu"
        ))),
    }
}

#[pyfunction]
#[pyo3(signature = (device_type=None))]
fn is_autocast_enabled(device_type: Option<&str>) -> PyResult<bool> {
    Ok(ON.get()[kind(device_type.unwrap_or("wgpu"))?])
}

#[pyfunction]
fn set_autocast_enabled(device_type: &str, enabled: bool) -> PyResult<()> {
    let mut on = ON.get();
    on[kind(device_type)?] = enabled;
    ON.set(on);
    Ok(())
}

#[pyfunction]
fn get_autocast_dtype(py: Python<'_>, device_type: &str) -> PyResult<Py<PyDType>> {
    let kind = kind(device_type)?;
    crate::dtype::object(py, STATE.with(|s| s.borrow().dtype[kind]))
}

#[pyfunction]
fn set_autocast_dtype(device_type: &str, dtype: &Bound<'_, PyDType>) -> PyResult<()> {
    let (kind, dtype) = (kind(device_type)?, dtype.get().0);
    STATE.with(|s| s.borrow_mut().dtype[kind] = dtype);
    Ok(())
}

#[pyfunction]
fn is_autocast_cache_enabled() -> bool {
    STATE.with(|s| s.borrow().cache)
}

#[pyfunction]
fn set_autocast_cache_enabled(enabled: bool) {
    STATE.with(|s| s.borrow_mut().cache = enabled);
}

/// Forgets the casts of parameters.
#[pyfunction]
fn clear_autocast_cache() {
    // dropped outside of the borrow: a tensor's end may run Python
    drop(STATE.with(|s| std::mem::take(&mut s.borrow_mut().casts)));
}

#[pyfunction]
fn autocast_increment_nesting() -> u32 {
    STATE.with(|s| {
        let mut s = s.borrow_mut();
        s.depth += 1;
        s.depth
    })
}

#[pyfunction]
fn autocast_decrement_nesting() -> u32 {
    STATE.with(|s| {
        let mut s = s.borrow_mut();
        s.depth = s.depth.saturating_sub(1);
        s.depth
    })
}

#[pyfunction]
fn _autocast_active() -> bool {
    active()
}

/// A tensor as a composition that is to run in float32 wants it; anything else as it is.
#[pyfunction]
fn _autocast_full(py: Python<'_>, x: Py<PyAny>) -> PyResult<Py<PyAny>> {
    let bound = x.bind(py);
    match tensor::get(bound) {
        Some(t) if active() && eligible(t) && t.dtype() != DType::F32 => {
            tensor::wrap(py, cast(t, DType::F32).or_raise()?)
        }
        _ => Ok(x),
    }
}

pub fn install(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(is_autocast_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(set_autocast_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(get_autocast_dtype, m)?)?;
    m.add_function(wrap_pyfunction!(set_autocast_dtype, m)?)?;
    m.add_function(wrap_pyfunction!(is_autocast_cache_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(set_autocast_cache_enabled, m)?)?;
    m.add_function(wrap_pyfunction!(clear_autocast_cache, m)?)?;
    m.add_function(wrap_pyfunction!(autocast_increment_nesting, m)?)?;
    m.add_function(wrap_pyfunction!(autocast_decrement_nesting, m)?)?;
    m.add_function(wrap_pyfunction!(_autocast_active, m)?)?;
    m.add_function(wrap_pyfunction!(_autocast_full, m)?)
}
