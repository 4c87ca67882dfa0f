//! Primitives: which run here, and the way from each to its kernel's file. Not here: the kernels.

use std::sync::Arc;

use rtorch_ir::{DType, Error, Layout, Prim, Program, Result};

use crate::device::Device;
use crate::emit;
use crate::matmul::Scale;
use crate::memory::Buffer;
use crate::norm::Has;
use crate::reduce::Fold;
use crate::{GpuArg, GpuEpilogue, GpuSource};

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
        | Prim::MatMul { .. }
        | Prim::Softmax { .. }
        | Prim::Gather { .. }
        | Prim::Scatter { .. }
        | Prim::IndexSelect { .. }
        | Prim::IndexAdd { .. }
        | Prim::Index { .. }
        | Prim::IndexPut { .. }
        | Prim::Cat { .. }
        | Prim::ScatterView { .. }
        | Prim::MaxPoolGrad { .. }
        | Prim::MaxPool { .. }
        | Prim::AvgPool { .. }
        | Prim::AvgPoolGrad { .. }
        | Prim::AdaptiveAvgPool { .. }
        | Prim::AdaptiveAvgPoolGrad { .. }
        | Prim::AdaptiveMaxPool { .. }
        | Prim::LayerNorm { .. }
        | Prim::LayerNormGrad { .. }
        | Prim::BatchNorm { .. }
        | Prim::BatchNormGrad { .. }
        | Prim::Attention(_)
        | Prim::AttentionGrad(_)
        | Prim::Scan { .. }
        | Prim::Sort { .. }
        | Prim::TopK { .. }
        | Prim::Nonzero
        | Prim::SoftmaxGrad { .. } => Support::Native,
        Prim::Conv { .. } | Prim::ConvGradInput { .. } | Prim::ConvGradWeight { .. } => {
            if dtypes.iter().all(|d| d.is_float()) { Support::Native } else { Support::Host }
        }
        Prim::Linalg(_) | Prim::Fft { .. } | Prim::Special(_) => Support::Host,
        // compositions do without them on the GPU
        Prim::EmbeddingBag { .. }
        | Prim::CtcLoss(_)
        | Prim::CtcLossGrad(_)
        | Prim::GridSample(_)
        | Prim::GridSampleGrad(_)
        | Prim::Distance { .. }
        | Prim::DistanceGrad(_)
        | Prim::Resize { .. }
        | Prim::ResizeGrad { .. } => Support::Host,
    }
}

/// A prologue's value in memory.
struct Value {
    buffer: Buffer,
    layout: Layout,
    program: Program,
}

impl Device {
    /// Runs a primitive into outputs that the caller made (of the shapes and dtypes of `Prim::infer`, but for the first
    /// where there is an epilogue, which only products and convolutions take).
    pub fn run(
        self: &Arc<Self>,
        prim: &Prim,
        inputs: &[GpuSource],
        epilogue: Option<&GpuEpilogue>,
        outs: &[GpuArg],
    ) -> Result<()> {
        self.check()?;
        let dtypes: Vec<DType> = inputs.iter().map(|s| s.dtype()).chain(outs.iter().map(|o| o.dtype)).collect();
        if support(prim, &dtypes) == Support::Host {
            return Err(host(prim, &dtypes));
        }
        if let Some(done) = self.in_windows(prim, inputs, epilogue, outs) {
            return done;
        }
        let limit = self.profile.storage_buffers as usize;
        let buffers = inputs.iter().map(|s| s.leaves.len()).sum::<usize>() + outs.len() + 1;
        if let Some(e) = epilogue {
            if prim.takes_epilogue() && buffers + e.leaves.len() <= limit {
                return self.dispatch(prim, inputs, epilogue, outs);
            }
            return self.apart(e, &outs[0], |temporary| self.run(prim, inputs, None, &[*temporary]));
        }
        // a prologue with more leaves than there are bindings is evaluated first
        if buffers <= limit {
            return self.dispatch(prim, inputs, None, outs);
        }
        let made: Result<Vec<Option<Value>>> = inputs
            .iter()
            .map(|s| {
                if s.program.is_identity() {
                    return Ok(None);
                }
                let (buffer, layout) = self.materialise(s, s.dtype())?;
                Ok(Some(Value { buffer, layout, program: Program::copy(s.dtype(), s.dtype()) }))
            })
            .collect();
        let made = made?;
        let leaves: Vec<Option<[GpuArg; 1]>> = made
            .iter()
            .zip(inputs)
            .map(|(v, s)| v.as_ref().map(|v| [GpuArg { buffer: &v.buffer, dtype: s.dtype(), layout: &v.layout }]))
            .collect();
        let slim: Vec<GpuSource> = inputs
            .iter()
            .enumerate()
            .map(|(i, s)| match (&made[i], &leaves[i]) {
                (Some(v), Some(l)) => GpuSource { program: &v.program, leaves: l, shape: s.shape },
                _ => *s,
            })
            .collect();
        self.dispatch(prim, &slim, None, outs)
    }

    fn dispatch(
        self: &Arc<Self>,
        prim: &Prim,
        inputs: &[GpuSource],
        epilogue: Option<&GpuEpilogue>,
        outs: &[GpuArg],
    ) -> Result<()> {
        let (a, out) = (&inputs[0], &outs[0]);
        match prim {
            Prim::Reduce { op, axes, dtype, .. } => self.reduce(*op, axes, a, out, *dtype),
            Prim::Extreme { largest, axis, .. } => {
                let axes: &[usize] = if a.shape.is_empty() { &[] } else { &[*axis] };
                self.fold_two(Fold::Extreme { largest: *largest }, axes, a, outs, 0.0)
            }
            Prim::VarMean { axes, correction, .. } => {
                let mut p = a.program.clone();
                p.outputs[0] = p.cast(p.outputs[0], DType::F32);
                self.fold_two(Fold::Var, axes, &GpuSource { program: &p, ..*a }, outs, *correction)
            }
            Prim::MatMul { bias, alpha, beta } => {
                self.matmul(Scale { bias: *bias, alpha: *alpha, beta: *beta }, inputs, epilogue, out)
            }
            Prim::Softmax { axis, log } => self.softmax(a, *axis, *log, out, None),
            Prim::SoftmaxGrad { axis, log } => self.softmax_grad(inputs, *axis, *log, out),
            Prim::Gather { axis } => self.gather(*axis, inputs, out),
            Prim::IndexSelect { axis } => self.index(*axis, inputs, out),
            Prim::Index { .. } => self.index(0, inputs, out),
            Prim::Scatter { axis, op } => self.scatter(*axis, *op, inputs, out),
            Prim::IndexAdd { axis, op } => self.index_add(*axis, *op, inputs, out),
            Prim::IndexPut { accumulate, .. } => self.index_put(*accumulate, inputs, out),
            Prim::Cat { axis } => self.cat(*axis, inputs, out),
            Prim::ScatterView { view, .. } => self.scatter_view(a, view, out),
            Prim::MaxPoolGrad { input } => self.plane_add(inputs, input, out),
            Prim::Conv { params, .. } => self.conv(params, inputs, epilogue, out),
            Prim::ConvGradInput { params, .. } => self.conv_grad_input(params, inputs, out),
            Prim::ConvGradWeight { params, .. } => self.conv_grad_weight(params, inputs, out),
            Prim::MaxPool { params } => self.max_pool(params, a, outs),
            Prim::AvgPool { params } => self.avg_pool(params, a, outs),
            Prim::AvgPoolGrad { params, input } => self.avg_pool_grad(params, input, a, outs),
            Prim::AdaptiveAvgPool { out } => self.adaptive_pool(false, out, a, outs),
            Prim::AdaptiveMaxPool { out } => self.adaptive_pool(true, out, a, outs),
            Prim::AdaptiveAvgPoolGrad { input } => self.adaptive_avg_pool_grad(input, a, outs),
            Prim::LayerNorm { dims, eps, weight, bias, rms } => {
                let has = Has { weight: *weight, bias: *bias, rms: *rms };
                self.layer_norm(*dims, *eps, has, inputs, outs)
            }
            Prim::LayerNormGrad { dims, weight, rms } => self.layer_norm_grad(*dims, *weight, *rms, inputs, outs),
            Prim::BatchNorm { eps, weight, bias } => {
                self.batch_norm(*eps, Has { weight: *weight, bias: *bias, rms: false }, inputs, outs)
            }
            Prim::BatchNormGrad { eps, weight } => self.batch_norm_grad(*eps, *weight, inputs, outs),
            Prim::Attention(p) => self.attention(p, inputs, outs),
            Prim::AttentionGrad(p) => self.attention_grad(p, inputs, outs),
            Prim::Scan { op, axis } => self.scan(*op, *axis, a, outs),
            // every sort is stable
            Prim::Sort { axis, descending, stable: _ } => self.sort(*axis, *descending, a, outs),
            Prim::TopK { k: _, axis, largest, sorted: _ } => self.sort(*axis, *largest, a, outs),
            Prim::Nonzero => self.nonzero_into(a, out),
            Prim::Linalg(_) | Prim::Fft { .. } | Prim::Special(_) => Err(host(prim, &[])),
            Prim::EmbeddingBag { .. }
            | Prim::CtcLoss(_)
            | Prim::CtcLossGrad(_)
            | Prim::GridSample(_)
            | Prim::GridSampleGrad(_)
            | Prim::Distance { .. }
            | Prim::DistanceGrad(_)
            | Prim::Resize { .. }
            | Prim::ResizeGrad { .. } => Err(host(prim, &[])),
        }
    }
}

fn host(prim: &Prim, dtypes: &[DType]) -> Error {
    Error::not_implemented(format!("{}: not on the wgpu device for {dtypes:?}", prim.name()))
}
