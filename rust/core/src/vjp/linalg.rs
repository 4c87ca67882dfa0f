//! Matrix products, solvers and decompositions. Formulas: M. Giles, "An extended collection of matrix derivative
//! results
//! for forward and reverse mode automatic differentiation" (2008); I. Murray, "Differentiation of the Cholesky
//! decomposition" (2016); M. Seeger et al., "Auto-Differentiating Linear Algebra" (2017).

use rtorch_ir::prim::LinalgOp;
use rtorch_ir::program::ex;
use rtorch_ir::{Error, Result, ScalarOp};
use smallvec::{SmallVec, smallvec};

use super::{Cotangents, Ctx};
use crate::ops::linalg::{matmul as mm, matrix_op};
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

pub fn saves(op: LinalgOp) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 2]>) {
    match op {
        LinalgOp::Solve | LinalgOp::TriangularSolve { .. } => (smallvec![0], smallvec![0]),
        LinalgOp::Inverse | LinalgOp::Cholesky { .. } => (SmallVec::new(), smallvec![0]),
        LinalgOp::SlogDet => (smallvec![0], SmallVec::new()),
        LinalgOp::Qr { .. } => (SmallVec::new(), smallvec![0, 1]),
        LinalgOp::Svd { .. } => (SmallVec::new(), smallvec![0, 1, 2]),
        LinalgOp::Eigh { .. } => (SmallVec::new(), smallvec![0, 1]),
    }
}

fn scaled(t: Tensor, s: f64) -> Result<Tensor> {
    if s == 1.0 { Ok(t) } else { ops::mul_scalar(&t, s) }
}

/// Does a matrix lie by columns, as the transpose of a weight does? Then so does its gradient: the weight's own is
/// row-major, and nobody has to copy it.
fn by_columns(t: &Tensor) -> bool {
    t.with(|p| {
        let (n, l) = (p.layout.ndim(), &p.layout);
        l.strides[n - 2] == 1 && l.strides[n - 1] != 1 && l.shape[n - 2] > 1
    })
}

pub fn matmul(c: &Ctx, bias: bool, alpha: f64, beta: f64) -> Result<Cotangents> {
    let g = c.grad(0)?;
    let (a, b) = (c.input(0)?, c.input(1)?);
    let da = || match by_columns(&a) {
        true => shape::mt(&mm(&b, &shape::mt(&g)?)?),
        false => mm(&g, &shape::mt(&b)?),
    };
    let db = || match by_columns(&b) {
        true => shape::mt(&mm(&shape::mt(&g)?, &a)?),
        false => mm(&shape::mt(&a)?, &g),
    };
    let mut out = vec![c.when(0, || scaled(da()?, alpha))?, c.when(1, || scaled(db()?, alpha))?];
    if bias {
        out.push(c.when(2, || scaled(g.clone(), beta))?);
    }
    Ok(out)
}

fn neg(x: &Tensor) -> Result<Tensor> {
    ops::unary(ScalarOp::Neg, x)
}

fn lower(x: &Tensor, k: i64) -> Result<Tensor> {
    ops::linalg::triangle(x, k, true)
}

pub fn linalg(c: &Ctx, op: LinalgOp) -> Result<Cotangents> {
    match op {
        LinalgOp::Solve => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let gb = matrix_op("LinalgSolveBackward0", LinalgOp::Solve, &[&shape::mt(&a)?, &c.grad(0)?])?;
            Ok(vec![c.when(0, || neg(&mm(&gb, &shape::mt(&x)?)?))?, Some(gb)])
        }
        LinalgOp::TriangularSolve { upper, unit } => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let p = LinalgOp::TriangularSolve { upper: !upper, unit };
            let gb = matrix_op("LinalgSolveTriangularBackward0", p, &[&shape::mt(&a)?, &c.grad(0)?])?;
            let ga = c.when(0, || {
                let full = neg(&mm(&gb, &shape::mt(&x)?)?)?;
                let edge = i64::from(unit);
                ops::linalg::triangle(&full, if upper { edge } else { -edge }, !upper)
            })?;
            Ok(vec![ga, Some(gb)])
        }
        LinalgOp::Inverse => {
            let t = shape::mt(&c.output(0)?)?;
            Ok(vec![Some(neg(&mm(&mm(&t, &c.grad(0)?)?, &t)?)?)])
        }
        LinalgOp::SlogDet => {
            let inverse = matrix_op("LinalgInvExBackward0", LinalgOp::Inverse, &[&c.input(0)?])?;
            let g = shape::unsqueeze(&shape::unsqueeze(&c.grad(1)?, -1)?, -1)?;
            Ok(vec![Some(ops::mul(&shape::mt(&inverse)?, &g)?)])
        }
        LinalgOp::Cholesky { upper } => cholesky(c, upper),
        LinalgOp::Qr { full } => qr(c, full),
        LinalgOp::Svd { full } => svd(c, full),
        LinalgOp::Eigh { .. } => eigh(c),
    }
}

/// Symmetric with half of the diagonal: the projection of Murray's formula.
fn phi(x: &Tensor) -> Result<Tensor> {
    let l = lower(x, 0)?;
    let half = ops::mul_scalar(&ops::linalg::diag_embed(&shape::diagonal(x, 0, -2, -1)?)?, 0.5)?;
    ops::sub(&l, &half)
}

fn cholesky(c: &Ctx, upper: bool) -> Result<Cotangents> {
    let (mut l, mut g) = (c.output(0)?, c.grad(0)?);
    if upper {
        (l, g) = (shape::mt(&l)?, shape::mt(&g)?);
    }
    let p = phi(&mm(&shape::mt(&l)?, &g)?)?;
    let solve = LinalgOp::TriangularSolve { upper: true, unit: false };
    let lt = shape::mt(&l)?;
    let left = matrix_op("LinalgSolveTriangularBackward0", solve, &[&lt, &p])?;
    let right = shape::mt(&matrix_op("LinalgSolveTriangularBackward0", solve, &[&lt, &shape::mt(&left)?])?)?;
    Ok(vec![Some(ops::mul_scalar(&ops::add(&right, &shape::mt(&right)?)?, 0.5)?)])
}

fn qr(c: &Ctx, full: bool) -> Result<Cotangents> {
    let (q, r) = (c.output(0)?, c.output(1)?);
    let (gq, gr) = (c.grad(0)?, c.grad(1)?);
    let n = r.ndim();
    if full && q.size(n - 2) != r.size(n - 1) {
        return Err(Error::runtime(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols",
        ));
    }
    if r.size(n - 2) < r.size(n - 1) {
        return Err(Error::runtime("The QR decomposition is not differentiable when mode='reduced' and nrows < ncols"));
    }
    // M = R gR^T - gQ^T Q; dA = (gQ + Q (tril(M) symmetrised)) R^-T
    let m = ops::sub(&mm(&r, &shape::mt(&gr)?)?, &mm(&shape::mt(&gq)?, &q)?)?;
    let sym = ops::add(&lower(&m, -1)?, &shape::mt(&lower(&m, 0)?)?)?;
    let sym = shape::mt(&sym)?;
    let sym = ops::add(&lower(&sym, 0)?, &shape::mt(&lower(&sym, -1)?)?)?;
    let b = ops::add(&gq, &mm(&q, &sym)?)?;
    let solve = LinalgOp::TriangularSolve { upper: true, unit: false };
    let x = matrix_op("LinalgSolveTriangularBackward0", solve, &[&r, &shape::mt(&b)?])?;
    Ok(vec![Some(shape::mt(&x)?)])
}

/// 1 / (b_j - a_i) off the diagonal, 0 on it.
fn gaps(d: &Tensor) -> Result<Tensor> {
    let (row, col) = (shape::unsqueeze(d, -2)?, shape::unsqueeze(d, -1)?);
    compose("spectral_gaps", "", Rule::Same, &[Arg::T(&row), Arg::T(&col)], None, |a| {
        let e = a[0] - a[1];
        let zero = ex::eq(e, e.lit(0.0));
        ex::where_(zero, e.lit(0.0), ex::reciprocal(ex::where_(zero, e.lit(1.0), e)))
    })
}

fn eigh(c: &Ctx) -> Result<Cotangents> {
    let (w, v) = (c.output(0)?, c.output(1)?);
    let mut inner = ops::linalg::diag_embed(&c.grad(0)?)?;
    if c.has(1) {
        let vt = mm(&shape::mt(&v)?, &c.grad(1)?)?;
        inner = ops::add(&inner, &ops::mul(&vt, &gaps(&w)?)?)?;
    }
    let full = mm(&mm(&v, &inner)?, &shape::mt(&v)?)?;
    Ok(vec![Some(ops::mul_scalar(&ops::add(&full, &shape::mt(&full)?)?, 0.5)?)])
}

fn svd(c: &Ctx, full: bool) -> Result<Cotangents> {
    let (u, s, vh) = (c.output(0)?, c.output(1)?, c.output(2)?);
    let n = u.ndim();
    let k = s.size(n - 2) as i64;
    if full && (c.has(0) || c.has(2)) && u.size(n - 1) != vh.size(n - 2) {
        return Err(Error::runtime("svd_backward: the gradient of U or Vh needs full_matrices=False"));
    }
    let u = shape::slice(&u, -1, Some(0), Some(k), 1)?;
    let vh = shape::slice(&vh, -2, Some(0), Some(k), 1)?;
    let v = shape::mt(&vh)?;
    let (srow, scol) = (shape::unsqueeze(&s, -2)?, shape::unsqueeze(&s, -1)?);
    let mut inner = ops::linalg::diag_embed(&c.grad(1)?)?;
    let f = gaps(&ops::unary(ScalarOp::Square, &s)?)?;
    let antisym = |m: &Tensor| -> Result<Tensor> { ops::sub(m, &shape::mt(m)?) };
    let mut dx = None;
    if c.has(0) {
        let gu = shape::slice(&c.grad(0)?, -1, Some(0), Some(k), 1)?;
        let ug = mm(&shape::mt(&u)?, &gu)?;
        inner = ops::add(&inner, &ops::mul(&ops::mul(&f, &antisym(&ug)?)?, &srow)?)?;
        // the part of gU outside of U's span
        let rest = ops::sub(&gu, &mm(&u, &ug)?)?;
        dx = Some(mm(&ops::div(&rest, &srow)?, &vh)?);
    }
    if c.has(2) {
        let gv = shape::mt(&shape::slice(&c.grad(2)?, -2, Some(0), Some(k), 1)?)?;
        let vg = mm(&vh, &gv)?;
        inner = ops::add(&inner, &ops::mul(&ops::mul(&f, &antisym(&vg)?)?, &scol)?)?;
        let rest = ops::sub(&gv, &mm(&v, &vg)?)?;
        let part = mm(&u, &shape::mt(&ops::div(&rest, &srow)?)?)?;
        dx = Some(match dx {
            Some(d) => ops::add(&d, &part)?,
            None => part,
        });
    }
    let main = mm(&mm(&u, &inner)?, &vh)?;
    Ok(vec![Some(match dx {
        Some(d) => ops::add(&main, &d)?,
        None => main,
    })])
}
