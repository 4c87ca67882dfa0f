//! Matrix products, solvers and decompositions. Formulas: M. Giles, "An extended collection of matrix derivative
//! results
//! for forward and reverse mode automatic differentiation" (2008); I. Murray, "Differentiation of the Cholesky
//! decomposition" (2016); M. Seeger et al., "Auto-Differentiating Linear Algebra" (2017).

use rtorch_ir::prim::LinalgOp;
use rtorch_ir::program::ex;
use rtorch_ir::{Error, Result, ScalarOp, ensure};
use smallvec::{SmallVec, smallvec};

use super::{Cotangents, Ctx};
use crate::ops::complex::adjoint as mh;
use crate::ops::linalg::{matmul as mm, matrix_op};
use crate::ops::pointwise::{Arg, Rule, compose};
use crate::ops::{self, shape};
use crate::tensor::Tensor;

pub fn saves(op: LinalgOp) -> (SmallVec<[usize; 4]>, SmallVec<[usize; 2]>) {
    match op {
        LinalgOp::Solve { factors: true } => (smallvec![0], smallvec![0, 1, 2]),
        LinalgOp::SolveFactored { .. } => (smallvec![0, 1, 2], smallvec![0]),
        LinalgOp::Solve { factors: false } | LinalgOp::TriangularSolve { .. } => (smallvec![0], smallvec![0]),
        LinalgOp::Inverse | LinalgOp::Cholesky { .. } => (SmallVec::new(), smallvec![0]),
        LinalgOp::SlogDet => (smallvec![0], smallvec![0]),
        LinalgOp::Qr { .. } => (SmallVec::new(), smallvec![0, 1]),
        LinalgOp::Svd { .. } => (SmallVec::new(), smallvec![0, 1, 2]),
        LinalgOp::SvdVals | LinalgOp::EighVals { .. } | LinalgOp::EigVals => (smallvec![0], SmallVec::new()),
        LinalgOp::Eigh { .. } | LinalgOp::Eig | LinalgOp::Lu => (SmallVec::new(), smallvec![0, 1]),
        LinalgOp::Geqrf | LinalgOp::Ldl { .. } | LinalgOp::LdlSolve { .. } => (SmallVec::new(), SmallVec::new()),
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
        // the factors are no function of A here: nobody but `SolveFactored` reads them, whose rule goes by A
        LinalgOp::Solve { .. } | LinalgOp::SolveFactored { .. } if !c.has(0) => Ok(vec![None; c.inputs()]),
        LinalgOp::Solve { factors: true } => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let gb = factored(true, &a, &c.output(1)?, &c.output(2)?, &c.grad(0)?)?;
            Ok(vec![c.when(0, || mm(&neg(&gb)?, &mh(&x)?))?, Some(gb)])
        }
        LinalgOp::Solve { factors: false } => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let op = LinalgOp::Solve { factors: false };
            let gb = matrix_op("LinalgSolveBackward0", op, &[&mh(&a)?, &c.grad(0)?])?;
            Ok(vec![c.when(0, || mm(&neg(&gb)?, &mh(&x)?))?, Some(gb)])
        }
        LinalgOp::SolveFactored { adjoint } => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let gb = factored(!adjoint, &a, &c.input(1)?, &c.input(2)?, &c.grad(0)?)?;
            let ga = c.when(0, || match adjoint {
                true => mm(&neg(&x)?, &mh(&gb)?),
                false => mm(&neg(&gb)?, &mh(&x)?),
            })?;
            Ok(vec![ga, None, None, Some(gb)])
        }
        LinalgOp::TriangularSolve { upper, unit } => {
            let (a, x) = (c.input(0)?, c.output(0)?);
            let p = LinalgOp::TriangularSolve { upper: !upper, unit };
            let gb = matrix_op("LinalgSolveTriangularBackward0", p, &[&mh(&a)?, &c.grad(0)?])?;
            let ga = c.when(0, || {
                let full = neg(&mm(&gb, &mh(&x)?)?)?;
                let edge = i64::from(unit);
                ops::linalg::triangle(&full, if upper { edge } else { -edge }, !upper)
            })?;
            Ok(vec![ga, Some(gb)])
        }
        LinalgOp::Inverse => {
            let t = mh(&c.output(0)?)?;
            Ok(vec![Some(neg(&mm(&mm(&t, &c.grad(0)?)?, &t)?)?)])
        }
        LinalgOp::SlogDet => {
            let inverse = matrix_op("LinalgInvExBackward0", LinalgOp::Inverse, &[&c.input(0)?])?;
            let mut g = c.grad(1)?;
            if inverse.dtype().is_complex() && c.has(0) {
                // the determinant's phase turns with the imaginary part of tr(A^-1 dA)
                let turned = ops::mul(&ops::complex::conj(&c.grad(0)?)?, &c.output(0)?)?;
                g = ops::complex::join(&g, &neg(&ops::complex::part(&turned, 1)?)?)?;
            }
            let g = shape::unsqueeze(&shape::unsqueeze(&g, -1)?, -1)?;
            Ok(vec![Some(ops::mul(&mh(&inverse)?, &g)?)])
        }
        LinalgOp::Cholesky { upper, .. } => cholesky(c, upper),
        LinalgOp::Qr { full } => qr(c, full),
        LinalgOp::Svd { full } => svd(c, full),
        LinalgOp::Eigh { .. } => eigh(c),
        LinalgOp::SvdVals | LinalgOp::EighVals { .. } | LinalgOp::EigVals => values(c, op),
        LinalgOp::Lu => lu(c),
        LinalgOp::Eig => eig(c),
        LinalgOp::Geqrf => Err(Error::not_implemented("derivative for geqrf is not implemented")),
        LinalgOp::Ldl { .. } => Err(Error::not_implemented("derivative for ldl_factor_ex is not implemented")),
        LinalgOp::LdlSolve { .. } => Err(Error::not_implemented("derivative for ldl_solve is not implemented")),
    }
}

/// A X = B (or A^H X = B) by the factors of `LinalgOp::Solve`, which are data.
fn factored(adjoint: bool, a: &Tensor, factors: &Tensor, rows: &Tensor, b: &Tensor) -> Result<Tensor> {
    matrix_op("LinalgSolveBackward0", LinalgOp::SolveFactored { adjoint }, &[a, &factors.detach(), rows, b])
}

/// Of values that were computed without vectors: with them, now.
fn values(c: &Ctx, op: LinalgOp) -> Result<Cotangents> {
    let (a, g) = (c.input(0)?, c.grad(0)?);
    let whole = |name, op| ops::linalg::matrix_ops(name, op, &[&a]);
    let (row, n) = (shape::unsqueeze(&g, -2)?, a.ndim());
    if op == LinalgOp::SvdVals {
        let f = whole("LinalgSvdBackward0", LinalgOp::Svd { full: false })?;
        return Ok(vec![Some(mm(&ops::mul(&f[0], &row)?, &f[2])?)]);
    }
    if let LinalgOp::EighVals { upper } = op {
        let v = whole("LinalgEighBackward0", LinalgOp::Eigh { upper })?.swap_remove(1);
        return Ok(vec![Some(mm(&ops::mul(&v, &row)?, &mh(&v)?)?)]);
    }
    let vh = mh(&whole("LinalgEigBackward0", LinalgOp::Eig)?[1])?;
    let scaled = ops::mul(&shape::unsqueeze(&g, n as i64 - 1)?, &vh)?;
    let ga = matrix_op("LinalgSolveBackward0", LinalgOp::Solve { factors: false }, &[&vh, &scaled])?;
    Ok(vec![Some(if a.dtype().is_float() { ops::complex::part(&ga, 0)? } else { ga })])
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
        (l, g) = (mh(&l)?, mh(&g)?);
    }
    let p = phi(&mm(&mh(&l)?, &g)?)?;
    let solve = LinalgOp::TriangularSolve { upper: true, unit: false };
    let lt = mh(&l)?;
    let left = matrix_op("LinalgSolveTriangularBackward0", solve, &[&lt, &p])?;
    let right = mh(&matrix_op("LinalgSolveTriangularBackward0", solve, &[&lt, &mh(&left)?])?)?;
    Ok(vec![Some(ops::mul_scalar(&ops::add(&right, &mh(&right)?)?, 0.5)?)])
}

fn qr(c: &Ctx, full: bool) -> Result<Cotangents> {
    let (q, r) = (c.output(0)?, c.output(1)?);
    let (gq, gr) = (c.grad(0)?, c.grad(1)?);
    let n = r.ndim();
    if full && q.size(n - 2) != r.size(n - 1) && q.size(n - 2) > r.size(n - 1) {
        return Err(Error::runtime(
            "The QR decomposition is not differentiable when mode='complete' and nrows > ncols",
        ));
    }
    let (k, wide) = (r.size(n - 2) as i64, r.size(n - 1) as i64);
    if k == wide {
        return Ok(vec![Some(qr_square(&q, &r, &gq, &gr)?)]);
    }
    // A = [X Y] with X = Q R1 square and R2 = Q^H Y
    let part = |t: &Tensor, from, to| shape::slice(t, -1, Some(from), Some(to), 1);
    let (r1, r2) = (part(&r, 0, k)?, part(&r, k, wide)?);
    let (g1, g2) = (part(&gr, 0, k)?, part(&gr, k, wide)?);
    let gq = ops::add(&gq, &mm(&mm(&q, &r2)?, &mh(&g2)?)?)?;
    let gx = qr_square(&q, &r1, &gq, &g1)?;
    Ok(vec![Some(shape::cat(&[gx, mm(&q, &g2)?], -1)?)])
}

/// (gQ + Q H) R^-H, H the Hermitian matrix with the lower triangle of R gR^H - gQ^H Q.
fn qr_square(q: &Tensor, r: &Tensor, gq: &Tensor, gr: &Tensor) -> Result<Tensor> {
    let m = ops::sub(&mm(r, &mh(gr)?)?, &mm(&mh(gq)?, q)?)?;
    let strict = lower(&m, -1)?;
    let diagonal = ops::sub(&lower(&m, 0)?, &strict)?;
    let diagonal = ops::mul_scalar(&ops::add(&diagonal, &mh(&diagonal)?)?, 0.5)?;
    let h = ops::add(&ops::add(&strict, &mh(&strict)?)?, &diagonal)?;
    let b = ops::add(gq, &mm(q, &h)?)?;
    // X R^H = B is R X^H = B^H
    let solve = LinalgOp::TriangularSolve { upper: true, unit: false };
    mh(&matrix_op("LinalgSolveTriangularBackward0", solve, &[r, &mh(&b)?])?)
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

/// Complex vectors are known up to a phase each: V^H gV with an imaginary diagonal asks for more than there is.
fn check_phase(who: &str, vg: &Tensor) -> Result<()> {
    if !vg.dtype().is_complex() || vg.numel() == 0 || crate::batch::is_batched(vg) {
        return Ok(());
    }
    let turn = ops::complex::part(&shape::diagonal(&vg.detach(), 0, -2, -1)?, 1)?;
    let most = ops::convert::item(&ops::reduce::amax(&ops::unary(ScalarOp::Abs, &turn)?, &[], false, true)?)?;
    ensure!(
        most.to_f64().is_nan() || most.to_f64() <= PHASE,
        runtime,
        "{who} in the complex case are specified up to multiplication by e^{{i phi}}. The specified loss function \
         depends on this quantity, so it is ill-defined."
    );
    Ok(())
}

/// PyTorch's bound for that.
const PHASE: f64 = 1e-2;

fn eigh(c: &Ctx) -> Result<Cotangents> {
    let (w, v) = (c.output(0)?, c.output(1)?);
    let mut inner = ops::convert::to_dtype(&ops::linalg::diag_embed(&c.grad(0)?)?, v.dtype())?;
    if c.has(1) {
        let vt = mm(&mh(&v)?, &c.grad(1)?)?;
        check_phase("linalg_eigh_backward: The eigenvectors", &vt)?;
        // vectors stay orthonormal: only what is skew moves them
        let skew = ops::mul_scalar(&ops::sub(&vt, &mh(&vt)?)?, 0.5)?;
        inner = ops::add(&inner, &ops::mul(&skew, &gaps(&w)?)?)?;
    }
    Ok(vec![Some(mm(&mm(&v, &inner)?, &mh(&v)?)?)])
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
    let v = mh(&vh)?;
    let (srow, scol) = (shape::unsqueeze(&s, -2)?, shape::unsqueeze(&s, -1)?);
    let mut inner = ops::convert::to_dtype(&ops::linalg::diag_embed(&c.grad(1)?)?, u.dtype())?;
    let f = gaps(&ops::unary(ScalarOp::Square, &s)?)?;
    let antisym = |m: &Tensor| -> Result<Tensor> { ops::sub(m, &mh(m)?) };
    let (mut dx, mut turns) = (None, None);
    if c.has(0) {
        let gu = shape::slice(&c.grad(0)?, -1, Some(0), Some(k), 1)?;
        let ug = mm(&mh(&u)?, &gu)?;
        let skew = antisym(&ug)?;
        turns = Some(ug.clone());
        inner = ops::add(&inner, &ops::mul(&ops::mul(&f, &skew)?, &srow)?)?;
        if skew.dtype().is_complex() {
            // what a phase of u and v leaves free
            let phase = ops::div(&shape::diagonal(&skew, 0, -2, -1)?, &ops::mul_scalar(&s, 2.0)?)?;
            inner = ops::add(&inner, &ops::linalg::diag_embed(&phase)?)?;
        }
        // the part of gU outside of U's span
        let rest = ops::sub(&gu, &mm(&u, &ug)?)?;
        dx = Some(mm(&ops::div(&rest, &srow)?, &vh)?);
    }
    if c.has(2) {
        let gv = mh(&shape::slice(&c.grad(2)?, -2, Some(0), Some(k), 1)?)?;
        let vg = mm(&vh, &gv)?;
        inner = ops::add(&inner, &ops::mul(&ops::mul(&f, &antisym(&vg)?)?, &scol)?)?;
        turns = Some(match turns {
            Some(t) => ops::add(&t, &vg)?,
            None => vg.clone(),
        });
        let rest = ops::sub(&gv, &mm(&v, &vg)?)?;
        let part = mm(&u, &mh(&ops::div(&rest, &srow)?)?)?;
        dx = Some(match dx {
            Some(d) => ops::add(&d, &part)?,
            None => part,
        });
    }
    if let Some(t) = turns {
        check_phase("svd_backward: The singular vectors", &t)?;
    }
    let main = mm(&mm(&u, &inner)?, &vh)?;
    Ok(vec![Some(match dx {
        Some(d) => ops::add(&main, &d)?,
        None => main,
    })])
}

/// P A = L U. With the packed cotangent split into those of L and U, for a square matrix
/// gA = P^T L^-H [strict lower of L^H gL + upper of gU U^H] U^-H; columns beyond the rows (or rows beyond the columns)
/// are a triangular solve's (M. Seeger et al., section 5; PyTorch's `lu_factor_ex_backward`).
fn lu(c: &Ctx) -> Result<Cotangents> {
    let (packed, pivots, g) = (c.output(0)?, c.output(1)?, c.grad(0)?);
    let n = packed.ndim();
    let (rows, cols) = (packed.size(n - 2) as i64, packed.size(n - 1) as i64);
    let k = rows.min(cols);
    let block = |t: &Tensor, dim: i64, from: i64, to: i64| shape::slice(t, dim, Some(from), Some(to), 1);
    let (lu, gk) = (block(&block(&packed, -2, 0, k)?, -1, 0, k)?, block(&block(&g, -2, 0, k)?, -1, 0, k)?);
    let upper = |t: &Tensor| ops::linalg::triangle(t, 0, false);
    let (gl, gu, u) = (lower(&gk, -1)?, upper(&gk)?, upper(&lu)?);
    let l = lower(&lu, -1)?;
    // L^H gL with L's unit diagonal
    let mut low = ops::add(&mm(&mh(&l)?, &gl)?, &gl)?;
    let mut up = mm(&gu, &mh(&u)?)?;
    let beyond = if cols > rows {
        let g2 = block(&g, -1, k, cols)?;
        low = ops::sub(&low, &mm(&g2, &mh(&block(&packed, -1, k, cols)?)?)?)?;
        Some(g2)
    } else if rows > cols {
        let g2 = block(&g, -2, k, rows)?;
        up = ops::sub(&up, &mm(&mh(&block(&packed, -2, k, rows)?)?, &g2)?)?;
        Some(g2)
    } else {
        None
    };
    let phi = ops::add(&lower(&low, -1)?, &upper(&up)?)?;
    let triangular = |upper: bool, unit: bool, a: &Tensor, b: &Tensor| {
        matrix_op("LinalgSolveTriangularBackward0", LinalgOp::TriangularSolve { upper, unit }, &[a, b])
    };
    let (lh, by_u) = (mh(&lu)?, |x: &Tensor| -> Result<Tensor> { mh(&triangular(true, false, &u, &mh(x)?)?) });
    let mut ga = by_u(&triangular(true, true, &lh, &phi)?)?;
    if let Some(g2) = beyond {
        ga = match cols > rows {
            true => shape::cat(&[ga, triangular(true, true, &lh, &g2)?], -1)?,
            false => shape::cat(&[ga, by_u(&g2)?], -2)?,
        };
    }
    Ok(vec![Some(ops::linalg::permute_rows(&ga, &pivots, true)?)])
}

/// V^-H (diag(gw) + (V^H gV - V^H V diag(Re(V^H gV))) / conj(w_j - w_i)) V^H.
fn eig(c: &Ctx) -> Result<Cotangents> {
    let (w, v) = (c.output(0)?, c.output(1)?);
    let vh = mh(&v)?;
    let mut inner = ops::linalg::diag_embed(&c.grad(0)?)?;
    if c.has(1) {
        let vg = mm(&vh, &c.grad(1)?)?;
        if c.node.inputs[0].dtype.is_complex() {
            check_phase("linalg_eig_backward: The eigenvectors", &vg)?;
        }
        let real = ops::complex::part(&shape::diagonal(&vg, 0, -2, -1)?, 0)?;
        let fixed = ops::sub(&vg, &ops::mul(&mm(&vh, &v)?, &shape::unsqueeze(&real, -2)?)?)?;
        let gap = ops::sub(&shape::unsqueeze(&w, -2)?, &shape::unsqueeze(&w, -1)?)?;
        let identity = ops::linalg::diag_embed(&ops::factory::full(&w.shape(), 1.into(), w.dtype(), w.device())?)?;
        // the diagonal is the eigenvalues' own: divided by one, and taken away
        let gap = ops::add(&ops::complex::conj(&gap)?, &identity)?;
        let off = ops::div(&fixed, &gap)?;
        let diagonal = ops::linalg::diag_embed(&shape::diagonal(&off, 0, -2, -1)?)?;
        inner = ops::add(&inner, &ops::sub(&off, &diagonal)?)?;
    }
    let ga = matrix_op("LinalgSolveBackward0", LinalgOp::Solve { factors: false }, &[&vh, &mm(&inner, &vh)?])?;
    let real = c.node.inputs[0].dtype.is_float();
    Ok(vec![Some(if real { ops::complex::part(&ga, 0)? } else { ga })])
}
