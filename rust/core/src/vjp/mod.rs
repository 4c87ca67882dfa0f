//! Derivatives of what the graph records. Pointwise kernels derive themselves from the table's rows; views and
//! primitives have their rule here, one file per family, in terms of differentiable ops, so that second derivatives and
//! the GPU's backward come for free.

mod conv;
mod distance;
mod fft;
pub(crate) mod index;
mod linalg;
mod nn;
mod reduce;
mod sample;
mod special;
mod view;

use std::sync::Arc;

use rtorch_ir::prim::ScanOp;
use rtorch_ir::program::Inst;
use rtorch_ir::{Prim, Result, ScalarOp};
use smallvec::{SmallVec, smallvec};

use crate::autograd::backward::Options;
use crate::autograd::graph::{GradNode, GradOp};
use crate::autograd::mode;
use crate::dispatch;
use crate::kernel::From;
use crate::ops;
use crate::tensor::Tensor;

/// Cotangents of a node's inputs.
pub type Cotangents = Vec<Option<Tensor>>;

/// Inputs and outputs of a primitive that its rule needs.
pub fn saves(prim: &Prim, inputs: usize) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 2]>) {
    let all = || (0..inputs).collect::<SmallVec<[usize; 4]>>();
    let none = SmallVec::new;
    match prim {
        Prim::Reduce { op, .. } => reduce::saves(*op),
        Prim::Extreme { .. } | Prim::Sort { .. } | Prim::TopK { .. } => (none(), smallvec![1]),
        Prim::VarMean { .. } => (smallvec![0], smallvec![1]),
        Prim::Scan { op, .. } => match op {
            ScanOp::Sum => (none(), SmallVec::new()),
            ScanOp::Prod | ScanOp::LogSumExp => (smallvec![0], smallvec![0]),
            ScanOp::Max | ScanOp::Min => (none(), smallvec![1]),
        },
        Prim::MatMul { .. } => (smallvec![0, 1], SmallVec::new()),
        Prim::Conv { .. } | Prim::ConvGradInput { .. } | Prim::ConvGradWeight { .. } => {
            (smallvec![0, 1], SmallVec::new())
        }
        Prim::MaxPool { .. } | Prim::AdaptiveMaxPool { .. } => (none(), smallvec![1]),
        Prim::MaxPoolGrad { .. } => (smallvec![1], SmallVec::new()),
        Prim::AvgPool { .. }
        | Prim::AvgPoolGrad { .. }
        | Prim::AdaptiveAvgPool { .. }
        | Prim::AdaptiveAvgPoolGrad { .. }
        | Prim::Cat { .. }
        | Prim::ScatterView { .. }
        | Prim::Nonzero => (none(), SmallVec::new()),
        Prim::Gather { .. } | Prim::IndexSelect { .. } => (smallvec![1], SmallVec::new()),
        Prim::Scatter { .. } | Prim::IndexAdd { .. } => (all(), smallvec![0]),
        Prim::Index { .. } => ((1..inputs).collect(), SmallVec::new()),
        Prim::IndexPut { .. } => ((2..inputs).collect(), SmallVec::new()),
        Prim::Softmax { .. } => (none(), smallvec![0]),
        Prim::SoftmaxGrad { .. } => (all(), SmallVec::new()),
        Prim::LayerNorm { weight, .. } => (if *weight { smallvec![0, 1] } else { smallvec![0] }, smallvec![1, 2]),
        Prim::BatchNorm { weight, .. } => (if *weight { smallvec![0, 1] } else { smallvec![0] }, smallvec![1, 2]),
        Prim::LayerNormGrad { .. } | Prim::BatchNormGrad { .. } => (all(), SmallVec::new()),
        Prim::Attention(_) => (all(), smallvec![0, 1]),
        Prim::AttentionGrad(_) => (all(), SmallVec::new()),
        Prim::Linalg(op) => linalg::saves(*op),
        Prim::EmbeddingBag { .. } => (all(), smallvec![1, 2]),
        Prim::CtcLoss(_) => (all(), smallvec![0, 1]),
        Prim::GridSample(_) | Prim::GridSampleGrad(_) | Prim::DistanceGrad(_) | Prim::CtcLossGrad(_) => {
            (all(), SmallVec::new())
        }
        Prim::Distance { .. } => (all(), smallvec![0]),
        Prim::Fft { .. } | Prim::Resize { .. } | Prim::ResizeGrad { .. } => (none(), SmallVec::new()),
        Prim::Special(_) => (all(), smallvec![0]),
    }
}

/// Cotangents of a node's inputs from those of its outputs (None where nothing arrived).
pub fn apply(n: &Arc<GradNode>, grads: &[Option<Tensor>], opts: &Options) -> Result<Cotangents> {
    match &n.op {
        GradOp::Map { .. } => map(n, grads),
        GradOp::View { op, input } => {
            let Some(Some(g)) = grads.first() else { return Ok(vec![None]) };
            Ok(vec![Some(view::vjp(op, input, g)?)])
        }
        GradOp::Prim { prim } => prim_vjp(&Ctx { node: n, grads }, prim),
        GradOp::Accumulate(leaf) => {
            if let Some(Some(g)) = grads.first() {
                crate::autograd::backward::accumulate(leaf, g.clone(), opts.create_graph)?;
            }
            Ok(Vec::new())
        }
        GradOp::CopySlices { chain, base: _, inner, target } => {
            let Some(Some(g)) = grads.first() else { return Ok(vec![None; n.next.len()]) };
            copy_slices(g, chain, inner, *target, opts)
        }
        GradOp::Composite { .. } => crate::autograd::composite::backward(n, grads, opts),
        GradOp::Pass => Ok(vec![grads.first().cloned().flatten()]),
        GradOp::Custom(c) => {
            let _user = mode::Engine::new(false);
            c.backward(n, grads.to_vec())
        }
    }
}

fn map(n: &Arc<GradNode>, grads: &[Option<Tensor>]) -> Result<Cotangents> {
    let GradOp::Map { kernel } = &n.op else { return Ok(Vec::new()) };
    let Some(Some(g)) = grads.first() else { return Ok(vec![None; n.next.len()]) };
    if let Some(d) = gamma(n, kernel, g)? {
        return Ok(vec![Some(d)]);
    }
    let inputs = kernel.leaves();
    let mut unpacked: SmallVec<[Option<Tensor>; 4]> = smallvec![None; inputs + 1];
    let mut out = Vec::with_capacity(inputs);
    for i in 0..inputs {
        let wanted = n.next.get(i).is_some_and(Option::is_some);
        let Some(d) = kernel.grad(i).filter(|_| wanted) else {
            out.push(None);
            continue;
        };
        let mut args: SmallVec<[Tensor; 4]> = SmallVec::new();
        for from in &d.leaves {
            let k = match *from {
                From::Input(k) => k,
                From::Output => inputs,
                From::Cotangent => {
                    args.push(g.clone());
                    continue;
                }
            };
            if unpacked[k].is_none() {
                unpacked[k] = Some(n.unpack_for_rule(k)?);
            }
            args.extend(unpacked[k].clone());
        }
        let refs: SmallVec<[&Tensor; 4]> = args.iter().collect();
        let m = &n.inputs[i];
        out.push(Some(if refs.is_empty() {
            ops::factory::zeros(&m.shape, m.dtype, m.device)?
        } else {
            let gi = match refs.as_slice() {
                [g] if d.kernel.program.is_identity() => (*g).clone(),
                // the real parts lie there already
                [g] if takes_real(&d.kernel.program) => ops::complex::part(g, 0)?,
                _ => dispatch::map("DerivativeBackward0", &d.kernel, &refs)?,
            };
            // an operand without any dependence on the cotangent's shape
            let fits = || rtorch_ir::shape::broadcast(&gi.shape(), &m.shape).is_ok_and(|s| s == m.shape);
            if gi.numel() < m.shape.iter().product() && fits() { ops::shape::expand_to(&gi, &m.shape)? } else { gi }
        }));
    }
    // behind the kernel's inputs: what a write has replaced, of which nothing is left
    for m in n.inputs.iter().skip(inputs) {
        out.push(Some(ops::factory::zeros(&m.shape, m.dtype, m.device)?));
    }
    Ok(out)
}

/// Does a program of one leaf answer the real parts of complex numbers, as they are?
fn takes_real(p: &rtorch_ir::Program) -> bool {
    let (Some(from), &[out]) = (p.leaves.first(), p.outputs.as_slice()) else { return false };
    let (inst, to) = p.values[out as usize];
    matches!(inst, Inst::Cast(a) if p.values[a as usize].0 == Inst::Load(0))
        && !to.is_complex()
        && to.complex() == *from
}

/// lgamma and digamma where their gradient is differentiated on: as operators, of which each knows the next one. The
/// rows end with trigamma, whose own derivative no program may take for zero.
fn gamma(n: &Arc<GradNode>, kernel: &crate::kernel::Kernel, g: &Tensor) -> Result<Option<Tensor>> {
    if !mode::is_enabled() {
        return Ok(None);
    }
    let mut found = kernel.program.values.iter().filter_map(|(inst, _)| match inst {
        Inst::Op(op @ (ScalarOp::Lgamma | ScalarOp::Digamma | ScalarOp::Trigamma), _) => Some(*op),
        _ => None,
    });
    let Some(op) = found.next() else { return Ok(None) };
    let alone =
        kernel.leaves() == 1 && kernel.program.values.iter().filter(|v| matches!(v.0, Inst::Op(..))).count() == 1;
    match op {
        ScalarOp::Lgamma if alone => {
            let x = n.unpack_for_rule(0)?;
            Ok(Some(ops::mul(g, &ops::unary(ScalarOp::Digamma, &x)?)?))
        }
        ScalarOp::Digamma if alone => {
            let x = n.unpack_for_rule(0)?;
            Ok(Some(ops::mul(g, &ops::special::polygamma(1, &x)?)?))
        }
        ScalarOp::Trigamma => Err(rtorch_ir::Error::not_implemented(
            "the derivative of trigamma inside a program is not implemented: use polygamma(1, x)",
        )),
        _ => Ok(None),
    }
}

/// Gradient of a write through a view: the base's cotangent with the written part replaced by what flows to the view's
/// old contents, and the inner node's cotangents for the rest.
fn copy_slices(
    g: &Tensor,
    chain: &[(crate::view::ViewOp, &'static str)],
    inner: &Arc<GradNode>,
    target: Option<usize>,
    opts: &Options,
) -> Result<Cotangents> {
    let mut part = g.clone();
    for (op, name) in chain {
        part = match dispatch::view(name, op.clone(), &part)? {
            Some(p) => p,
            None => dispatch::view(name, op.clone(), &ops::shape::clone_contiguous(&part)?)?
                .ok_or_else(|| rtorch_ir::Error::runtime("a view of a gradient could not be made"))?,
        };
    }
    let part = ops::shape::clone(&part)?;
    let inner_grads = apply(inner, &[Some(part.clone())], opts)?;
    let base = {
        let found: SmallVec<[&Tensor; 3]> = inner_grads.iter().flatten().collect();
        crate::batch::cover(ops::shape::clone_contiguous(g)?, &found)?
    };
    let mut hole = base.clone();
    for (op, name) in chain {
        hole = dispatch::view(name, op.clone(), &hole)?
            .ok_or_else(|| rtorch_ir::Error::runtime("a view of a gradient could not be made"))?;
    }
    let mut out = vec![None];
    let mut old = None;
    for (i, gi) in inner_grads.into_iter().enumerate() {
        if Some(i) == target {
            old = gi;
        } else {
            out.push(gi);
        }
    }
    match old {
        Some(o) => {
            let o = ops::reduce::sum_to(&o, &hole.shape())?;
            crate::inplace::copy_(&hole, &o)?
        }
        None => {
            let zero = ops::factory::zeros(&[], hole.dtype(), hole.device())?;
            crate::inplace::copy_(&hole, &zero)?
        }
    }
    out[0] = Some(base);
    Ok(out)
}

/// What a primitive's rule sees.
pub struct Ctx<'a> {
    pub node: &'a Arc<GradNode>,
    pub grads: &'a [Option<Tensor>],
}

impl Ctx<'_> {
    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }
    pub fn input(&self, i: usize) -> Result<Tensor> {
        self.node.unpack_for_rule(i)
    }
    pub fn output(&self, i: usize) -> Result<Tensor> {
        self.node.unpack_for_rule(self.inputs() + i)
    }
    pub fn shape(&self, i: usize) -> rtorch_ir::Shape {
        rtorch_ir::layout::copied(&self.node.inputs[i].shape)
    }
    pub fn wants(&self, i: usize) -> bool {
        self.node.next.get(i).is_some_and(Option::is_some)
    }
    /// The cotangent of output `i`, zeros where nothing arrived.
    pub fn grad(&self, i: usize) -> Result<Tensor> {
        match self.grads.get(i) {
            Some(Some(g)) => Ok(g.clone()),
            _ => {
                let m = &self.node.outputs[i];
                ops::factory::zeros(&m.shape, m.dtype, m.device)
            }
        }
    }
    pub fn has(&self, i: usize) -> bool {
        matches!(self.grads.get(i), Some(Some(_)))
    }
    /// `f` for input `i` if somebody wants its cotangent.
    pub fn when(&self, i: usize, f: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
        if self.wants(i) { f().map(Some) } else { Ok(None) }
    }
}

fn prim_vjp(c: &Ctx, prim: &Prim) -> Result<Cotangents> {
    match prim {
        Prim::Reduce { op, axes, keepdim, .. } => reduce::reduce(c, *op, axes, *keepdim),
        Prim::Extreme { axis, keepdim, .. } => reduce::extreme(c, *axis, *keepdim),
        Prim::VarMean { axes, keepdim, correction } => reduce::var_mean(c, axes, *keepdim, *correction),
        Prim::Scan { op, axis } => reduce::scan(c, *op, *axis),
        Prim::MatMul { bias, alpha, beta } => linalg::matmul(c, *bias, *alpha, *beta),
        Prim::Conv { params, bias } => conv::conv(c, params, *bias),
        Prim::ConvGradInput { params, .. } => conv::conv_grad_input(c, params),
        Prim::ConvGradWeight { params, .. } => conv::conv_grad_weight(c, params),
        Prim::MaxPool { .. } | Prim::AdaptiveMaxPool { .. } => conv::max_pool(c),
        Prim::MaxPoolGrad { .. } => conv::max_pool_grad(c),
        Prim::AvgPool { params } => conv::avg_pool(c, params),
        Prim::AvgPoolGrad { params, .. } => conv::avg_pool_grad(c, params),
        Prim::AdaptiveAvgPool { .. } => conv::adaptive_avg_pool(c),
        Prim::AdaptiveAvgPoolGrad { .. } => conv::adaptive_avg_pool_grad(c),
        Prim::Gather { axis } => index::gather(c, *axis),
        Prim::Scatter { axis, op } => index::scatter(c, *axis, *op),
        Prim::IndexSelect { axis } => index::index_select(c, *axis),
        Prim::IndexAdd { axis, op } => index::index_add(c, *axis, *op),
        Prim::Index { n } => index::index(c, *n),
        Prim::IndexPut { n, accumulate } => index::index_put(c, *n, *accumulate),
        Prim::Cat { axis } => index::cat(c, *axis),
        Prim::ScatterView { view, .. } => {
            let g = ops::shape::contiguous(&c.grad(0)?)?;
            let mut layout = view.clone();
            // a contiguous cotangent may start anywhere in its storage
            layout.offset += g.with(|p| p.layout.offset);
            let strided = crate::view::ViewOp::AsStrided { layout };
            Ok(vec![dispatch::view("AsStridedBackward0", strided, &g)?])
        }
        Prim::Sort { axis, .. } | Prim::TopK { axis, .. } => index::by_position(c, *axis),
        Prim::Nonzero => Ok(vec![None]),
        Prim::Softmax { axis, log } => nn::softmax(c, *axis, *log),
        Prim::SoftmaxGrad { axis, log } => nn::softmax_grad(c, *axis, *log),
        Prim::LayerNorm { dims, weight, bias, rms, .. } => nn::layer_norm(c, *dims, *weight, *bias, *rms),
        Prim::LayerNormGrad { dims, weight, rms } => nn::layer_norm_grad(c, *dims, *weight, *rms),
        Prim::BatchNorm { eps, weight, bias } => nn::batch_norm(c, *eps, *weight, *bias),
        Prim::BatchNormGrad { eps, weight } => nn::batch_norm_grad(c, *eps, *weight),
        Prim::Attention(p) => nn::attention(c, p),
        Prim::AttentionGrad(p) => nn::attention_grad(c, p),
        Prim::Linalg(op) => linalg::linalg(c, *op),
        Prim::Fft { kind, axes, scale } => fft::fft(c, *kind, axes, *scale),
        Prim::GridSample(p) => sample::grid_sample(c, *p),
        Prim::GridSampleGrad(p) => sample::grid_sample_grad(c, *p),
        Prim::Distance { metric, .. } => distance::distance(c, *metric),
        Prim::DistanceGrad(metric) => distance::distance_grad(c, *metric),
        Prim::EmbeddingBag { padding, .. } => index::embedding_bag(c, *padding),
        Prim::CtcLoss(p) => nn::ctc_loss(c, p),
        Prim::CtcLossGrad(p) => nn::ctc_loss_grad(c, p),
        Prim::Resize { params } => sample::resize(c, params),
        Prim::ResizeGrad { params, .. } => sample::resize_grad(c, params),
        Prim::Special(f) => special::special(c, *f),
    }
}

/// The derivative of a fused primitive's backward: that of its plain composition, run again under the tape.
/// `f` gets fresh leaves with the saved inputs' values and answers the outputs to differentiate.
pub fn by_composition(
    inputs: &[Tensor],
    f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
    grads: &[Option<Tensor>],
) -> Result<Cotangents> {
    let create_graph = mode::is_enabled();
    let _on = mode::Guard::new(true);
    // aliases keep the connection to the graph for still higher derivatives
    let leaves: Vec<Tensor> = inputs
        .iter()
        .map(|t| {
            if create_graph && t.requires_grad() {
                ops::shape::alias(t)
            } else {
                let d = t.detach();
                if d.dtype().is_differentiable() {
                    d.set_requires_grad(true)?;
                }
                Ok(d)
            }
        })
        .collect::<Result<_>>()?;
    let outs = f(&leaves)?;
    let mut roots = Vec::new();
    for (o, g) in outs.iter().zip(grads) {
        if let (Some(e), Some(g)) = (crate::autograd::record::edge(o), g) {
            roots.push((e, g.clone()));
        }
    }
    let mut targets = Vec::new();
    let mut which = Vec::new();
    for (i, l) in leaves.iter().enumerate() {
        if let Some(e) = crate::autograd::record::edge(l) {
            targets.push(e);
            which.push(i);
        }
    }
    let opts = Options { keep_graph: create_graph, create_graph, accumulate: false, boundary: false };
    let found = crate::autograd::backward::run(&roots, Some(&targets), &opts)?;
    let mut out = vec![None; inputs.len()];
    for (i, g) in which.into_iter().zip(found) {
        out[i] = g;
    }
    Ok(out)
}
