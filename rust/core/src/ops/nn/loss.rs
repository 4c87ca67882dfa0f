//! Losses over classes: negative log likelihood and cross entropy. Other losses are compositions in Python, which fuse
//! as they are.

use rtorch_ir::prim::CtcParams;
use rtorch_ir::program::ex;
use rtorch_ir::{DType, Error, Prim, Result, Scalar, Shape, ensure};

use super::activation::softmax;
use super::log_softmax_at::{log_softmax_at, pick};
use super::sizes_text;
use crate::dispatch::prim1;
use crate::ops::convert::to_dtype;
use crate::ops::pointwise::{Arg, Rule, Spec, compose, run};
use crate::ops::{self, reduce, shape};
use crate::tensor::Tensor;

/// What a loss answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reduction {
    None,
    Mean,
    Sum,
}

impl Reduction {
    pub fn from_name(name: &str) -> Result<Reduction> {
        match name {
            "none" => Ok(Reduction::None),
            "mean" => Ok(Reduction::Mean),
            "sum" => Ok(Reduction::Sum),
            _ => Err(Error::value(format!("{name} is not a valid value for reduction"))),
        }
    }
}

fn names(spatial: bool) -> &'static str {
    if spatial { "NllLoss2DBackward0" } else { "NllLossBackward0" }
}

/// Checks the shapes: x [c], [n, c] or [n, c, ...], target of x's shape without c.
fn check_shapes(x: &Tensor, target: &Tensor, weight: Option<&Tensor>) -> Result<()> {
    let (s, t) = (x.shape(), target.shape());
    ensure!(!s.is_empty(), value, "Expected 1 or more dimensions (got 0)");
    let c = s[usize::from(s.len() > 1)];
    if s.len() == 1 || s.len() == 2 && s.first() == t.first() {
        ensure!(t.len() <= 1, runtime, "0D or 1D target tensor expected, multi-target not supported");
    }
    if s.len() == 1 {
        ensure!(
            t.len() <= 1 && target.numel() == 1,
            value,
            "Expected input batch_size (1) to match target batch_size ({}).",
            target.numel()
        );
    } else {
        ensure!(
            !t.is_empty() && s[0] == t[0],
            value,
            "Expected input batch_size ({}) to match target batch_size ({}).",
            s[0],
            t.first().copied().unwrap_or(1)
        );
        let mut want = Shape::from_slice(&s[..1]);
        want.extend_from_slice(&s[2..]);
        ensure!(want == t, runtime, "Expected target size {}, got {}", sizes_text(&want), sizes_text(&t));
    }
    if let Some(w) = weight {
        ensure!(
            w.ndim() == 1 && w.numel() == c,
            runtime,
            "weight tensor should be defined either for all {c} classes or no classes but got weight tensor of \
             shape: {}",
            sizes_text(&w.shape())
        );
    }
    Ok(())
}

/// Class indices on the CPU must be classes: what can fail on data fails now.
fn check_targets(target: &Tensor, classes: usize, ignore: i64) -> Result<()> {
    if !target.device().is_cpu() {
        return Ok(());
    }
    for t in ops::convert::to_i64_vec(target)? {
        ensure!(t == ignore || (0..classes as i64).contains(&t), index, "Target {t} is out of bounds.");
    }
    Ok(())
}

/// How a loss finds a sample's logarithm of the probability of one class: (the node's name, x, axis, index).
type Pick = fn(&'static str, &Tensor, usize, &Tensor) -> Result<Tensor>;

/// Negative log likelihood of the target classes, x being log-probabilities over dim 1 (or 0 of a single sample).
pub fn nll_loss(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    ignore: i64,
) -> Result<Tensor> {
    likelihood(pick, x, target, weight, reduction, ignore)
}

fn likelihood(
    pick: Pick,
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    ignore: i64,
) -> Result<Tensor> {
    check_shapes(x, target, weight)?;
    ensure!(
        matches!(target.dtype(), DType::I64 | DType::U8),
        runtime,
        "expected target dtype to be Long or Byte, but got {}",
        target.dtype().cpp_name()
    );
    if !x.dtype().is_float() {
        return Err(Error::not_implemented(format!(
            "\"nll_loss_out_frame\" not implemented for '{}'",
            x.dtype().cpp_name()
        )));
    }
    let axis = usize::from(x.ndim() > 1);
    let classes = x.size(axis);
    check_targets(target, classes, ignore)?;
    let name = names(x.ndim() > 2);
    let target = shape::reshape_to(&to_dtype(&target.detach(), DType::I64)?, out_shape(x))?;
    let number = Arg::S(Scalar::Int(ignore));
    let safe = compose("nll_class", "", Rule::Same, &[Arg::T(&target), number], None, |a| {
        ex::where_(ex::eq(a[0], a[1]), a[0] - a[0], a[0])
    })?;
    let picked = pick(name, x, axis, &safe)?;
    let mut weights = None;
    if let Some(w) = weight {
        ensure!(
            w.dtype() == x.dtype(),
            runtime,
            "expected scalar type {} but found {}",
            x.dtype().cpp_name(),
            w.dtype().cpp_name()
        );
        weights = Some(prim1("", Prim::IndexSelect { axis: 0 }, &[&w.detach(), &safe])?);
    }
    let valid = ops::binary(rtorch_ir::ScalarOp::Ne, Arg::T(&target), number)?;
    let losses = masked(name, &valid, &picked, weights.as_ref())?;
    match reduction {
        Reduction::None => Ok(losses),
        Reduction::Sum => sum_named(name, &losses),
        Reduction::Mean => {
            let count = match &weights {
                Some(w) => sum_named("", &masked("", &valid, &ops::unary(rtorch_ir::ScalarOp::Neg, w)?, None)?)?,
                None => reduce::sum(&to_dtype(&valid, x.dtype())?, &[], false, None)?,
            };
            let total = sum_named(name, &losses)?;
            compose("nll_mean", name, Rule::Same, &[Arg::T(&total), Arg::T(&count)], None, |a| a[0] / a[1])
        }
    }
}

/// x's shape without its classes.
fn out_shape(x: &Tensor) -> Shape {
    let mut s = x.shape();
    s.remove(usize::from(s.len() > 1));
    s
}

/// -x (times w) where valid, else 0.
fn masked(name: &'static str, valid: &Tensor, x: &Tensor, w: Option<&Tensor>) -> Result<Tensor> {
    let plain = |a: &[rtorch_ir::Ex]| ex::where_(a[0], -a[1], a[1].lit(0.0));
    let weighted = |a: &[rtorch_ir::Ex]| ex::where_(a[0], -(a[1] * a[2]), a[1].lit(0.0));
    match w {
        None => {
            let spec = Spec { name: "nll_each", grad: name, rule: Rule::Same, body: &plain, conditions: 1 };
            run(&spec, &[Arg::T(valid), Arg::T(x)], None)
        }
        Some(w) => {
            let spec = Spec { name: "nll_each_w", grad: name, rule: Rule::Same, body: &weighted, conditions: 1 };
            run(&spec, &[Arg::T(valid), Arg::T(x), Arg::T(w)], None)
        }
    }
}

/// The sum of everything under a node's name.
fn sum_named(name: &'static str, x: &Tensor) -> Result<Tensor> {
    let p = Prim::Reduce {
        op: rtorch_ir::prim::ReduceOp::Sum,
        axes: (0..x.ndim()).collect(),
        keepdim: false,
        dtype: x.dtype(),
    };
    prim1(name, p, &[x])
}

/// Cross entropy of logits with class indices, or (a floating target of x's shape) with probabilities.
pub fn cross_entropy(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    ignore: i64,
    smoothing: f64,
) -> Result<Tensor> {
    let axis = i64::from(x.ndim() != 1);
    // PyTorch smooths by nothing for a number below 0 or NaN
    let smoothing = if smoothing > 0.0 { smoothing } else { 0.0 };
    ensure!(smoothing <= 1.0, runtime, "label_smoothing must be between 0.0 and 1.0. Got: {smoothing}");
    if x.shape() == target.shape() && x.ndim() > 0 {
        ensure!(
            target.dtype().is_differentiable(),
            runtime,
            "Expected floating point type for target with class probabilities, got {}",
            target.dtype().cpp_name()
        );
        ensure!(ignore < 0, runtime, "ignore_index is not supported for floating point target");
        return probabilities(x, target, weight, reduction, smoothing, axis);
    }
    ensure!(x.ndim() > 0, index, "Dimension out of range (expected to be in range of [-1, 0], but got 1)");
    if smoothing == 0.0 && x.dtype().is_float() {
        return likelihood(log_softmax_at, x, target, weight, reduction, ignore);
    }
    let logp = softmax(x, axis, true)?;
    if smoothing == 0.0 {
        return nll_loss(&logp, target, weight, reduction, ignore);
    }
    smoothed(&logp, target, weight, reduction, ignore, smoothing, axis)
}

fn weight_column(x: &Tensor, w: &Tensor, axis: i64) -> Result<Tensor> {
    let c = x.size(axis as usize);
    ensure!(
        w.ndim() == 1 && w.numel() == c,
        runtime,
        "cross_entropy: weight tensor should be defined either for all {c} classes or no classes but got weight \
         tensor of \
         shape: {}",
        sizes_text(&w.shape())
    );
    let mut s = Shape::from_elem(1, x.ndim() - axis as usize);
    s[0] = c;
    shape::reshape_to(w, s)
}

fn probabilities(
    x: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    smoothing: f64,
    axis: i64,
) -> Result<Tensor> {
    let logp = softmax(x, axis, true)?;
    let classes = x.size(axis as usize) as f64;
    let target = if smoothing > 0.0 {
        let numbers = [Arg::T(target), Arg::S((1.0 - smoothing).into()), Arg::S((smoothing / classes).into())];
        compose("smoothed_target", "AddBackward0", Rule::Same, &numbers, None, |a| a[0] * a[1] + a[2])?
    } else {
        target.clone()
    };
    let each = match weight {
        None => {
            compose("ce_each", "MulBackward0", Rule::Same, &[Arg::T(&logp), Arg::T(&target)], None, |a| -(a[0] * a[1]))?
        }
        Some(w) => {
            let w = weight_column(x, w, axis)?;
            let args = [Arg::T(&logp), Arg::T(&target), Arg::T(&w)];
            compose("ce_each_w", "MulBackward0", Rule::Same, &args, None, |a| -(a[0] * a[1] * a[2]))?
        }
    };
    match reduction {
        Reduction::None => reduce::sum(&each, &[axis], false, None),
        Reduction::Sum => reduce::sum(&each, &[], false, None),
        Reduction::Mean => {
            let n = x.numel() as f64 / classes;
            let total = reduce::sum(&each, &[], false, None)?;
            compose("ce_mean", "DivBackward1", Rule::Same, &[Arg::T(&total), Arg::S(n.into())], None, |a| a[0] / a[1])
        }
    }
}

/// (1 - s) * nll + s / c * sum over classes of -log p, both weighted alike.
fn smoothed(
    logp: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: Reduction,
    ignore: i64,
    smoothing: f64,
    axis: i64,
) -> Result<Tensor> {
    let nll = nll_loss(logp, target, weight, reduction, ignore)?;
    let classes = logp.size(axis as usize) as f64;
    let all = match weight {
        Some(w) => ops::mul(logp, &weight_column(logp, w, axis)?)?,
        None => logp.clone(),
    };
    let all = reduce::sum(&all, &[axis], false, None)?;
    let target = shape::reshape_to(&to_dtype(&target.detach(), DType::I64)?, out_shape(logp))?;
    let valid = ops::binary(rtorch_ir::ScalarOp::Ne, Arg::T(&target), Arg::S(Scalar::Int(ignore)))?;
    let smooth = masked("SmoothBackward0", &valid, &all, None)?;
    let smooth = match reduction {
        Reduction::None => smooth,
        Reduction::Sum => reduce::sum(&smooth, &[], false, None)?,
        Reduction::Mean => {
            let count = match weight {
                Some(w) => {
                    // the weights of the targets, ignored ones left out
                    let zero = Arg::S(Scalar::Int(0));
                    let safe = ops::pointwise::where_(&valid, Arg::T(&target), zero)?;
                    let each = prim1("", Prim::IndexSelect { axis: 0 }, &[&w.detach(), &safe])?;
                    reduce::sum(&ops::mul(&each, &to_dtype(&valid, each.dtype())?)?, &[], false, None)?
                }
                None => reduce::sum(&to_dtype(&valid, logp.dtype())?, &[], false, None)?,
            };
            ops::div(&reduce::sum(&smooth, &[], false, None)?, &count)?
        }
    };
    let numbers =
        [Arg::T(&nll), Arg::T(&smooth), Arg::S((1.0 - smoothing).into()), Arg::S((smoothing / classes).into())];
    compose("smoothed_loss", "AddBackward0", Rule::Same, &numbers, None, |a| a[0] * a[2] + a[1] * a[3])
}

/// Each sample's CTC loss; see `Prim::CtcLoss` for the operands. `zero_infinity`: impossible targets cost nothing.
pub fn ctc_loss(log_probs: &Tensor, labels: &Tensor, table: &Tensor, p: CtcParams) -> Result<Tensor> {
    let (s, t) = (log_probs.shape(), table.shape());
    ensure!(
        s.len() == 3 && labels.ndim() == 1 && t.as_slice() == [s[1], 3] && p.blank < s[2] && p.width > 0,
        runtime,
        "ctc_loss: log_probs of sizes {s:?} and a table of sizes {t:?} do not belong together"
    );
    let integers = labels.dtype() == DType::I64 && table.dtype() == DType::I64;
    if !integers || !matches!(log_probs.dtype(), DType::F32 | DType::F64) {
        return Err(crate::ops::pointwise::not_implemented("ctc_loss", log_probs.dtype()));
    }
    prim1("CtcLossBackward0", Prim::CtcLoss(p), &[log_probs, labels, table])
}
