//! Softmax, norms and attention: fused backward primitives, whose own derivatives are those of the plain compositions.

use rtorch_ir::prim::{AttentionParams, CtcParams};
use rtorch_ir::program::ex;
use rtorch_ir::{DType, Error, Prim, Result, ScalarOp};
use smallvec::SmallVec;

use super::{Cotangents, Ctx, by_composition};
use crate::dispatch::{prim, prim1};
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

pub fn softmax(c: &Ctx, axis: usize, log: bool) -> Result<Cotangents> {
    let name = if log { "LogSoftmaxBackwardBackward0" } else { "SoftmaxBackwardBackward0" };
    Ok(vec![Some(prim1(name, Prim::SoftmaxGrad { axis, log }, &[&c.grad(0)?, &c.output(0)?])?)])
}

pub fn softmax_grad(c: &Ctx, axis: usize, log: bool) -> Result<Cotangents> {
    let d = [axis as i64];
    by_composition(
        &[c.input(0)?, c.input(1)?],
        |t| {
            let (g, y) = (&t[0], &t[1]);
            Ok(vec![if log {
                let s = ops::reduce::sum(g, &d, true, None)?;
                ops::sub(g, &ops::mul(&ops::unary(ScalarOp::Exp, y)?, &s)?)?
            } else {
                let gy = ops::mul(g, y)?;
                ops::sub(&gy, &ops::mul(y, &ops::reduce::sum(&gy, &d, true, None)?)?)?
            }])
        },
        &[Some(c.grad(0)?)],
    )
}

pub fn layer_norm(c: &Ctx, dims: usize, weight: bool, bias: bool, rms: bool) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let (x, mean, rstd) = (c.input(0)?, c.output(1)?, c.output(2)?);
    let w = if weight { Some(c.input(1)?) } else { None };
    let mut args: SmallVec<[&Tensor; 5]> = SmallVec::from_slice(&[&g, &x, &mean, &rstd]);
    args.extend(w.as_ref());
    let mut r = prim("NativeLayerNormBackwardBackward0", Prim::LayerNormGrad { dims, weight, rms }, &args)?;
    let (db, dw) = (r.pop(), r.pop());
    let mut out = vec![r.pop()];
    if weight {
        out.push(dw);
    }
    if bias {
        out.push(db);
    }
    Ok(out)
}

/// (g, x, mean, rstd, weight) -> dx, dw, db as a composition of x alone (mean and rstd are functions of it).
pub fn layer_norm_grad(c: &Ctx, dims: usize, weight: bool, rms: bool) -> Result<Cotangents> {
    let mut ins = vec![c.input(0)?, c.input(1)?];
    if weight {
        ins.push(c.input(4)?);
    }
    let (mean0, rstd0) = (c.input(2)?, c.input(3)?);
    let n = ins[1].ndim();
    let axes: Vec<i64> = ((n - dims) as i64..n as i64).collect();
    let lead: Vec<i64> = (0..(n - dims) as i64).collect();
    // eps is not passed: recovered from rstd and the variance, which it only shifts
    let grads: Vec<Option<Tensor>> = (0..3).map(|i| c.grads.get(i).cloned().flatten()).collect();
    let found = by_composition(
        &ins,
        |t| {
            let (g, x) = (&t[0], &t[1]);
            let mean = if rms { mean0.detach() } else { ops::reduce::mean(x, &axes, true, None)? };
            let centred = ops::sub(x, &mean)?;
            let var = ops::reduce::mean(&ops::unary(ScalarOp::Square, &centred)?, &axes, true, None)?;
            let eps =
                compose("norm_eps", "", Rule::Same, &[Arg::T(&rstd0.detach()), Arg::T(&var.detach())], None, |a| {
                    ex::reciprocal(a[0] * a[0]) - a[1]
                })?;
            let rstd = ops::unary(ScalarOp::Rsqrt, &ops::add(&var, &eps)?)?;
            let hat = ops::mul(&centred, &rstd)?;
            let gw = if weight { ops::mul(g, &t[2])? } else { g.clone() };
            let b = ops::mul(&hat, &ops::reduce::mean(&ops::mul(&gw, &hat)?, &axes, true, None)?)?;
            let mut inner = ops::sub(&gw, &b)?;
            if !rms {
                inner = ops::sub(&inner, &ops::reduce::mean(&gw, &axes, true, None)?)?;
            }
            let dx = ops::mul(&inner, &rstd)?;
            let over =
                |t: &Tensor| if lead.is_empty() { Ok(t.clone()) } else { ops::reduce::sum(t, &lead, false, None) };
            Ok(vec![dx, over(&ops::mul(g, &hat)?)?, over(g)?])
        },
        &grads,
    )?;
    let mut out = vec![found[0].clone(), found[1].clone(), None, None];
    if weight {
        out.push(found[2].clone());
    }
    Ok(out)
}

pub fn batch_norm(c: &Ctx, eps: f64, weight: bool, bias: bool) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let (x, mean, var) = (c.input(0)?, c.output(1)?, c.output(2)?);
    let w = if weight { Some(c.input(1)?) } else { None };
    let mut args: SmallVec<[&Tensor; 5]> = SmallVec::from_slice(&[&g, &x, &mean, &var]);
    args.extend(w.as_ref());
    let mut r = prim("NativeBatchNormBackwardBackward0", Prim::BatchNormGrad { eps, weight }, &args)?;
    let (db, dw) = (r.pop(), r.pop());
    let mut out = vec![r.pop()];
    if weight {
        out.push(dw);
    }
    if bias {
        out.push(db);
    }
    Ok(out)
}

pub fn batch_norm_grad(c: &Ctx, eps: f64, weight: bool) -> Result<Cotangents> {
    let mut ins = vec![c.input(0)?, c.input(1)?];
    if weight {
        ins.push(c.input(4)?);
    }
    let n = ins[1].ndim();
    let axes: Vec<i64> = (0..n as i64).filter(|&d| d != 1).collect();
    let grads: Vec<Option<Tensor>> = (0..3).map(|i| c.grads.get(i).cloned().flatten()).collect();
    let found = by_composition(
        &ins,
        |t| {
            let (g, x) = (&t[0], &t[1]);
            let mean = ops::reduce::mean(x, &axes, true, None)?;
            let centred = ops::sub(x, &mean)?;
            let var = ops::reduce::mean(&ops::unary(ScalarOp::Square, &centred)?, &axes, true, None)?;
            let rstd =
                compose("bn_rstd", "RsqrtBackward0", Rule::Same, &[Arg::T(&var), Arg::S(eps.into())], None, |a| {
                    ex::rsqrt(a[0] + a[1])
                })?;
            let hat = ops::mul(&centred, &rstd)?;
            let mut column = rtorch_ir::Shape::from_elem(1, n);
            column[1] = x.size(1);
            let gw = if weight { ops::mul(g, &shape::reshape_to(&t[2], column)?)? } else { g.clone() };
            let a = ops::reduce::mean(&gw, &axes, true, None)?;
            let b = ops::mul(&hat, &ops::reduce::mean(&ops::mul(&gw, &hat)?, &axes, true, None)?)?;
            let dx = ops::mul(&ops::sub(&ops::sub(&gw, &a)?, &b)?, &rstd)?;
            let dw = ops::reduce::sum(&ops::mul(g, &hat)?, &axes, false, None)?;
            Ok(vec![dx, dw, ops::reduce::sum(g, &axes, false, None)?])
        },
        &grads,
    )?;
    let mut out = vec![found[0].clone(), found[1].clone(), None, None];
    if weight {
        out.push(found[2].clone());
    }
    Ok(out)
}

/// Scores, masked: additive masks are added, false of a bool mask and the future of a causal one become -inf.
fn scores(q: &Tensor, k: &Tensor, mask: Option<&Tensor>, p: &AttentionParams) -> Result<Tensor> {
    let mut s = ops::mul_scalar(&ops::linalg::matmul(q, &shape::mt(k)?)?, p.scale)?;
    let low = Arg::S(f64::NEG_INFINITY.into());
    if p.causal {
        let n = s.ndim();
        let tri = ops::factory::triangle(s.size(n - 2), s.size(n - 1), 0, true, s.device())?;
        s = ops::pointwise::where_(&tri, Arg::T(&s), low)?;
    }
    match mask {
        Some(m) if m.dtype() == DType::Bool => ops::pointwise::where_(m, Arg::T(&s), low),
        Some(m) => ops::add(&s, m),
        None => Ok(s),
    }
}

pub fn attention(c: &Ctx, p: &AttentionParams) -> Result<Cotangents> {
    let ins: Vec<Tensor> = (0..c.inputs()).map(|i| c.input(i)).collect::<Result<_>>()?;
    let g = c.grad(0)?;
    let (out, lse) = (c.output(0)?, c.output(1)?);
    let mut args: SmallVec<[&Tensor; 7]> = SmallVec::from_slice(&[&g, &ins[0], &ins[1], &ins[2], &out, &lse]);
    args.extend(ins.get(3));
    let r = prim("ScaledDotProductAttentionBackwardBackward0", Prim::AttentionGrad(p.clone()), &args)?;
    let mut result: Cotangents = r.into_iter().map(Some).collect();
    if let Some(mask) = ins.get(3) {
        // a learned mask (rare): through the plain composition
        result.push(c.when(3, || {
            let s = scores(&ins[0].detach(), &ins[1].detach(), Some(&mask.detach()), p)?;
            let w = compose(
                "attention_weights",
                "",
                Rule::Same,
                &[Arg::T(&s), Arg::T(&shape::unsqueeze(&lse.detach(), -1)?)],
                None,
                |a| ex::exp(a[0] - a[1]),
            )?;
            let dw = ops::linalg::matmul(&g, &shape::mt(&ins[2])?)?;
            let row = ops::reduce::sum(&ops::mul(&g, &out)?, &[-1], true, None)?;
            ops::mul(&w, &ops::sub(&dw, &row)?)
        })?);
    }
    Ok(result)
}

/// (g, q, k, v, out, lse, mask) -> dq, dk, dv, differentiated as the composition.
pub fn attention_grad(c: &Ctx, p: &AttentionParams) -> Result<Cotangents> {
    let ins: Vec<Tensor> = (0..4).map(|i| c.input(i)).collect::<Result<_>>()?;
    let mask = if p.mask { Some(c.input(6)?) } else { None };
    let grads: Vec<Option<Tensor>> = (0..3).map(|i| c.grads.get(i).cloned().flatten()).collect();
    let found = by_composition(
        &ins,
        |t| {
            let (g, q, k, v) = (&t[0], &t[1], &t[2], &t[3]);
            let w = ops::nn::softmax(&scores(q, k, mask.as_ref(), p)?, -1, false)?;
            let dv = ops::linalg::matmul(&shape::mt(&w)?, g)?;
            let dw = ops::linalg::matmul(g, &shape::mt(v)?)?;
            let wd = ops::mul(&w, &dw)?;
            let ds = ops::sub(&wd, &ops::mul(&w, &ops::reduce::sum(&wd, &[-1], true, None)?)?)?;
            let ds = ops::mul_scalar(&ds, p.scale)?;
            Ok(vec![ops::linalg::matmul(&ds, k)?, ops::linalg::matmul(&shape::mt(&ds)?, q)?, dv])
        },
        &grads,
    )?;
    let mut out = found;
    out.resize(c.inputs(), None);
    Ok(out)
}

/// The forward probabilities (output 1) are nobody's but backward's.
pub fn ctc_loss(c: &Ctx, p: &CtcParams) -> Result<Cotangents> {
    let g = prim1(
        "CtcLossBackwardBackward0",
        Prim::CtcLossGrad(p.clone()),
        &[&c.grad(0)?, &c.input(0)?, &c.input(1)?, &c.input(2)?, &c.output(0)?, &c.output(1)?],
    )?;
    Ok(vec![Some(g), None, None, None])
}

/// Linear in the loss's cotangent; with respect to the log probabilities PyTorch has no second derivative either.
pub fn ctc_loss_grad(c: &Ctx, p: &CtcParams) -> Result<Cotangents> {
    if c.wants(1) {
        return Err(Error::runtime("derivative for aten::_ctc_loss_backward is not implemented"));
    }
    let ins: Vec<Tensor> = (1..6).map(|i| c.input(i)).collect::<Result<_>>()?;
    let ones = ops::factory::full(&c.shape(0), 1.0.into(), ins[0].dtype(), ins[0].device())?;
    let args = [&ones, &ins[0], &ins[1], &ins[2], &ins[3], &ins[4]];
    let whole = prim1("", Prim::CtcLossGrad(p.clone()), &args)?;
    let mut out: Cotangents = vec![None; c.inputs()];
    out[0] = Some(ops::reduce::sum(&ops::mul(&c.grad(0)?, &whole)?, &[0, 2], false, None)?);
    Ok(out)
}
