//! `run`: the one exhaustive match from a primitive to its kernel. Kernels live in the files named as `Prim::name`.
//! Not here: pointwise programs (`interp`), shapes and dtypes of results (`rtorch_ir::prim`).

use rtorch_ir::{Error, Prim, Result};

use crate::{Arg, Epilogue, Source};

/// Runs a primitive: reads `inputs` (evaluating their prologues), writes `outs` (allocated by the caller, of the
/// shapes and dtypes that `Prim::infer` answers, in any layout).
pub fn run(prim: &Prim, inputs: &[Source], epilogue: Option<&Epilogue>, outs: &[Arg]) -> Result<()> {
    match prim {
        Prim::MatMul { alpha, beta, .. } => crate::matmul::matmul(*alpha, *beta, inputs, epilogue, outs),
        Prim::Reduce { .. }
        | Prim::Extreme { .. }
        | Prim::VarMean { .. }
        | Prim::Scan { .. }
        | Prim::Conv { .. }
        | Prim::ConvGradInput { .. }
        | Prim::ConvGradWeight { .. }
        | Prim::MaxPool { .. }
        | Prim::MaxPoolGrad { .. }
        | Prim::AvgPool { .. }
        | Prim::AvgPoolGrad { .. }
        | Prim::AdaptiveAvgPool { .. }
        | Prim::AdaptiveAvgPoolGrad { .. }
        | Prim::AdaptiveMaxPool { .. }
        | Prim::Gather { .. }
        | Prim::Scatter { .. }
        | Prim::IndexSelect { .. }
        | Prim::IndexAdd { .. }
        | Prim::Index { .. }
        | Prim::IndexPut { .. }
        | Prim::Cat { .. }
        | Prim::ScatterView { .. }
        | Prim::Sort { .. }
        | Prim::TopK { .. }
        | Prim::Nonzero
        | Prim::Softmax { .. }
        | Prim::SoftmaxGrad { .. }
        | Prim::LayerNorm { .. }
        | Prim::LayerNormGrad { .. }
        | Prim::BatchNorm { .. }
        | Prim::BatchNormGrad { .. }
        | Prim::Attention(_)
        | Prim::AttentionGrad(_)
        | Prim::Linalg(_) => {
            let _ = (inputs, epilogue, outs);
            Err(Error::not_implemented(format!("{}: no CPU kernel yet", prim.name())))
        }
    }
}
