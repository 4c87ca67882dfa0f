//! Log softmax at one index per line, which is all that cross entropy wants of it: on the CPU neither the other
//! logarithms nor the gradient of the choice are ever written, each as large as the logits. Its slow meaning, and its
//! derivative's derivative, is `composed`.

use rtorch_ir::{Layout, Prim, Result};

use super::activation::softmax;
use super::rule::{Backward, Save, record};
use crate::autograd::mode;
use crate::backend::{self, Input, Window};
use crate::batch;
use crate::defer;
use crate::dispatch::{self, prim1};
use crate::ops::shape;
use crate::tensor::Tensor;
use crate::trace;

/// As the graph names it.
const NAME: &str = "LogSoftmaxBackward0";

/// log_softmax(x, axis) at `index` (int64, x's shape without the axis, every element a class).
pub fn log_softmax_at(name: &'static str, x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor> {
    let fused = x.device().is_cpu() && x.dtype().is_float() && x.ndim() > 0 && x.numel() > 0;
    if !fused || batch::any(&[x, index]) {
        return composed(name, x, axis, index);
    }
    // what it stands for, and is made of on a GPU
    for p in [Prim::Softmax { axis, log: true }, Prim::Gather { axis }] {
        trace::prim(&p, std::iter::once(x.dtype()));
    }
    let (out, max, log_sum) = {
        let _off = mode::Guard::new(false);
        forward(x, axis, index)?
    };
    let save = [Save::Input(x), Save::Input(&max), Save::Input(&log_sum), Save::Input(index)];
    record(NAME, &[x], &[&out], &save, move |b| backward(b, axis))?;
    Ok(out)
}

/// The same, the logarithms of all classes written; `name` is the choice's in the graph.
pub fn composed(name: &'static str, x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor> {
    pick(name, &softmax(x, axis as i64, true)?, axis, index)
}

/// x at one index per line.
pub fn pick(name: &'static str, x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor> {
    let picked = prim1(name, Prim::Gather { axis }, &[x, &shape::unsqueeze(index, axis as i64)?])?;
    shape::reshape_to(&picked, index.shape())
}

/// The logits as the kernel reads them: what is pending and cheap is evaluated on the way.
fn logits(x: &Tensor, axis: usize) -> Result<Input> {
    let o = x.operand();
    defer::input(&o, dispatch::prologue_cost(&Prim::Softmax { axis, log: true }, 0, &o.layout, x.device()))
}

fn forward(x: &Tensor, axis: usize, index: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let (x, dtype, input) = (&x.detach(), x.dtype(), logits(x, axis)?);
    let fresh = |dtype| Tensor::empty_with(Layout::contiguous(&index.shape()), dtype, x.device());
    let compute = if dtype.size() < 4 { rtorch_ir::DType::F32 } else { dtype };
    let (out, max, log_sum) = (fresh(dtype)?, fresh(compute)?, fresh(compute)?);
    let window = dispatch::window;
    let outs: [Window; 3] = [window(&out)?, window(&max)?, window(&log_sum)?];
    backend::log_softmax_at(axis, &input, &window(index)?, &outs)?;
    Ok((out, max, log_sum))
}

fn backward(b: &Backward, axis: usize) -> Result<Vec<Option<Tensor>>> {
    let (x, index) = (b.saved(0)?, b.saved(3)?.detach());
    let many = b.grads.iter().flatten().any(batch::is_batched);
    if mode::is_enabled() || many {
        return crate::vjp::by_composition(&[x], |t| Ok(vec![composed(NAME, &t[0], axis, &index)?]), b.grads);
    }
    let (g, max, log_sum) = (b.grad(0)?, b.saved(1)?, b.saved(2)?);
    let x = x.detach();
    let out = Tensor::empty_with(Layout::contiguous(&x.shape()), x.dtype(), x.device())?;
    let window = dispatch::window;
    let scales = [&window(&max)?, &window(&log_sum)?];
    backend::log_softmax_at_grad(axis, &window(&g)?, &logits(&x, axis)?, &window(&index)?, scales, &window(&out)?)?;
    Ok(vec![Some(out)])
}
