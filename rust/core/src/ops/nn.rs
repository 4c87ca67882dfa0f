//! Operators of neural networks over their fused primitives.

use rtorch_ir::layout::normalize_dim;
use rtorch_ir::{Prim, Result};

use super::pointwise::not_implemented;
use crate::dispatch::prim1;
use crate::tensor::Tensor;

/// softmax (or its logarithm) along a dim.
pub fn softmax(x: &Tensor, dim: i64, log: bool) -> Result<Tensor> {
    let axis = normalize_dim(dim, x.ndim())?;
    if !x.dtype().is_float() {
        return Err(not_implemented(
            if log { "log_softmax_lastdim_kernel_impl" } else { "softmax_lastdim_kernel_impl" },
            x.dtype(),
        ));
    }
    let name = if log { "LogSoftmaxBackward0" } else { "SoftmaxBackward0" };
    if x.ndim() == 0 {
        let one = super::shape::reshape(x, &[1])?;
        return super::shape::reshape(&prim1(name, Prim::Softmax { axis: 0, log }, &[&one])?, &[]);
    }
    prim1(name, Prim::Softmax { axis, log }, &[x])
}
