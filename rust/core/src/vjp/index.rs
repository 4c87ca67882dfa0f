//! Gathers, scatters and joins: each is the other's derivative.

use rtorch_ir::prim::ScatterOp;
use rtorch_ir::{Error, Prim, Result, ScalarOp};
use smallvec::SmallVec;

use super::{Cotangents, Ctx};
use crate::dispatch::prim1;
use crate::ops::pointwise::Arg;
use crate::ops::{self, shape};
use crate::tensor::Tensor;

fn zeros(c: &Ctx, i: usize, g: &Tensor) -> Result<Tensor> {
    ops::factory::zeros(&c.shape(i), g.dtype(), g.device())
}

/// Cotangents added at `index` to zeros of `shape`: in place, so that nothing is copied, unless the graph goes on.
pub fn added(name: &'static str, p: Prim, shape: &[usize], index: &Tensor, g: &Tensor) -> Result<Tensor> {
    let base = ops::factory::zeros(shape, g.dtype(), g.device())?;
    if crate::autograd::record::wanted(&[g]) || crate::batch::any(&[index, g]) {
        return prim1(name, p, &[&base, index, g]);
    }
    crate::inplace::prim(name, &base, p, &[&base, index, g])?;
    Ok(base)
}

pub fn gather(c: &Ctx, axis: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let p = Prim::Scatter { axis, op: ScatterOp::Add };
    Ok(vec![Some(added("ScatterAddBackward0", p, &c.shape(0), &c.input(1)?, &g)?), None])
}

/// Values and positions of a sort: the cotangent goes back to where the values came from.
pub fn by_position(c: &Ctx, axis: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    if c.shape(0).is_empty() {
        return Ok(vec![Some(g)]);
    }
    let p = Prim::Scatter { axis, op: ScatterOp::Add };
    Ok(vec![Some(added("ScatterAddBackward0", p, &c.shape(0), &c.output(1)?, &g)?)])
}

pub fn scatter(c: &Ctx, axis: usize, op: ScatterOp) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let index = c.input(1)?;
    let at = |g: &Tensor| prim1("GatherBackward0", Prim::Gather { axis }, &[g, &index]);
    let cleared = |g: &Tensor| -> Result<Tensor> {
        let z = ops::factory::zeros(&index.shape(), g.dtype(), g.device())?;
        prim1("ScatterBackward0", Prim::Scatter { axis, op: ScatterOp::Set }, &[g, &index, &z])
    };
    Ok(match op {
        ScatterOp::Add => vec![Some(g.clone()), None, c.when(2, || at(&g))?],
        ScatterOp::Set => vec![c.when(0, || cleared(&g))?, None, c.when(2, || at(&g))?],
        ScatterOp::Mul => {
            let (x, src, y) = (c.input(0)?, c.input(2)?, c.output(0)?);
            let gy = ops::mul(&g, &y)?;
            let dx = c.when(0, || {
                // the product of what was multiplied in, on its own
                let ones = ops::factory::full_like(&x, 1.into())?;
                let p = Prim::Scatter { axis, op: ScatterOp::Mul };
                ops::mul(&g, &prim1("ScatterReduceBackward0", p, &[&ones, &index, &src])?)
            })?;
            let dsrc = c.when(2, || ops::div(&at(&gy)?, &src))?;
            vec![dx, None, dsrc]
        }
        ScatterOp::Max | ScatterOp::Min => {
            let (x, src, y) = (c.input(0)?, c.input(2)?, c.output(0)?);
            let hit = |a: &Tensor, b: &Tensor| -> Result<Tensor> {
                ops::convert::to_dtype(&ops::binary(ScalarOp::Eq, Arg::T(a), Arg::T(b))?, g.dtype())
            };
            let (kept, came) = (hit(&x, &y)?, hit(&src, &prim1("", Prim::Gather { axis }, &[&y.detach(), &index])?)?);
            let add = Prim::Scatter { axis, op: ScatterOp::Add };
            let count = prim1("", add, &[&kept, &index, &came])?;
            let share = ops::div(&g, &count)?;
            vec![c.when(0, || ops::mul(&share, &kept))?, None, c.when(2, || ops::mul(&at(&share)?, &came))?]
        }
    })
}

pub fn index_select(c: &Ctx, axis: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let index = c.input(1)?;
    // index_add takes a 1-d index: the index's dims of g join
    let mut flat = rtorch_ir::Shape::from_slice(&g.shape()[..axis]);
    flat.push(index.numel());
    flat.extend_from_slice(&g.shape()[axis + index.ndim()..]);
    let src = shape::reshape_to(&g, flat)?;
    let index = shape::reshape(&index, &[-1])?;
    let p = Prim::IndexAdd { axis, op: ScatterOp::Add };
    Ok(vec![Some(added("IndexAddBackward0", p, &c.shape(0), &index, &src)?), None])
}

pub fn index_add(c: &Ctx, axis: usize, op: ScatterOp) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let index = c.input(1)?;
    let at = |g: &Tensor| prim1("IndexSelectBackward0", Prim::IndexSelect { axis }, &[g, &index]);
    Ok(match op {
        ScatterOp::Add => vec![Some(g.clone()), None, c.when(2, || at(&g))?],
        ScatterOp::Set => {
            let dx = c.when(0, || {
                let mut s = c.shape(0);
                s[axis] = index.numel();
                let z = ops::factory::zeros(&s, g.dtype(), g.device())?;
                prim1("IndexCopyBackward0", Prim::IndexAdd { axis, op: ScatterOp::Set }, &[&g, &index, &z])
            })?;
            vec![dx, None, c.when(2, || at(&g))?]
        }
        ScatterOp::Mul | ScatterOp::Max | ScatterOp::Min => {
            // the same as a scatter whose index is expanded to the source
            let src = c.input(2)?;
            let mut column = rtorch_ir::Shape::from_elem(1, src.ndim());
            column[axis] = index.numel();
            let wide = shape::expand_to(&shape::reshape_to(&index, column)?, &src.shape())?;
            let x = c.input(0)?;
            super::by_composition(
                &[x, src],
                |t| Ok(vec![prim1("ScatterReduceBackward0", Prim::Scatter { axis, op }, &[&t[0], &wide, &t[1]])?]),
                &[Some(g)],
            )
            .map(|d| vec![d[0].clone(), None, d[1].clone()])?
        }
    })
}

fn indices(c: &Ctx, from: usize) -> Result<Vec<Tensor>> {
    (from..c.inputs()).map(|i| c.input(i)).collect()
}

pub fn index(c: &Ctx, n: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let base = zeros(c, 0, &g)?;
    let at = indices(c, 1)?;
    let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&base, &g]);
    args.extend(at.iter());
    let mut out = vec![Some(prim1("IndexPutBackward0", Prim::IndexPut { n, accumulate: true }, &args)?)];
    out.resize(c.inputs(), None);
    Ok(out)
}

pub fn index_put(c: &Ctx, n: usize, accumulate: bool) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let at = indices(c, 2)?;
    let dx = c.when(0, || {
        if accumulate {
            return Ok(g.clone());
        }
        let z = ops::factory::zeros(&c.shape(1), g.dtype(), g.device())?;
        let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&g, &z]);
        args.extend(at.iter());
        prim1("IndexPutBackward0", Prim::IndexPut { n, accumulate: false }, &args)
    })?;
    let dv = c.when(1, || {
        let mut args: SmallVec<[&Tensor; 4]> = SmallVec::from_slice(&[&g]);
        args.extend(at.iter());
        prim1("IndexBackward0", Prim::Index { n }, &args)
    })?;
    let mut out = vec![dx, dv];
    out.resize(c.inputs(), None);
    Ok(out)
}

pub fn cat(c: &Ctx, axis: usize) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let mut at = 0i64;
    (0..c.inputs())
        .map(|i| {
            let n = *c.shape(i).get(axis).ok_or_else(|| Error::runtime("cat: a part without the axis"))? as i64;
            at += n;
            c.when(i, || shape::slice(&g, axis as i64, Some(at - n), Some(at), 1))
        })
        .collect()
}

/// (weight, index, offsets, factors if there are): the bag of each index and its factor there are results.
pub fn embedding_bag(c: &Ctx, padding: Option<usize>) -> Result<Cotangents> {
    let (index, bag) = (c.input(1)?, c.output(1)?);
    let n = index.numel();
    let column = |t: &Tensor| ops::shape::reshape_to(t, rtorch_ir::Shape::from_slice(&[n, 1]));
    let select = Prim::IndexSelect { axis: 0 };
    let g = prim1("EmbeddingBagBackwardBackward0", select.clone(), &[&c.grad(0)?, &bag])?;
    let weighted = c.inputs() > 3;
    // 0 for rows that are padding
    let kept = |t: &Tensor| -> Result<Tensor> {
        let Some(row) = padding else { return Ok(t.clone()) };
        let row = Arg::S(rtorch_ir::Scalar::Int(row as i64));
        let pad = ops::binary(rtorch_ir::ScalarOp::Eq, Arg::T(&index), row)?;
        ops::pointwise::masked_fill(t, &pad, Arg::S(0.0.into()), None)
    };
    let mut out: Cotangents = vec![None; c.inputs()];
    out[0] = c.when(0, || {
        let factor = if weighted { kept(&c.input(3)?)? } else { c.output(2)?.detach() };
        let p = Prim::IndexAdd { axis: 0, op: ScatterOp::Add };
        added("EmbeddingBagBackwardBackward0", p, &c.shape(0), &index, &ops::mul(&g, &column(&factor)?)?)
    })?;
    if weighted {
        out[3] = c.when(3, || {
            let rows = prim1("EmbeddingBagBackwardBackward0", select, &[&c.input(0)?, &index])?;
            kept(&ops::reduce::sum(&ops::mul(&g, &rows)?, &[-1], false, None)?)
        })?;
    }
    Ok(out)
}
