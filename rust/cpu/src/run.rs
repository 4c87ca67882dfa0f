//! `run`: the one exhaustive match from a primitive to its kernel. Kernels live in the files named as `Prim::name`.
//! Not here: pointwise programs (`interp`), shapes and dtypes of results (`rtorch_ir::prim`).

use rtorch_ir::{Prim, Result};

use crate::{Arg, Epilogue, Source};

/// Runs a primitive: reads `inputs` (evaluating their prologues), writes `outs` (allocated by the caller, of the
/// shapes and dtypes that `Prim::infer` answers, in any layout).
pub fn run(prim: &Prim, inputs: &[Source], epilogue: Option<&Epilogue>, outs: &[Arg]) -> Result<()> {
    match prim {
        // the result's layout says where dimensions were kept
        Prim::Reduce { op, axes, keepdim: _, dtype } => crate::reduce::reduce(*op, axes, *dtype, inputs, outs),
        Prim::Extreme { largest, axis, keepdim: _ } => crate::reduce::extreme(*largest, *axis, inputs, outs),
        Prim::VarMean { axes, keepdim: _, correction } => crate::reduce::var_mean(axes, *correction, inputs, outs),
        Prim::MatMul { alpha, beta, .. } => crate::matmul::matmul(*alpha, *beta, inputs, epilogue, outs),
        Prim::Conv { params, .. } => crate::conv::conv(params, inputs, epilogue, outs),
        Prim::ConvGradInput { params, .. } => crate::conv::conv_grad_input(params, inputs, outs),
        Prim::ConvGradWeight { params, .. } => crate::conv::conv_grad_weight(params, inputs, outs),
        Prim::MaxPool { params } => crate::pool::max_pool(params, inputs, outs),
        Prim::MaxPoolGrad { input } => crate::pool::max_pool_grad(input, inputs, outs),
        Prim::AvgPool { params } => crate::pool::avg_pool(params, inputs, outs),
        Prim::AvgPoolGrad { params, input } => crate::pool::avg_pool_grad(params, input, inputs, outs),
        Prim::AdaptiveAvgPool { out } => crate::pool::adaptive_avg_pool(out, inputs, outs),
        Prim::AdaptiveAvgPoolGrad { input } => crate::pool::adaptive_avg_pool_grad(input, inputs, outs),
        Prim::AdaptiveMaxPool { out } => crate::pool::adaptive_max_pool(out, inputs, outs),
        Prim::Attention(params) => crate::attention::attention(params, inputs, outs),
        Prim::AttentionGrad(params) => crate::attention::attention_grad(params, inputs, outs),
        Prim::Gather { axis } => crate::gather::gather(*axis, inputs, outs),
        Prim::Scatter { axis, op } => crate::scatter::scatter(*axis, *op, inputs, outs),
        Prim::IndexSelect { axis } => crate::gather::index_select(*axis, inputs, outs),
        Prim::IndexAdd { axis, op } => crate::scatter::index_add(*axis, *op, inputs, outs),
        Prim::Index { n } => crate::gather::index(*n, inputs, outs),
        Prim::IndexPut { n, accumulate } => crate::scatter::index_put(*n, *accumulate, inputs, outs),
        Prim::Cat { axis } => crate::assemble::cat(*axis, inputs, outs),
        Prim::ScatterView { view, base } => crate::scatter::scatter_view(view, base, inputs, outs),
        Prim::Scan { op, axis } => crate::scan::scan(*op, *axis, inputs, outs),
        // every sort is stable
        Prim::Sort { axis, descending, stable: _ } => crate::sort::sort(*axis, *descending, inputs, outs),
        Prim::TopK { k, axis, largest, sorted } => crate::sort::topk(*k, *axis, *largest, *sorted, inputs, outs),
        Prim::Softmax { axis, log } => crate::softmax::softmax(*axis, *log, inputs, outs),
        Prim::SoftmaxGrad { axis, log } => crate::softmax::softmax_grad(*axis, *log, inputs, outs),
        Prim::LayerNorm { dims, eps, weight, bias, rms } => {
            crate::norm::layer_norm(*dims, *eps, (*weight, *bias), *rms, inputs, outs)
        }
        Prim::LayerNormGrad { dims, weight, rms } => crate::norm::layer_norm_grad(*dims, *weight, *rms, inputs, outs),
        Prim::BatchNorm { eps, weight, bias } => crate::norm::batch_norm(*eps, (*weight, *bias), inputs, outs),
        Prim::BatchNormGrad { eps, weight } => crate::norm::batch_norm_grad(*eps, *weight, inputs, outs),
        Prim::Fft { kind, axes, scale } => crate::fft::fft(*kind, axes, *scale, inputs, outs),
        Prim::GridSample(params) => crate::grid_sample::grid_sample(*params, inputs, outs),
        Prim::GridSampleGrad(params) => crate::grid_sample::grid_sample_grad(*params, inputs, outs),
        Prim::EmbeddingBag { mean, weighted: _, padding } => {
            crate::embedding_bag::embedding_bag(*mean, *padding, inputs, outs)
        }
        Prim::Distance { metric, upper } => crate::distance::distance(*metric, *upper, inputs, outs),
        Prim::DistanceGrad(metric) => crate::distance::distance_grad(*metric, inputs, outs),
        Prim::CtcLoss(p) => crate::ctc::ctc_loss(p, inputs, outs),
        Prim::CtcLossGrad(p) => crate::ctc::ctc_loss_grad(p, inputs, outs),
        Prim::Resize { params } => crate::resize::resize(params, inputs, outs),
        Prim::ResizeGrad { params, input } => crate::resize::resize_grad(params, input, inputs, outs),
        Prim::Special(f) => crate::special::special(*f, inputs, outs),
        Prim::Linalg(op) => crate::linalg::linalg(*op, inputs, outs),
        Prim::Nonzero => crate::nonzero::nonzero(inputs, outs),
    }
}
