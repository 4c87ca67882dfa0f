//! Primitives: kernels with a name, as a closed enum, and the shape and dtype of what each answers.
//! The kernels are the same base names in `rtorch-cpu` and `rtorch-gpu`, the derivatives in `rtorch-core/src/vjp`.

mod linalg;

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::layout::{Layout, Shape};
use crate::special::SpecialFn;

mod params;

pub use params::{
    AttentionParams, Axes, ConvParams, CtcParams, FftKind, LinalgOp, Metric, PoolParams, ReduceOp, ResizeParams,
    SampleMode, SamplePadding, SampleParams, ScanOp, ScatterOp, Spatial,
};

/// A primitive with its parameters. Inputs are named in the order they are passed.
#[derive(Clone, PartialEq, Debug)]
pub enum Prim {
    /// x -> reduced over `axes` (kept as 1 or dropped), accumulated at least in f32, stored as `dtype`.
    Reduce {
        op: ReduceOp,
        axes: Axes,
        keepdim: bool,
        dtype: DType,
    },
    /// x -> values, int64 positions of the largest or smallest along one axis.
    Extreme {
        largest: bool,
        axis: usize,
        keepdim: bool,
    },
    /// x -> variance (divisor n - correction), mean.
    VarMean {
        axes: Axes,
        keepdim: bool,
        correction: f64,
    },
    /// x -> running value along an axis (and int64 positions for Max and Min).
    Scan {
        op: ScanOp,
        axis: usize,
    },
    /// (a [*, m, k], b [*, k, n]) -> [*, m, n]; batch dims equal. With `bias` a third input, already broadcast to the
    /// result: alpha * a @ b + beta * c.
    MatMul {
        bias: bool,
        alpha: f64,
        beta: f64,
    },
    /// (x [n, c, ...], w [o, c/groups, ...], bias [o] if `bias`) -> [n, o, ...].
    Conv {
        params: ConvParams,
        bias: bool,
    },
    /// (g [n, o, ...], w) -> gradient of x, of shape `input`.
    ConvGradInput {
        params: ConvParams,
        input: Shape,
    },
    /// (g, x) -> gradient of w, of shape `weight`.
    ConvGradWeight {
        params: ConvParams,
        weight: Shape,
    },
    /// x [n, c, ...] -> values, int64 positions in the flattened input plane.
    MaxPool {
        params: PoolParams,
    },
    /// (g, positions) -> gradient of x: adds each g to its position in planes of the sizes `input`.
    MaxPoolGrad {
        input: Shape,
    },
    /// x -> means of windows.
    AvgPool {
        params: PoolParams,
    },
    /// g -> gradient of x.
    AvgPoolGrad {
        params: PoolParams,
        input: Shape,
    },
    /// x [n, c, ...] -> means of windows of about equal size, `out` of them per spatial dimension.
    AdaptiveAvgPool {
        out: Spatial,
    },
    AdaptiveAvgPoolGrad {
        input: Shape,
    },
    /// Values and positions.
    AdaptiveMaxPool {
        out: Spatial,
    },
    /// (x, index int64) -> x[.., index[i..], ..] along the axis, of index's shape.
    Gather {
        axis: usize,
    },
    /// (x, index, src) -> copy of x with src scattered along the axis.
    Scatter {
        axis: usize,
        op: ScatterOp,
    },
    /// (x, index int64 of any shape) -> the axis of x replaced by index's dimensions.
    IndexSelect {
        axis: usize,
    },
    /// (x, index 1-d, src) -> copy of x with the slices of src added (or set) at index along the axis.
    IndexAdd {
        axis: usize,
        op: ScatterOp,
    },
    /// (x, int64 indices of one shape) -> advanced indexing of the first `n` dimensions of x.
    Index {
        n: usize,
    },
    /// (x, values, indices...) -> copy of x with values put (or added) there.
    IndexPut {
        n: usize,
        accumulate: bool,
    },
    /// Inputs joined along an axis.
    Cat {
        axis: usize,
    },
    /// g -> zeros of shape `base` (row-major) with g added at the elements `view` of it: the vjp of every view.
    ScatterView {
        view: Layout,
        base: Shape,
    },
    /// x -> values, int64 positions; NaN counts as largest.
    Sort {
        axis: usize,
        descending: bool,
        stable: bool,
    },
    /// x -> the k largest or smallest, positions; where not `sorted` only the last of them has its place.
    TopK {
        k: usize,
        axis: usize,
        largest: bool,
        sorted: bool,
    },
    /// x -> int64 [count, ndim] positions of what is not zero, in row-major order; its size is known after it ran.
    Nonzero,
    /// x -> softmax (or its logarithm) along an axis.
    Softmax {
        axis: usize,
        log: bool,
    },
    /// (g, y) -> gradient of x.
    SoftmaxGrad {
        axis: usize,
        log: bool,
    },
    /// (x, weight, bias as present) -> y, mean, rstd over the last `dims` dimensions (mean 0 when `rms`).
    LayerNorm {
        dims: usize,
        eps: f64,
        weight: bool,
        bias: bool,
        rms: bool,
    },
    /// (g, x, mean, rstd, weight if present) -> gradients of x, weight, bias (the last two of the normalized shape).
    LayerNormGrad {
        dims: usize,
        weight: bool,
        rms: bool,
    },
    /// (x [n, c, ...], weight, bias as present) -> y, mean, biased variance over all but dim 1.
    BatchNorm {
        eps: f64,
        weight: bool,
        bias: bool,
    },
    /// (g, x, mean, variance, weight if present) -> gradients of x, weight, bias.
    BatchNormGrad {
        eps: f64,
        weight: bool,
    },
    /// (q, k, v [b, h, t, d], mask) -> out, logsumexp of each row (f32 or f64).
    Attention(AttentionParams),
    /// (g, q, k, v, out, logsumexp, mask) -> gradients of q, k, v.
    AttentionGrad(AttentionParams),
    /// See `LinalgOp`.
    Linalg(LinalgOp),
    /// x -> its transform along `axes` (at least one; the halved one last), times `scale`.
    Fft {
        kind: FftKind,
        axes: Axes,
        scale: f64,
    },
    /// (x [n, c, spatial...], grid [n, places..., d]) -> x at the places [n, c, places...]; d is 2 or 3, and a place
    /// names the last spatial dimension first.
    GridSample(SampleParams),
    /// (g, x, grid) -> gradients of x and grid.
    GridSampleGrad(SampleParams),
    /// (x1 [b, p, m], x2 [b, r, m]), float32 or float64, m > 0 -> distances of their rows [b, p, r]. `upper`: those
    /// with j > i, the others are 0.
    Distance {
        metric: Metric,
        upper: bool,
    },
    /// (g [b, p, r], x1, x2, distances) -> gradients of x1 and x2.
    DistanceGrad(Metric),
    /// (weight [v, d], index int64 [n], offsets int64 [bags], a factor for each index [n] if `weighted`) -> sums (or
    /// means) of each bag's rows [bags, d], the bag of each index int64 [n], its factor there [n]. Rows `padding` count
    /// for nothing.
    EmbeddingBag {
        mean: bool,
        weighted: bool,
        padding: Option<usize>,
    },
    /// (log_probs [t, n, c], labels int64 of all samples, table int64 [n, 3]: where a sample's labels begin, how many
    /// they are, how many steps it has) -> loss [n], logarithms of the forward probabilities [n, steps, width].
    CtcLoss(CtcParams),
    /// (g [n], log_probs, labels, table, loss, forward probabilities) -> gradient of log_probs.
    CtcLossGrad(CtcParams),
    /// x [n, c, ...] -> [n, c, out...].
    Resize {
        params: ResizeParams,
    },
    /// g -> gradient of x, of shape `input`.
    ResizeGrad {
        params: ResizeParams,
        input: Shape,
    },
    /// Arguments of one shape and floating dtype -> the function of each element.
    Special(SpecialFn),
}

/// Shape and dtype of an operand or a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    pub shape: Shape,
    pub dtype: DType,
}

impl Meta {
    pub fn new(shape: &[usize], dtype: DType) -> Meta {
        Meta { shape: Shape::from_slice(shape), dtype }
    }
}

/// The shape of a reduction over `axes`.
pub fn reduced_shape(shape: &[usize], axes: &[usize], keepdim: bool) -> Shape {
    let mut out = Shape::new();
    for (d, &s) in shape.iter().enumerate() {
        if !axes.contains(&d) {
            out.push(s);
        } else if keepdim {
            out.push(1);
        }
    }
    out
}

/// Output size of a convolution or pooling window along one dimension.
pub fn window_count(size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize) -> usize {
    let reach = dilation * (kernel - 1) + 1;
    if size + 2 * padding < reach { 0 } else { (size + 2 * padding - reach) / stride + 1 }
}

impl Prim {
    /// The name in messages and statistics, and of the files that hold the kernels.
    pub fn name(&self) -> &'static str {
        match self {
            Prim::Reduce { .. } => "reduce",
            Prim::Extreme { .. } => "extreme",
            Prim::VarMean { .. } => "var_mean",
            Prim::Scan { .. } => "scan",
            Prim::MatMul { .. } => "matmul",
            Prim::Conv { .. } => "conv",
            Prim::ConvGradInput { .. } => "conv_grad_input",
            Prim::ConvGradWeight { .. } => "conv_grad_weight",
            Prim::MaxPool { .. } => "max_pool",
            Prim::MaxPoolGrad { .. } => "max_pool_grad",
            Prim::AvgPool { .. } => "avg_pool",
            Prim::AvgPoolGrad { .. } => "avg_pool_grad",
            Prim::AdaptiveAvgPool { .. } => "adaptive_avg_pool",
            Prim::AdaptiveAvgPoolGrad { .. } => "adaptive_avg_pool_grad",
            Prim::AdaptiveMaxPool { .. } => "adaptive_max_pool",
            Prim::Gather { .. } => "gather",
            Prim::Scatter { .. } => "scatter",
            Prim::IndexSelect { .. } => "index_select",
            Prim::IndexAdd { .. } => "index_add",
            Prim::Index { .. } => "index",
            Prim::IndexPut { .. } => "index_put",
            Prim::Cat { .. } => "cat",
            Prim::ScatterView { .. } => "scatter_view",
            Prim::Sort { .. } => "sort",
            Prim::TopK { .. } => "topk",
            Prim::Nonzero => "nonzero",
            Prim::Softmax { .. } => "softmax",
            Prim::SoftmaxGrad { .. } => "softmax_grad",
            Prim::LayerNorm { .. } => "layer_norm",
            Prim::LayerNormGrad { .. } => "layer_norm_grad",
            Prim::BatchNorm { .. } => "batch_norm",
            Prim::BatchNormGrad { .. } => "batch_norm_grad",
            Prim::Attention(_) => "attention",
            Prim::AttentionGrad(_) => "attention_grad",
            Prim::Linalg(_) => "linalg",
            Prim::Fft { .. } => "fft",
            Prim::GridSample(_) => "grid_sample",
            Prim::GridSampleGrad(_) => "grid_sample_grad",
            Prim::Distance { .. } => "distance",
            Prim::DistanceGrad(_) => "distance_grad",
            Prim::EmbeddingBag { .. } => "embedding_bag",
            Prim::CtcLoss(_) => "ctc_loss",
            Prim::CtcLossGrad(_) => "ctc_loss_grad",
            Prim::Resize { .. } => "resize",
            Prim::ResizeGrad { .. } => "resize_grad",
            Prim::Special(f) => f.name(),
        }
    }

    /// Does it move elements without looking at them? Then it takes every dtype.
    pub fn moves(&self) -> bool {
        match self {
            Prim::Gather { .. } | Prim::IndexSelect { .. } | Prim::Index { .. } | Prim::Cat { .. } => true,
            Prim::Scatter { op, .. } | Prim::IndexAdd { op, .. } => *op == ScatterOp::Set,
            Prim::IndexPut { accumulate, .. } => !accumulate,
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
            | Prim::Linalg(_)
            | Prim::Fft { .. }
            | Prim::GridSample(_)
            | Prim::GridSampleGrad(_)
            | Prim::Distance { .. }
            | Prim::DistanceGrad(_)
            | Prim::EmbeddingBag { .. }
            | Prim::CtcLoss(_)
            | Prim::CtcLossGrad(_)
            | Prim::Resize { .. }
            | Prim::ResizeGrad { .. }
            | Prim::Special(_) => false,
        }
    }

    /// Shapes and dtypes of the results. The operands were checked by the operator that recorded the primitive; the
    /// number of rows of `Nonzero` is not known before it runs (0 here).
    pub fn infer(&self, x: &[Meta]) -> SmallVec<[Meta; 3]> {
        let first = |i: usize| x[i].clone();
        let with = |shape: Shape, dtype: DType| Meta { shape, dtype };
        let acc = |d: DType| if matches!(d, DType::F16 | DType::BF16) { DType::F32 } else { d };
        match self {
            Prim::Reduce { axes, keepdim, dtype, .. } => {
                smallvec![with(reduced_shape(&x[0].shape, axes, *keepdim), *dtype)]
            }
            Prim::Extreme { axis, keepdim, .. } => {
                let s = reduced_shape(&x[0].shape, &[*axis], *keepdim);
                smallvec![with(s.clone(), x[0].dtype), with(s, DType::I64)]
            }
            Prim::VarMean { axes, keepdim, .. } => {
                let s = reduced_shape(&x[0].shape, axes, *keepdim);
                smallvec![with(s.clone(), x[0].dtype), with(s, x[0].dtype)]
            }
            Prim::Scan { op, .. } => match op {
                ScanOp::Max | ScanOp::Min => smallvec![first(0), with(x[0].shape.clone(), DType::I64)],
                ScanOp::Sum | ScanOp::Prod | ScanOp::LogSumExp => smallvec![first(0)],
            },
            Prim::MatMul { .. } => {
                let last = x[0].shape.len() - 1;
                let mut s = crate::layout::copied(&x[0].shape);
                s[last] = x[1].shape[last];
                smallvec![with(s, x[0].dtype)]
            }
            Prim::Conv { params, .. } => smallvec![with(conv_shape(params, &x[0].shape, &x[1].shape), x[0].dtype)],
            Prim::ConvGradInput { input, .. } => smallvec![with(input.clone(), x[0].dtype)],
            Prim::ConvGradWeight { weight, .. } => smallvec![with(weight.clone(), x[0].dtype)],
            Prim::MaxPool { params: PoolParams { out, .. } } | Prim::AdaptiveMaxPool { out } => {
                let s = || pooled(&x[0].shape, out);
                smallvec![with(s(), x[0].dtype), with(s(), DType::I64)]
            }
            Prim::AvgPool { params } => smallvec![with(pooled(&x[0].shape, &params.out), x[0].dtype)],
            Prim::AdaptiveAvgPool { out } => smallvec![with(pooled(&x[0].shape, out), x[0].dtype)],
            Prim::MaxPoolGrad { input }
            | Prim::ScatterView { base: input, .. }
            | Prim::AvgPoolGrad { input, .. }
            | Prim::AdaptiveAvgPoolGrad { input }
            | Prim::ResizeGrad { input, .. } => {
                smallvec![with(input.clone(), x[0].dtype)]
            }
            Prim::Gather { .. } => smallvec![with(x[1].shape.clone(), x[0].dtype)],
            Prim::Scatter { .. } | Prim::IndexAdd { .. } | Prim::IndexPut { .. } => smallvec![first(0)],
            Prim::IndexSelect { .. } | Prim::Index { .. } | Prim::GridSample(_) => {
                smallvec![with(self.picked(&x[0].shape, &x[1].shape), x[0].dtype)]
            }
            Prim::Cat { axis } => {
                let size = x.iter().map(|m| m.shape[*axis]).sum();
                smallvec![with(joined(&[&x[0].shape[..*axis], &[size], &x[0].shape[axis + 1..]]), x[0].dtype)]
            }
            Prim::Sort { .. } => smallvec![first(0), with(x[0].shape.clone(), DType::I64)],
            Prim::TopK { k, axis, .. } => {
                let s: Shape = x[0].shape.iter().enumerate().map(|(i, &s)| if i == *axis { *k } else { s }).collect();
                smallvec![with(s.clone(), x[0].dtype), with(s, DType::I64)]
            }
            Prim::Nonzero => smallvec![with(smallvec![0, x[0].shape.len()], DType::I64)],
            Prim::Softmax { .. } | Prim::SoftmaxGrad { .. } | Prim::Special(_) => smallvec![first(0)],
            Prim::LayerNorm { dims, .. } => {
                let n = x[0].shape.len() - dims;
                let s = joined(&[&x[0].shape[..n], &Shape::from_elem(1, *dims)]);
                norm_results(&x[0], s, acc(x[0].dtype))
            }
            Prim::LayerNormGrad { dims, .. } => {
                norm_results(&x[1], joined(&[&x[1].shape[x[1].shape.len() - dims..]]), x[1].dtype)
            }
            Prim::BatchNorm { .. } => norm_results(&x[0], smallvec![x[0].shape[1]], acc(x[0].dtype)),
            Prim::BatchNormGrad { .. } => norm_results(&x[1], smallvec![x[1].shape[1]], acc(x[1].dtype)),
            Prim::Attention(_) => attention_results(x),
            Prim::AttentionGrad(_) => smallvec![first(1), first(2), first(3)],
            Prim::Linalg(op) => linalg::shapes(*op, x),
            Prim::GridSampleGrad(_) | Prim::DistanceGrad(_) => smallvec![first(1), first(2)],
            Prim::Distance { .. } => smallvec![Meta::new(&[x[0].shape[0], x[0].shape[1], x[1].shape[1]], x[0].dtype)],
            Prim::EmbeddingBag { .. } => bag_results(x),
            Prim::CtcLoss(p) => ctc_results(p, &x[0]),
            Prim::CtcLossGrad(_) => smallvec![first(1)],
            Prim::Resize { params } => smallvec![with(pooled(&x[0].shape, &params.out), x[0].dtype)],
            Prim::Fft { kind, axes, .. } => smallvec![fft_result(*kind, axes[axes.len() - 1], &x[0])],
        }
    }
}

fn bag_results(x: &[Meta]) -> SmallVec<[Meta; 3]> {
    let (dtype, n) = (x[0].dtype, &x[1].shape);
    smallvec![Meta::new(&[x[2].shape[0], x[0].shape[1]], dtype), Meta::new(n, DType::I64), Meta::new(n, dtype)]
}

fn ctc_results(p: &CtcParams, x: &Meta) -> SmallVec<[Meta; 3]> {
    let n = x.shape[1];
    smallvec![Meta::new(&[n], x.dtype), Meta::new(&[n, p.steps, p.width], x.dtype)]
}

fn joined(parts: &[&[usize]]) -> Shape {
    parts.iter().flat_map(|p| p.iter().copied()).collect()
}

fn conv_shape(p: &ConvParams, x: &[usize], w: &[usize]) -> Shape {
    let mut s: Shape = smallvec![x[0], w[0]];
    for i in 0..p.stride.len() {
        s.push(window_count(x[2 + i], w[2 + i], p.stride[i], p.padding[i], p.dilation[i]));
    }
    s
}

/// The attended values, and a logsumexp per query.
fn attention_results(x: &[Meta]) -> SmallVec<[Meta; 3]> {
    let n = x[0].shape.len();
    let mut s = x[0].shape.clone();
    s[n - 1] = x[2].shape[n - 1];
    let sums = if matches!(x[0].dtype, DType::F16 | DType::BF16) { DType::F32 } else { x[0].dtype };
    smallvec![
        Meta { shape: s, dtype: x[0].dtype },
        Meta { shape: Shape::from_slice(&x[0].shape[..n - 1]), dtype: sums }
    ]
}

/// The normalized tensor (or its gradient) and two of the statistics' shape.
fn norm_results(x: &Meta, stats: Shape, dtype: DType) -> SmallVec<[Meta; 3]> {
    smallvec![x.clone(), Meta { shape: stats.clone(), dtype }, Meta { shape: stats, dtype }]
}

fn pooled(shape: &[usize], out: &[usize]) -> Shape {
    let mut s = Shape::from_slice(&shape[..shape.len() - out.len()]);
    s.extend_from_slice(out);
    s
}

fn fft_result(kind: FftKind, last: usize, x: &Meta) -> Meta {
    let mut out = x.clone();
    match kind {
        FftKind::Forward | FftKind::Inverse => {}
        FftKind::Real => {
            out.shape[last] = x.shape[last] / 2 + 1;
            out.dtype = x.dtype.complex();
        }
        FftKind::ToReal { n } => {
            out.shape[last] = n;
            out.dtype = x.dtype.real();
        }
    }
    out
}

impl Prim {
    /// The shape of what is picked from x at the positions in a second operand.
    fn picked(&self, x: &[usize], at: &[usize]) -> Shape {
        if let Prim::IndexSelect { axis } = self {
            return joined(&[&x[..*axis], at, &x[axis + 1..]]);
        }
        if let Prim::Index { n } = self {
            return joined(&[at, &x[*n..]]);
        }
        // of images, at places with a last dimension of coordinates
        joined(&[&x[..2], &at[1..at.len() - 1]])
    }
    /// May input `i` be a pointwise program that the kernel evaluates while it reads (a prologue)?
    pub fn takes_prologue(&self, i: usize) -> bool {
        match self {
            Prim::Reduce { .. } | Prim::Extreme { .. } | Prim::VarMean { .. } => true,
            Prim::Softmax { .. } | Prim::SoftmaxGrad { .. } | Prim::Special(_) => true,
            Prim::LayerNorm { .. } => i == 0,
            Prim::LayerNormGrad { .. } => i < 2,
            Prim::BatchNorm { .. } => i == 0,
            Prim::BatchNormGrad { .. } => i < 2,
            Prim::MatMul { .. } => i < 2,
            Prim::Scan { .. }
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
            | Prim::Attention(_)
            | Prim::AttentionGrad(_)
            | Prim::Linalg(_)
            | Prim::Fft { .. }
            | Prim::GridSample(_)
            | Prim::GridSampleGrad(_)
            | Prim::Distance { .. }
            | Prim::DistanceGrad(_)
            | Prim::EmbeddingBag { .. }
            | Prim::CtcLoss(_)
            | Prim::CtcLossGrad(_)
            | Prim::Resize { .. }
            | Prim::ResizeGrad { .. } => false,
        }
    }
    /// Is it a shorter way of the CPU, which a composition stands for on devices without the kernel?
    pub fn is_composed_elsewhere(&self) -> bool {
        let nets = matches!(self, Prim::CtcLoss(_) | Prim::CtcLossGrad(_) | Prim::EmbeddingBag { .. });
        let sampled = matches!(self, Prim::GridSample(_) | Prim::GridSampleGrad(_));
        let distances = matches!(self, Prim::Distance { .. } | Prim::DistanceGrad(_));
        nets || sampled || distances || matches!(self, Prim::Resize { .. } | Prim::ResizeGrad { .. })
    }
    /// May a pointwise program be applied to the first result before it is stored (an epilogue)?
    pub fn takes_epilogue(&self) -> bool {
        matches!(self, Prim::MatMul { .. } | Prim::Conv { .. })
    }
}
