//! Dropout: a mask of draws and one pointwise program. On the CPU the mask is PyTorch's `bernoulli_(1 - p)` of the
//! input's shape; on a GPU the draws are part of the program.

use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Program, Result, ensure};

use crate::dispatch;
use crate::kernel::Kernel;
use crate::ops::factory::like_layout;
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::random::{Distribution, default_generator, fill, fill_};
use crate::tensor::Tensor;

/// Zeroes elements with probability p and scales the rest by 1 / (1 - p) (Hinton et al. 2012).
pub fn dropout(x: &Tensor, p: f64, train: bool) -> Result<Tensor> {
    ensure!((0.0..=1.0).contains(&p), runtime, "dropout probability has to be between 0 and 1, but got {p}");
    if p == 0.0 || !train || x.numel() == 0 {
        return Ok(x.clone());
    }
    let dtype = x.dtype();
    ensure!(
        dtype.is_float(),
        runtime,
        "result type Float can't be cast to the desired output type {}",
        dtype.cpp_name()
    );
    if p == 1.0 {
        return compose("dropout_all", "MulBackward0", Rule::Same, &[Arg::T(x)], None, |a| a[0] * 0.0);
    }
    let keep = 1.0 - p;
    // 1 / (1 - p) as PyTorch rounds it: the division runs in the dtype's own precision
    let scale = if dtype == DType::F64 { 1.0 / keep } else { (1.0f32 / keep as f32) as f64 };
    if !x.device().is_cpu() {
        let (seed, first) = default_generator(x.device()).philox(x.numel());
        let (mut program, y) = build(Program::new(), || {
            let x = Ex::leaf(dtype);
            let u = fill::uniform(seed, first);
            (x * ex::lt(u, u.lit(keep)).cast(DType::F32) * scale).cast(dtype)
        });
        program.outputs.push(y.0);
        return dispatch::map("NativeDropoutBackward0", &Kernel::new(program), &[x]);
    }
    let mask = Tensor::empty_with(like_layout(x), DType::Bool, x.device())?;
    fill_(&mask, &Distribution::Bernoulli { p: keep }, None)?;
    compose("dropout", "MulBackward0", Rule::Same, &[Arg::T(x), Arg::T(&mask), Arg::S(scale.into())], None, |a| {
        a[0] * (a[1] * a[2])
    })
}
