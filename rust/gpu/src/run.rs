//! Primitives: which run here, and the way from each to its kernel's file. Not here: the kernels.

use std::sync::Arc;

use rtorch_ir::{DType, Error, Prim, Result};

use crate::device::Device;
use crate::emit;
use crate::{GpuArg, GpuSource};

/// Where a primitive runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    Native,
    /// The core copies the operands to the host, runs the CPU's kernel and counts it.
    Host,
}

/// Does a primitive on operands of these dtypes run on the GPU?
pub fn support(prim: &Prim, dtypes: &[DType]) -> Support {
    if dtypes.iter().any(|&d| emit::check_dtype(d).is_err()) {
        return Support::Host;
    }
    match prim {
        Prim::Reduce { .. }
        | Prim::Extreme { .. }
        | Prim::VarMean { .. }
        | Prim::Scan { .. }
        | Prim::MatMul { .. }
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
        | Prim::Linalg(_) => Support::Host,
    }
}

impl Device {
    /// Runs a primitive into outputs that the caller made (of the shapes and dtypes of `Prim::infer`).
    pub fn run(self: &Arc<Self>, prim: &Prim, inputs: &[GpuSource], outs: &[GpuArg]) -> Result<()> {
        self.check()?;
        let dtypes: Vec<DType> = inputs.iter().map(|s| s.dtype()).chain(outs.iter().map(|o| o.dtype)).collect();
        if support(prim, &dtypes) == Support::Host {
            return Err(Error::not_implemented(format!("{}: not on the wgpu device for {dtypes:?}", prim.name())));
        }
        Ok(())
    }
}
