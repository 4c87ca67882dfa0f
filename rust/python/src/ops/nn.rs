//! Operators of neural networks: `rtorch._C._nn`, and those that are names of `rtorch` as well.

use rtorch_core::ops::{linalg, nn};

use crate::registry::Registry;

pub fn register(r: &mut Registry) {
    r.op("linear", &["linear(Tensor input, Tensor weight, Tensor? bias=None)"], |a| {
        Ok(linalg::linear(a.t(0), a.t(1), a.opt_t(2))?.into())
    })
    .within("_nn");
    for (name, log) in [("softmax", false), ("log_softmax", true)] {
        let sig = format!("{name}(Tensor input, int dim, dtype? dtype=None)");
        r.op_named(name.into(), vec![sig], move |a| Ok(nn::softmax_in(a.t(0), a.i(1), log, a.dtype(2))?.into())).out();
    }
    r.op("relu", &["relu(Tensor input)"], |a| Ok(nn::relu(a.t(0), None)?.into()));
    r.op("relu_", &["relu_(Tensor input)"], |a| Ok(nn::relu(a.t(0), Some(a.t(0)))?.into()));
}
