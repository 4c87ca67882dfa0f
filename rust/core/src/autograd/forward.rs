//! Forward mode: tensors that carry a tangent, and what every op does with it. Pointwise programs are
//! differentiated from the table's rows, views apply to tangents as they are, linear primitives apply to tangents,
//! and whatever else has a rule for cotangents gives its Jacobian-vector product by differentiating that rule,
//! which is linear in the cotangent: no second set of rules.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtorch_ir::prim::{ReduceOp, ScanOp};
use rtorch_ir::{Error, Prim, Result, ensure};
use smallvec::SmallVec;

use super::backward::{self, Options};
use super::graph::GradNode;
use super::meta::Edge;
use super::{mode, record};
use crate::dispatch;
use crate::kernel::Kernel;
use crate::ops;
use crate::tensor::Tensor;
use crate::view::ViewOp;

/// The number of the level that is open; 0 where none is. Tangents of closed levels mean nothing.
static LEVEL: AtomicU64 = AtomicU64::new(0);
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
}

pub fn enter() -> Result<u64> {
    ensure!(LEVEL.load(Ordering::Relaxed) == 0, runtime, "Nested forward mode AD is not supported at the moment");
    let level = NEXT.fetch_add(1, Ordering::Relaxed);
    LEVEL.store(level, Ordering::Relaxed);
    Ok(level)
}
pub fn exit(level: u64) -> Result<()> {
    ensure!(
        LEVEL.compare_exchange(level, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok(),
        runtime,
        "Trying to exit a forward AD level that was not the last one that was created. This is not supported."
    );
    Ok(())
}

#[inline]
pub fn active() -> bool {
    LEVEL.load(Ordering::Relaxed) != 0 && !OFF.get()
}

/// Ops on tangents are ordinary ops: no tangents of tangents.
pub struct Off(bool);

impl Off {
    fn new() -> Off {
        Off(OFF.replace(true))
    }
}
impl Drop for Off {
    fn drop(&mut self) {
        OFF.set(self.0);
    }
}

/// No tangents until the answer is dropped.
pub fn off() -> Off {
    Off::new()
}

/// The tangent of a tensor at the open level.
pub fn tangent(t: &Tensor) -> Option<Tensor> {
    let now = LEVEL.load(Ordering::Relaxed);
    if now == 0 {
        return None;
    }
    t.meta(|m| m.tangent.as_ref().filter(|x| x.0 == now).map(|x| x.1.clone())).flatten()
}

pub fn set_tangent(t: &Tensor, tangent: Option<Tensor>) {
    let now = LEVEL.load(Ordering::Relaxed);
    let old = t.with_meta(|m| std::mem::replace(&mut m.tangent, tangent.map(|x| (now, x))));
    drop(old);
}

/// A tensor with the same contents and graph that carries `tangent`.
pub fn make_dual(primal: &Tensor, tangent: &Tensor) -> Result<Tensor> {
    let off = Off::new();
    let dual = ops::shape::alias(primal)?;
    drop(off);
    set_tangent(&dual, Some(tangent.clone()));
    Ok(dual)
}

/// The contents without the tangent, and the tangent.
pub fn unpack_dual(t: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
    let _off = Off::new();
    Ok((ops::shape::alias(t)?, tangent(t)))
}

fn tangents(ts: &[&Tensor]) -> SmallVec<[Option<Tensor>; 4]> {
    ts.iter().map(|t| tangent(t)).collect()
}

pub fn any(ts: &[&Tensor]) -> bool {
    active() && ts.iter().any(|t| tangent(t).is_some())
}

/// In the shape of the tensor it belongs to.
fn give(out: &Tensor, t: Tensor) -> Result<()> {
    let t = if t.shape() == out.shape() { t } else { ops::shape::expand_to(&t, &out.shape())? };
    set_tangent(out, Some(t));
    Ok(())
}

pub fn map(kernel: &Kernel, inputs: &[&Tensor], out: &Tensor) -> Result<()> {
    let ts = tangents(inputs);
    let wanted: Vec<usize> = (0..ts.len()).filter(|&i| ts[i].is_some()).collect();
    if wanted.is_empty() || !out.dtype().is_differentiable() {
        return Ok(());
    }
    let _off = Off::new();
    let Some(mut program) = rtorch_ir::derive::jvp(&kernel.program, &wanted) else { return Ok(()) };
    let mut leaves: SmallVec<[&Tensor; 8]> = inputs.iter().copied().collect();
    leaves.push(out);
    leaves.extend(wanted.iter().filter_map(|&i| ts[i].as_ref()));
    let refs: SmallVec<[&Tensor; 8]> = program.prune().into_iter().map(|k| leaves[k]).collect();
    let t = if refs.is_empty() {
        ops::factory::zeros_like(out)?
    } else {
        dispatch::map("DerivativeBackward0", &Kernel::new(program), &refs)?
    };
    give(out, t)
}

pub fn view(name: &'static str, op: &ViewOp, x: &Tensor, out: &Tensor) -> Result<()> {
    let Some(t) = tangent(x) else { return Ok(()) };
    let _off = Off::new();
    // a window of the storage asks for a tangent that lies as the tensor does
    let t = if matches!(op, ViewOp::AsStrided { .. }) { ops::shape::clone_like(&t, &x.layout())? } else { t };
    let made = match dispatch::view(name, op.clone(), &t)? {
        Some(v) => v,
        None => dispatch::view(name, op.clone(), &ops::shape::clone_contiguous(&t)?)?
            .ok_or_else(|| Error::runtime("a view of a tangent could not be made"))?,
    };
    set_tangent(out, Some(made));
    Ok(())
}

/// Inputs that a primitive is linear in, taken together; None for what is not linear in any.
fn linear_in(p: &Prim, n: usize) -> Option<SmallVec<[usize; 4]>> {
    if matches!(p, Prim::Cat { .. }) {
        return Some((0..n).collect());
    }
    let first = matches!(
        p,
        Prim::Reduce { op: ReduceOp::Sum, .. }
            | Prim::Scan { op: ScanOp::Sum, .. }
            | Prim::Gather { .. }
            | Prim::IndexSelect { .. }
            | Prim::Index { .. }
            | Prim::ScatterView { .. }
            | Prim::Fft { .. }
            | Prim::Resize { .. }
            | Prim::ResizeGrad { .. }
            | Prim::AvgPool { .. }
            | Prim::AdaptiveAvgPool { .. }
    );
    first.then(|| SmallVec::from_slice(&[0]))
}

pub fn prim(p: &Prim, inputs: &[&Tensor], outs: &[Tensor]) -> Result<()> {
    let ts = tangents(inputs);
    if ts.iter().all(Option::is_none) || !outs.iter().any(|o| o.dtype().is_differentiable()) {
        return Ok(());
    }
    let _off = Off::new();
    if let Prim::MatMul { bias: false, .. } = p {
        let left = ts[0].as_ref().map(|t| dispatch::prim1("MmBackward0", p.clone(), &[t, inputs[1]])).transpose()?;
        let right = ts[1].as_ref().map(|t| dispatch::prim1("MmBackward0", p.clone(), &[inputs[0], t])).transpose()?;
        return match (left, right) {
            (Some(a), Some(b)) => give(&outs[0], ops::add(&a, &b)?),
            (Some(a), None) | (None, Some(a)) => give(&outs[0], a),
            (None, None) => Ok(()),
        };
    }
    if let Some(which) = linear_in(p, inputs.len()) {
        let mut args: SmallVec<[Tensor; 4]> = inputs.iter().map(|t| (*t).clone()).collect();
        for i in which {
            args[i] = match &ts[i] {
                Some(t) => t.clone(),
                None => ops::factory::zeros_like(inputs[i])?,
            };
        }
        let refs: SmallVec<[&Tensor; 4]> = args.iter().collect();
        return give(&outs[0], dispatch::prim1("TangentBackward0", p.clone(), &refs)?);
    }
    if let (Prim::Scan { op: ScanOp::LogSumExp, axis }, Some(t)) = (p, &ts[0]) {
        return give(&outs[0], logcumsumexp(inputs[0], t, *axis as i64)?);
    }
    if let (Prim::CtcLoss(p), Some(t), [loss, alpha]) = (p, &ts[0], outs) {
        // its rule for cotangents has no derivative with respect to the log probabilities
        let ones = ops::factory::full(&loss.shape(), 1.0.into(), loss.dtype(), loss.device())?;
        let args = [&ones, inputs[0], inputs[1], inputs[2], loss, alpha];
        let whole = dispatch::prim1("TangentBackward0", Prim::CtcLossGrad(p.clone()), &args)?;
        return give(loss, ops::reduce::sum(&ops::mul(t, &whole)?, &[0, 2], false, None)?);
    }
    by_cotangents(inputs, &ts, outs, |fresh| {
        let refs: SmallVec<[&Tensor; 4]> = fresh.iter().collect();
        Ok(dispatch::prim("TangentBackward0", p.clone(), &refs)?.into_vec())
    })
}

/// The running mean of the tangent, weighted by exp: the rule for cotangents takes their logarithms, which have no
/// derivative at 0.
fn logcumsumexp(x: &Tensor, t: &Tensor, axis: i64) -> Result<Tensor> {
    let weight = |x: &Tensor| -> Result<Tensor> {
        let top = ops::reduce::amax(&x.detach(), &[axis], true, true)?;
        let finite = ops::unary(rtorch_ir::ScalarOp::IsInf, &top)?;
        let zero = ops::pointwise::Arg::S(0.0.into());
        let top = ops::pointwise::where_(&finite, zero, ops::pointwise::Arg::T(&top))?;
        ops::unary(rtorch_ir::ScalarOp::Exp, &ops::sub(x, &top)?)
    };
    if x.ndim() == 0 || x.numel() == 0 {
        return Ok(t.clone());
    }
    let e = weight(x)?;
    let sums = |y: &Tensor| -> Result<Tensor> {
        Ok(ops::reduce::scan("CumsumBackward0", ScanOp::Sum, y, axis, None)?.swap_remove(0))
    };
    ops::div(&sums(&ops::mul(&e, t)?)?, &sums(&e)?)
}

/// J t of a function from its vector-Jacobian product: v^T J is linear in v, and its derivative along t is J t.
fn by_cotangents(
    inputs: &[&Tensor],
    ts: &[Option<Tensor>],
    outs: &[Tensor],
    f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let keep = mode::is_enabled();
    let _on = mode::Guard::new(true);
    let fresh: Vec<Tensor> = inputs
        .iter()
        .zip(ts)
        .map(|(t, tan)| match tan {
            Some(_) if keep && t.requires_grad() => ops::shape::alias(t),
            Some(_) => {
                let d = t.detach();
                d.set_requires_grad(true)?;
                Ok(d)
            }
            None => Ok((*t).clone()),
        })
        .collect::<Result<_>>()?;
    let made = f(&fresh)?;
    let targets: Vec<Edge> =
        fresh.iter().zip(ts).filter(|(_, tan)| tan.is_some()).filter_map(|(t, _)| record::edge(t)).collect();
    let opts = Options { keep_graph: true, create_graph: true, accumulate: false, boundary: true };
    push(&made, outs, ts, keep, |roots| backward::run(roots, Some(&targets), &opts))
}

/// The second half: cotangents that are variables, pulled back, and differentiated along the tangents.
fn push(
    made: &[Tensor],
    outs: &[Tensor],
    ts: &[Option<Tensor>],
    keep: bool,
    pull: impl FnOnce(&[(Edge, Tensor)]) -> Result<Vec<Option<Tensor>>>,
) -> Result<()> {
    let (mut roots, mut seeds, mut which) = (Vec::new(), Vec::new(), Vec::new());
    for (k, y) in made.iter().enumerate() {
        if let Some(e) = record::edge(y) {
            let v = ops::factory::zeros_like(&y.detach())?;
            v.set_requires_grad(true)?;
            roots.push((e, v.clone()));
            seeds.push(v);
            which.push(k);
        }
    }
    let pulled = pull(&roots)?;
    let along: Vec<(Edge, Tensor)> = pulled
        .iter()
        .zip(ts.iter().flatten())
        .filter_map(|(g, t)| Some((record::edge(g.as_ref()?)?, t.clone())))
        .collect();
    let targets: Vec<Edge> = seeds.iter().filter_map(record::edge).collect();
    let opts = Options { keep_graph: keep, create_graph: keep, accumulate: false, boundary: true };
    for (k, t) in which.into_iter().zip(backward::run(&along, Some(&targets), &opts)?) {
        let t = match t {
            Some(t) => t,
            None => ops::factory::zeros_like(&outs[k])?,
        };
        give(&outs[k], t)?;
    }
    Ok(())
}

/// The tangents of a node's outputs, from its backward. The node stands apart: its inputs are variables of their own.
pub fn custom(node: &Arc<GradNode>, inputs: &[&Tensor], outs: &[&Tensor]) -> Result<()> {
    let ts = tangents(inputs);
    let _off = Off::new();
    let keep = mode::is_enabled();
    let _on = mode::Guard::new(true);
    let made: Vec<Tensor> = outs
        .iter()
        .enumerate()
        .map(|(k, o)| {
            let d = o.detach();
            record::connect(&d, node, k);
            d
        })
        .collect();
    let outs: Vec<Tensor> = outs.iter().map(|o| (*o).clone()).collect();
    let opts = Options { keep_graph: true, create_graph: true, accumulate: false, boundary: true };
    push(&made, &outs, &ts, keep, |roots| {
        let mut grads = vec![None; node.outputs.len()];
        for (e, v) in roots {
            grads[e.output] = Some(v.clone());
        }
        let all = crate::vjp::apply(node, &grads, &opts)?;
        let mut wanted = Vec::new();
        for (i, g) in all.into_iter().enumerate() {
            if ts[i].is_some() {
                wanted.push(g.map(|g| backward::fit(g, node, i)).transpose()?);
            }
        }
        Ok(wanted)
    })
}

/// An in-place write under tangents: what is written was computed apart (`made`), its tangent becomes the target's, and
/// that of the part of a base that a view shows.
pub fn written(target: &Tensor, made: &Tensor) -> Result<()> {
    let new = tangent(made);
    let _off = Off::new();
    if let Some(old) = tangent(target) {
        return match new {
            Some(t) => crate::inplace::copy_(&old, &t),
            None => crate::inplace::copy_(&old, &ops::factory::zeros_like(&old)?),
        };
    }
    let Some(new) = new else { return Ok(()) };
    let Some(v) = target.view_of() else { return give(target, ops::shape::clone(&new)?) };
    let (base, chain) = v.chain();
    let mut t = match tangent(&base) {
        Some(t) => t,
        None => {
            let zeros = ops::factory::zeros_like(&base)?;
            set_tangent(&base, Some(zeros.clone()));
            zeros
        }
    };
    for (op, name) in &chain {
        t = dispatch::view(name, op.clone(), &t)?.ok_or_else(|| Error::runtime("a view of a tangent"))?;
    }
    crate::inplace::copy_(&t, &new)?;
    set_tangent(target, Some(t));
    Ok(())
}
