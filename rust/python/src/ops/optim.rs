//! Fused optimizer steps and what clips gradients: functions of `rtorch._C` over lists of tensors, for `rtorch.optim`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use rtorch_core::Tensor;
use rtorch_core::optim::{self, Adam, Formula, Sgd};

use crate::error::OrRaise;
use crate::output::Out;
use crate::parse::Args;
use crate::registry::Registry;
use crate::tensor::{self, PyTensor};

pub fn register(r: &mut Registry) {
    let sig = "_fused_sgd_(Tensor[] params, Tensor[] grads, object momentum_buffers, float lr, float momentum, \
               float dampening, float weight_decay, bool nesterov, bool maximize)";
    r.py("_fused_sgd_", &[sig], sgd).function_only();
    let sig = "_fused_adam_(Tensor[] params, Tensor[] grads, Tensor[] exp_avgs, Tensor[] exp_avg_sqs, \
               Tensor[] max_exp_avg_sqs, Tensor[] state_steps, float lr, float beta1, float beta2, float weight_decay, \
               float eps, bool amsgrad, bool maximize, bool decoupled)";
    r.op("_fused_adam_", &[sig], |a| {
        let o = Adam {
            lr: a.f(6),
            beta1: a.f(7),
            beta2: a.f(8),
            weight_decay: a.f(9),
            eps: a.f(10),
            amsgrad: a.b(11),
            maximize: a.b(12),
            decoupled: a.b(13),
        };
        Ok(optim::adam_(a.ts(0), a.ts(1), a.ts(2), a.ts(3), a.ts(4), a.ts(5), &o)?.into())
    })
    .function_only();
    let sig = "_fused_step_(str formula, Tensor[] params, Tensor[] grads, Tensor[] states, Tensor[] state_steps, \
               object numbers, bool maximize)";
    r.py("_fused_step_", &[sig], table_step).function_only();
    r.py("_with_grads", &["_with_grads(object params)"], with_grads).function_only();
    r.py("_zero_grads", &["_zero_grads(object params, bool set_to_none)"], zero_grads).function_only();
    r.op("_foreach_norm", &["_foreach_norm(Tensor[] tensors, float ord=2.0)"], |a| {
        Ok(Out::List(optim::foreach_norm(a.ts(0), a.f(1))?))
    })
    .function_only();
    let sigs = ["_foreach_mul_(Tensor[] tensors, Tensor other)", "_foreach_mul_(Tensor[] tensors, Scalar other)"];
    r.op("_foreach_mul_", &sigs, |a| Ok(optim::foreach_mul_(a.ts(0), a.arg(1))?.into())).function_only();
}

/// `momentum_buffers` is a list whose missing entries are filled in.
fn sgd(py: Python<'_>, a: &Args) -> PyResult<Py<PyAny>> {
    let none = py.None();
    let list = a.opt_obj(2).unwrap_or(&none).bind(py);
    let Ok(list) = list.cast::<PyList>() else {
        return Err(PyTypeError::new_err("_fused_sgd_(): momentum_buffers must be a list"));
    };
    let mut buffers: Vec<Option<Tensor>> = list.iter().map(|b| tensor::get(&b).cloned()).collect();
    let missing: Vec<bool> = buffers.iter().map(Option::is_none).collect();
    let o = Sgd {
        lr: a.f(3),
        momentum: a.f(4),
        dampening: a.f(5),
        weight_decay: a.f(6),
        nesterov: a.b(7),
        maximize: a.b(8),
    };
    let small = a.numel() < tensor::DETACH_NUMEL;
    let run = |buffers: &mut Vec<Option<Tensor>>| optim::sgd_(a.ts(0), a.ts(1), buffers, &o);
    let done = if small { run(&mut buffers) } else { crate::runtime::release(py, || run(&mut buffers)) }.or_raise()?;
    if done {
        for (i, b) in buffers.into_iter().enumerate() {
            if missing[i] {
                list.set_item(i, tensor::wrap_opt(py, b)?)?;
            }
        }
    }
    crate::convert::scalar_to_py(py, rtorch_core::Scalar::Bool(done))
}

/// A step of the core's table of formulas, chosen by its name.
fn table_step(py: Python<'_>, a: &Args) -> PyResult<Py<PyAny>> {
    let Some(formula) = Formula::ALL.into_iter().find(|f| f.name() == a.str(0)) else {
        return Err(PyTypeError::new_err(format!("_fused_step_(): there is no formula {:?}", a.str(0))));
    };
    let none = py.None();
    let numbers: Vec<f64> = a.opt_obj(5).unwrap_or(&none).bind(py).extract()?;
    let run = || optim::step_(formula, a.ts(1), a.ts(2), a.ts(3), a.ts(4), &numbers, a.b(6));
    let done = if a.numel() < tensor::DETACH_NUMEL { run() } else { crate::runtime::release(py, run) }.or_raise()?;
    crate::convert::scalar_to_py(py, rtorch_core::Scalar::Bool(done))
}

/// The parameters that have a gradient, and their gradients.
fn with_grads(py: Python<'_>, a: &Args) -> PyResult<Py<PyAny>> {
    let none = py.None();
    let (params, grads) = (PyList::empty(py), PyList::empty(py));
    for p in a.opt_obj(0).unwrap_or(&none).bind(py).try_iter()? {
        let p = p?;
        let Ok(t) = p.cast::<PyTensor>() else {
            return Err(PyTypeError::new_err("_with_grads(): expected tensors"));
        };
        if let Some(g) = tensor::grad_object(t)? {
            grads.append(g)?;
            params.append(p)?;
        }
    }
    Ok((params, grads).into_pyobject(py)?.into_any().unbind())
}

/// Drops (or zeroes) gradients and the Python objects that stand for them.
fn zero_grads(py: Python<'_>, a: &Args) -> PyResult<Py<PyAny>> {
    let none = py.None();
    let set_to_none = a.b(1);
    for p in a.opt_obj(0).unwrap_or(&none).bind(py).try_iter()? {
        let p = p?;
        let Ok(p) = p.cast::<PyTensor>() else {
            return Err(PyTypeError::new_err("_zero_grads(): expected tensors"));
        };
        let me = p.get();
        optim::zero_grads(std::slice::from_ref(&me.t), set_to_none).or_raise()?;
        if set_to_none {
            let old = me.grad.lock().take();
            drop(old);
        }
    }
    Ok(none)
}
