//! Tensors made from sizes, numbers or Python data.

use pyo3::prelude::*;
use rtorch_core::ops::factory;
use rtorch_core::ops::pointwise::default_dtype;
use rtorch_core::{DType, Device, Layout, Result, Scalar, Tensor};

use crate::device::default_device;
use crate::dtype::MemoryFormat;
use crate::error::OrRaise;
use crate::parse::Args;
use crate::registry::Registry;
use crate::{construct, tensor};

/// The keyword arguments that all factories share; they stand at `at` .. `at + 5`.
const OPTIONS: &str =
    "dtype? dtype=None, layout? layout=None, device? device=None, bool? pin_memory=False, bool? requires_grad=False";

struct Options {
    dtype: Option<DType>,
    device: Device,
    requires_grad: bool,
}

fn options(a: &Args, at: usize) -> Options {
    Options {
        dtype: a.dtype(at).or(a.fill.map(|f| f.0)),
        device: a.device(at + 2).or(a.fill.map(|f| f.1)).unwrap_or_else(default_device),
        requires_grad: a.opt_b(at + 4).unwrap_or(false),
    }
}

/// The options of `x.new_zeros` and `zeros_like`: those of `x` where not given.
fn like(a: &Args, at: usize) -> Options {
    let o = options(a, at);
    Options {
        dtype: Some(o.dtype.unwrap_or_else(|| a.t(0).dtype())),
        device: a.device(at + 2).unwrap_or_else(|| a.t(0).device()),
        ..o
    }
}

/// A tensor made like another: inside a vmap, for each sample of that.
fn for_each_sample(t: Tensor, a: &Args, o: &Options) -> Result<crate::output::Out> {
    with_grad(rtorch_core::batch::cover(t, &[a.t(0)])?, o)
}

fn with_grad(t: Tensor, o: &Options) -> Result<crate::output::Out> {
    if o.requires_grad {
        t.set_requires_grad(true)?;
    }
    Ok(t.into())
}

pub fn register(r: &mut Registry) {
    fills(r);
    new_fills(r);
    likes(r);
    ranges(r);
    from_data(r);
}

fn fills(r: &mut Registry) {
    for (name, value) in [("zeros", 0), ("ones", 1), ("empty", 0)] {
        let extra = if name == "empty" { ", memory_format? memory_format=None" } else { "" };
        let sig = format!("{name}(int[] size, *, {OPTIONS}{extra})");
        r.op_named(name.into(), vec![sig], move |a| {
            let o = options(a, 1);
            let shape = factory::checked_shape(a.ints(0))?;
            let d = o.dtype.unwrap_or_else(default_dtype);
            let layout = match if name == "empty" { a.format(6) } else { None } {
                Some(MemoryFormat::ChannelsLast | MemoryFormat::ChannelsLast3d) => {
                    rtorch_core::ops::shape::contiguous_channels_last(&Tensor::empty(&shape, d, Device::Cpu)?)?.layout()
                }
                Some(MemoryFormat::Contiguous | MemoryFormat::Preserve) | None => Layout::contiguous(&shape),
            };
            with_grad(factory::full_with(layout, Scalar::Int(value), d, o.device)?, &o)
        })
        .function_only()
        .out_fills();
    }
    let sig = format!("full(int[] size, Scalar fill_value, *, {OPTIONS})");
    r.op_named("full".into(), vec![sig], |a| {
        let o = options(a, 2);
        let shape = factory::checked_shape(a.ints(0))?;
        let d = o.dtype.unwrap_or_else(|| rtorch_core::ops::pointwise::scalar_dtype(a.s(1)));
        a.s(1).check_fits(d, "full")?;
        with_grad(factory::full(&shape, a.s(1), d, o.device)?, &o)
    })
    .function_only()
    .out_fills();
    let sig = format!("empty_strided(int[] size, int[] stride, *, {OPTIONS})");
    r.op_named("empty_strided".into(), vec![sig], |a| {
        let o = options(a, 2);
        let d = o.dtype.unwrap_or_else(default_dtype);
        let (sizes, strides) = (factory::checked_shape(a.ints(0))?, a.ints(1));
        rtorch_ir::ensure!(
            sizes.len() == strides.len(),
            runtime,
            "dimensionality of sizes ({}) must match dimensionality of strides ({})",
            sizes.len(),
            strides.len()
        );
        let span: i64 = sizes.iter().zip(strides).map(|(&n, &s)| (n as i64 - 1).max(0) * s).sum();
        let memory = factory::zeros(&[span.max(0) as usize + 1], d, o.device)?;
        with_grad(rtorch_core::ops::shape::as_strided(&memory, a.ints(0), strides, Some(0))?.detach(), &o)
    })
    .function_only();
}

fn new_fills(r: &mut Registry) {
    for (name, value) in [("new_zeros", 0), ("new_ones", 1), ("new_empty", 0)] {
        r.op_named(name.into(), vec![format!("{name}(Tensor input, int[] size, *, {OPTIONS})")], move |a| {
            let o = like(a, 2);
            let shape = factory::checked_shape(a.ints(1))?;
            let d = o.dtype.unwrap_or_else(default_dtype);
            for_each_sample(factory::full(&shape, Scalar::Int(value), d, o.device)?, a, &o)
        })
        .method_only();
    }
    let sig = format!("new_full(Tensor input, int[] size, Scalar fill_value, *, {OPTIONS})");
    r.op_named("new_full".into(), vec![sig], |a| {
        let o = like(a, 3);
        let shape = factory::checked_shape(a.ints(1))?;
        for_each_sample(factory::full(&shape, a.s(2), o.dtype.unwrap_or_else(default_dtype), o.device)?, a, &o)
    })
    .method_only();
}

fn likes(r: &mut Registry) {
    let layout_of = |x: &Tensor, format: Option<MemoryFormat>| -> Result<Layout> {
        Ok(match format.unwrap_or(MemoryFormat::Preserve) {
            MemoryFormat::Preserve => factory::like_layout(x),
            MemoryFormat::Contiguous => Layout::contiguous(&x.shape()),
            f @ (MemoryFormat::ChannelsLast | MemoryFormat::ChannelsLast3d) => {
                let e = Tensor::empty(&x.shape(), x.dtype(), Device::Cpu)?;
                super::shape::in_format(&e, f)?.layout()
            }
        })
    };
    for (name, value) in [("zeros_like", 0), ("ones_like", 1), ("empty_like", 0)] {
        let sig = format!("{name}(Tensor input, *, {OPTIONS}, memory_format? memory_format=None)");
        r.op_named(name.into(), vec![sig], move |a| {
            let o = like(a, 1);
            let layout = layout_of(a.t(0), a.format(6))?;
            let d = o.dtype.unwrap_or_else(default_dtype);
            let made = match name {
                "empty_like" => factory::empty_with(layout, d, o.device)?,
                _ => factory::full_with(layout, Scalar::Int(value), d, o.device)?,
            };
            for_each_sample(made, a, &o)
        })
        .function_only();
    }
    let sig = format!("full_like(Tensor input, Scalar fill_value, *, {OPTIONS}, memory_format? memory_format=None)");
    r.op_named("full_like".into(), vec![sig], move |a| {
        let o = like(a, 2);
        let layout = layout_of(a.t(0), a.format(7))?;
        for_each_sample(factory::full_with(layout, a.s(1), o.dtype.unwrap_or_else(default_dtype), o.device)?, a, &o)
    })
    .function_only();
}

fn ranges(r: &mut Registry) {
    let sigs = vec![
        format!("arange(Scalar end, *, {OPTIONS})"),
        format!("arange(Scalar start, Scalar end, *, {OPTIONS})"),
        format!("arange(Scalar start, Scalar end, Scalar step=1, *, {OPTIONS})"),
    ];
    r.op_named("arange".into(), sigs, |a| {
        let (start, end, step) = match a.overload {
            0 => (Scalar::Int(0), a.s(0), Scalar::Int(1)),
            1 => (a.s(0), a.s(1), Scalar::Int(1)),
            _ => (a.s(0), a.s(1), a.s(2)),
        };
        let o = options(a, a.overload + 1);
        let ints = [start, end, step].iter().all(|s| matches!(s, Scalar::Int(_) | Scalar::Bool(_)));
        let d = o.dtype.unwrap_or_else(|| if ints { DType::I64 } else { default_dtype() });
        if d == DType::Bool || d.is_complex() {
            return Err(rtorch_core::ops::pointwise::not_implemented("arange", d));
        }
        with_grad(factory::arange(start, end, step, d, o.device)?, &o)
    })
    .function_only()
    .out_fills();
    let sigs = [
        "Scalar start, Scalar end",
        "Tensor start, Scalar end",
        "Scalar start, Tensor end",
        "Tensor start, Tensor end",
    ]
    .map(|ends| format!("linspace({ends}, int steps, *, {OPTIONS})"))
    .to_vec();
    r.op_named("linspace".into(), sigs, |a| {
        let o = options(a, 3);
        for (i, name) in [(0, "start"), (1, "end")] {
            if let Some(t) = a.opt_t(i) {
                return Err(rtorch_core::Error::runtime(format!(
                    "linspace only supports 0-dimensional start and end tensors, but got {name} with {} dimension(s).",
                    t.ndim()
                )));
            }
        }
        rtorch_ir::ensure!(a.i(2) >= 0, runtime, "number of steps must be non-negative");
        let d = o.dtype.unwrap_or_else(default_dtype);
        with_grad(factory::linspace(a.s(0).to_f64(), a.s(1).to_f64(), a.i(2) as usize, d, o.device)?, &o)
    })
    .function_only()
    .out_fills();
    let sigs = vec![format!("eye(int n, *, {OPTIONS})"), format!("eye(int n, int m, *, {OPTIONS})")];
    r.op_named("eye".into(), sigs, |a| {
        let o = options(a, a.overload + 1);
        let (n, m) = (a.i(0), if a.overload == 0 { a.i(0) } else { a.i(1) });
        rtorch_ir::ensure!(n >= 0, runtime, "n must be greater or equal to 0, got {n}");
        rtorch_ir::ensure!(m >= 0, runtime, "m must be greater or equal to 0, got {m}");
        with_grad(factory::eye(n as usize, m as usize, o.dtype.unwrap_or_else(default_dtype), o.device)?, &o)
    })
    .function_only()
    .out_fills();
}

fn from_data(r: &mut Registry) {
    let sig = "tensor(object data, *, dtype? dtype=None, device? device=None, bool requires_grad=False, bool \
    pin_memory=False)";
    r.py("tensor", &[sig], |py, a| {
        let none = py.None();
        let data = a.opt_obj(0).unwrap_or(&none).bind(py);
        if tensor::get(data).is_some() {
            rtorch_core::warn::once(
                "To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or \
                 sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
            );
        }
        let device = match (a.device(2), tensor::get(data)) {
            (Some(d), _) => d,
            (None, Some(t)) => t.device(),
            (None, None) => default_device(),
        };
        let t = construct::value(data, a.dtype(1), device)?;
        if a.b(3) {
            t.set_requires_grad(true).or_raise()?;
        }
        tensor::wrap(py, t)
    })
    .function_only();
    let sig =
        "new_tensor(Tensor input, object data, *, dtype? dtype=None, device? device=None, bool requires_grad=False)";
    r.py("new_tensor", &[sig], |py, a| {
        let none = py.None();
        let data = a.opt_obj(1).unwrap_or(&none).bind(py);
        let (d, device) = (a.dtype(2).unwrap_or(a.t(0).dtype()), a.device(3).unwrap_or(a.t(0).device()));
        let t = construct::value(data, Some(d), device)?;
        if a.b(4) {
            t.set_requires_grad(true).or_raise()?;
        }
        tensor::wrap(py, t)
    })
    .method_only();
    for name in ["as_tensor", "asarray"] {
        let sig: &'static str = if name == "as_tensor" {
            "as_tensor(object data, dtype? dtype=None, device? device=None)"
        } else {
            "asarray(object obj, *, dtype? dtype=None, device? device=None, bool? copy=None, bool requires_grad=False)"
        };
        r.py(name, &[sig], as_tensor).function_only();
    }
}

fn as_tensor(py: Python<'_>, a: &Args) -> PyResult<Py<PyAny>> {
    let none = py.None();
    let data = a.opt_obj(0).unwrap_or(&none).bind(py);
    let copy = a.vals.len() > 3 && a.opt_b(3) == Some(true);
    let shared = match tensor::get(data) {
        Some(t) => Some(t.clone()),
        None if crate::numpy::is_array(data) => Some(crate::numpy::from_array(data, true)?),
        None => None,
    };
    let no_copy = a.vals.len() > 3 && a.opt_b(3) == Some(false);
    if let (Some(t), Some(d), true) = (&shared, a.dtype(1), no_copy)
        && d != t.dtype()
    {
        return crate::error::value_error(format!(
            "can't alias tensor with dtype '{}' into dtype '{}'.",
            t.dtype().cpp_name(),
            d.cpp_name()
        ));
    }
    let t = match shared {
        Some(t) if !copy => {
            let device = a.device(2).unwrap_or_else(|| t.device());
            let t = rtorch_core::ops::convert::to_device(&t, device).or_raise()?;
            rtorch_core::ops::convert::to_dtype(&t, a.dtype(1).unwrap_or_else(|| t.dtype())).or_raise()?
        }
        _ => construct::value(data, a.dtype(1), a.device(2).unwrap_or_else(default_device))?,
    };
    if a.vals.len() > 4 && a.b(4) {
        t.set_requires_grad(true).or_raise()?;
    }
    tensor::wrap(py, t)
}
