//! Operators of neural networks: `rtorch._C._nn`, and those that are names of `rtorch` as well.

use rtorch_core::ops::{convert, linalg, nn};
use rtorch_core::{Result, ScalarOp, Tensor};

use crate::registry::Registry;

fn softmax(x: &Tensor, dim: i64, dtype: Option<rtorch_core::DType>, log: bool) -> Result<Tensor> {
    match dtype {
        Some(d) => nn::softmax(&convert::to_dtype(x, d)?, dim, log),
        None => nn::softmax(x, dim, log),
    }
}

pub fn register(r: &mut Registry) {
    r.op("linear", &["linear(Tensor input, Tensor weight, Tensor? bias=None)"], |a| {
        Ok(linalg::linear(a.t(0), a.t(1), a.opt_t(2))?.into())
    })
    .within("_nn");
    for (name, log) in [("softmax", false), ("log_softmax", true)] {
        let sig = format!("{name}(Tensor input, int dim, dtype? dtype=None)");
        r.op_named(name.into(), vec![sig], move |a| Ok(softmax(a.t(0), a.i(1), a.dtype(2), log)?.into())).out();
    }
    r.op("relu", &["relu(Tensor input)"], |a| Ok(relu(a.t(0), None)?.into()));
    r.op("relu_", &["relu_(Tensor input)"], |a| Ok(relu(a.t(0), Some(a.t(0)))?.into()));
    r.op("silu", &["silu(Tensor input)"], |a| Ok(silu(a.t(0), None)?.into())).within("_nn");
}

fn relu(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    use rtorch_core::ops::pointwise::{Rule, compose};
    use rtorch_ir::program::ex;
    // NaN stays NaN; the gradient at 0 is 0
    compose("relu", "ReluBackward0", Rule::Same, &[rtorch_core::ops::Arg::T(x)], dest, |e| {
        ex::where_(ex::le(e[0], e[0].lit(0.0)), e[0].lit(0.0), e[0])
    })
}

fn silu(x: &Tensor, dest: Option<&Tensor>) -> Result<Tensor> {
    use rtorch_core::ops::pointwise::{Rule, compose};
    compose("silu", "SiluBackward0", Rule::FloatOnly, &[rtorch_core::ops::Arg::T(x)], dest, |e| {
        e[0] * rtorch_ir::Ex::apply(ScalarOp::Sigmoid, &[e[0]])
    })
}
