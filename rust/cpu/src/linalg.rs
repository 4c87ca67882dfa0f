//! Decompositions and solvers of the last two dimensions, in f32, f64 and complex numbers of both, by the faer crate
//! and, where it is slow or inexact, on its parts: `factor.rs` LU and Cholesky; `qr.rs`; `spectral.rs` eigenvalues and
//! singular values (`ql.rs` of small Hermitian matrices, `values.rs` from two diagonals); `ldl.rs` indefinite symmetric
//! matrices; `triangular.rs` triangular systems. The matrices of a batch are shared among threads; faer's own threads
//! stay off, since they would not survive a fork. Fails as PyTorch does, naming the first bad matrix of a batch.
//! Products of matrices are in `matmul`; what is composed of these (det, pinv, lstsq, ...) is not here.

mod element;
mod factor;
mod ldl;
mod part;
mod ql;
mod qr;
mod spectral;
mod triangular;
mod values;

use faer::{Mat, MatRef, c32, c64};
use rtorch_ir::prim::LinalgOp;
use rtorch_ir::{DType, Error, Result, storage_dtypes};
use smallvec::SmallVec;

use crate::threads::{check_interrupt, parallel_for};
use crate::walk::direct;
use crate::{Arg, Source};
use element::Element;
use factor::{Lu, all_finite};
use part::Part;
use qr::{Reflections, qr};
use triangular::Triangle;

/// Multiplications that are worth a thread.
const GRAIN: usize = 1 << 15;

/// `Prim::Linalg`.
pub fn linalg(op: LinalgOp, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let ins = inputs.iter().map(direct).collect::<Result<SmallVec<[Arg; 3]>>>()?;
    match ins[0].dtype {
        DType::F32 => run::<f32>(op, &ins, outs),
        DType::F64 => run::<f64>(op, &ins, outs),
        DType::C64 => run::<c32>(op, &ins, outs),
        DType::C128 => run::<c64>(op, &ins, outs),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | storage_dtypes!() => {
            Err(Error::not_implemented(format!("\"{}\" not implemented for '{}'", name(op), ins[0].dtype.cpp_name())))
        }
    }
}

/// PyTorch's name of the function, as in its messages.
fn name(op: LinalgOp) -> &'static str {
    match op {
        LinalgOp::Solve { .. } | LinalgOp::SolveFactored { .. } => "torch.linalg.solve",
        LinalgOp::Inverse => "linalg.inv",
        LinalgOp::SlogDet => "linalg.slogdet",
        LinalgOp::Lu => "linalg.lu_factor",
        LinalgOp::Cholesky { .. } => "linalg.cholesky",
        LinalgOp::Qr { .. } => "linalg.qr",
        LinalgOp::Geqrf => "geqrf",
        LinalgOp::Svd { .. } | LinalgOp::SvdVals => "linalg.svd",
        LinalgOp::Eigh { .. } | LinalgOp::EighVals { .. } => "linalg.eigh",
        LinalgOp::Eig | LinalgOp::EigVals => "linalg.eig",
        LinalgOp::TriangularSolve { .. } => "linalg.solve_triangular",
        LinalgOp::Ldl { .. } => "linalg.ldl_factor",
        LinalgOp::LdlSolve { .. } => "linalg.ldl_solve",
    }
}

fn run<T: Element>(op: LinalgOp, ins: &[Arg], outs: &[Arg]) -> Result<()> {
    let shape = &ins[0].layout.shape;
    let batch_dims = shape.len() - 2;
    let count: usize = shape[..batch_dims].iter().product();
    let parts: SmallVec<[Part; 3]> = ins.iter().map(|a| Part::new(*a, batch_dims)).collect();
    let results: SmallVec<[Part; 3]> = outs.iter().map(|a| Part::new(*a, batch_dims)).collect();
    let (m, n) = (shape[batch_dims], shape[batch_dims + 1]);
    let first = parking_lot::Mutex::new(None::<(usize, Error)>);
    parallel_for(count, (GRAIN / (m * n * m.min(n)).max(1)).max(1), &|range| {
        for b in range {
            let done = check_interrupt().and_then(|()| {
                one::<T>(op, &parts, &results, b).map_err(|text| {
                    let batch = if batch_dims > 0 { format!("(Batch element {b}): ") } else { String::new() };
                    Error::linalg(format!("{}: {batch}{text}", name(op)))
                })
            });
            if let Err(e) = done {
                let mut first = first.lock();
                if first.as_ref().is_none_or(|f| b < f.0) {
                    *first = Some((b, e));
                }
                return;
            }
        }
    });
    first.into_inner().map_or(Ok(()), |(_, e)| Err(e))
}

fn adjoint<T: Element>(a: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.ncols(), a.nrows(), |i, j| a[(j, i)].conjugate())
}

const SINGULAR: &str = "The solver failed because the input matrix is singular.";
const NO_INFS: &str = "input tensor should not contain infs or NaNs.";
const NOT_FINITE: &str = "The algorithm failed to converge because the input matrix contained non-finite values.";

fn not_converged(code: usize) -> String {
    format!(
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated \
         eigenvalues (error code: {code})."
    )
}

type Done = std::result::Result<(), String>;

/// One matrix of the batch, or what is wrong with it.
fn one<T: Element>(op: LinalgOp, ins: &[Part], outs: &[Part], b: usize) -> Done {
    let a = &ins[0];
    match op {
        LinalgOp::Solve { factors } => return solve::<T>(factors, ins, outs, b),
        LinalgOp::SolveFactored { adjoint } => solve_factored::<T>(adjoint, ins, outs, b),
        LinalgOp::Inverse => return inverse::<T>(a, &outs[0], b),
        LinalgOp::TriangularSolve { upper, unit } => {
            let mut x: Mat<T> = ins[1].read(b);
            triangular::solve(a.view(b), Triangle { upper, unit }, &mut x);
            outs[0].put(b, x.as_ref());
        }
        LinalgOp::LdlSolve { hermitian } => {
            let pivots: Vec<i32> = ins[1].read_vector(b);
            outs[0].put(b, ldl::solve::<T>(a.view(b), &pivots, ins[2].read(b), hermitian).as_ref());
        }
        LinalgOp::SlogDet => {
            let (sign, log) = Lu::<T>::new(|| a.read(b)).slogdet();
            outs[0].write_number(b, sign);
            outs[1].write_reals::<T>(b, &[log]);
        }
        LinalgOp::Lu => {
            let lu = Lu::<T>::new(|| a.read(b));
            outs[0].put(b, lu.packed.as_ref());
            outs[1].write_vector(b, &lu.pivots());
        }
        LinalgOp::Cholesky { upper, check } => return cholesky::<T>(upper, check, a, outs, b),
        LinalgOp::Qr { full } => {
            let a: Mat<T> = a.read(b);
            let columns = if full { a.nrows() } else { a.nrows().min(a.ncols()) };
            let (q, r) = qr(a, columns);
            outs[0].put(b, q.as_ref());
            outs[1].put(b, r.as_ref());
        }
        LinalgOp::Geqrf => {
            let f = Reflections::<T>::new(a.read(b));
            outs[0].put(b, f.packed.as_ref());
            outs[1].write_vector(b, &f.taus);
        }
        LinalgOp::Ldl { hermitian } => {
            let (mut ld, n) = a.read_columns::<T>(b);
            let pivots = ldl::factor(&mut ld, n, hermitian);
            outs[0].put_rows(b, MatRef::from_column_major_slice(&ld, n, n), |i| 0..i + 1);
            outs[1].write_vector(b, &pivots);
        }
        LinalgOp::Svd { full } => {
            let (u, s, v) = finite::<T, _>(a.read(b), NOT_FINITE, |a| spectral::svd(&a, full))?;
            outs[0].put(b, u.as_ref());
            outs[1].write_reals::<T>(b, &s);
            outs[2].put(b, v.as_ref());
        }
        LinalgOp::SvdVals => {
            outs[0].write_reals::<T>(b, &finite::<T, _>(a.read(b), NOT_FINITE, spectral::svdvals)?);
        }
        LinalgOp::Eigh { upper } => {
            let (values, vectors) = finite::<T, _>(a.read(b), "", |a| spectral::eigh(&a, upper))?;
            outs[0].write_reals::<T>(b, &values);
            outs[1].put(b, vectors.as_ref());
        }
        LinalgOp::EighVals { upper } => {
            outs[0].write_reals::<T>(b, &finite::<T, _>(a.read(b), "", |a| spectral::eigvalsh(a, upper))?);
        }
        LinalgOp::Eig => {
            let (values, vectors) = finite::<T, _>(a.read(b), NO_INFS, |a| spectral::eig(&a))?;
            outs[0].write_complex::<T>(b, |i, _| values[i], false);
            outs[1].write_complex::<T>(b, |i, j| vectors[(i, j)], true);
        }
        LinalgOp::EigVals => {
            let values = finite::<T, _>(a.read(b), NO_INFS, |a| spectral::eigvals(&a))?;
            outs[0].write_complex::<T>(b, |i, _| values[i], false);
        }
    }
    Ok(())
}

/// What `f` finds of a matrix; `refusal` (that it does not converge, where empty) of one that is not finite.
fn finite<T: Element, R>(
    a: Mat<T>,
    refusal: &str,
    f: impl FnOnce(Mat<T>) -> Option<R>,
) -> std::result::Result<R, String> {
    let n = a.nrows();
    match all_finite(&a) {
        false if !refusal.is_empty() => Err(refusal.into()),
        false => Err(not_converged(n.saturating_sub(1))),
        true => f(a).ok_or_else(|| not_converged(n.saturating_sub(1))),
    }
}

/// The solution and, where asked for, the columns of the packed factors as rows, and P's rows.
fn solve<T: Element>(factors: bool, ins: &[Part], outs: &[Part], b: usize) -> Done {
    let lu = Lu::<T>::new(|| ins[0].read(b));
    if lu.zero_pivot().is_some() {
        return Err(SINGULAR.into());
    }
    outs[0].put(b, lu.solve(ins[1].view(b)).as_ref());
    if factors {
        outs[1].put(b, lu.packed.transpose());
        outs[2].write_vector(b, &lu.rows());
    }
    Ok(())
}

/// With the factors that `solve` left.
fn solve_factored<T: Element>(adjoint: bool, ins: &[Part], outs: &[Part], b: usize) {
    let (packed, rows) = (ins[1].view::<T>(b).transpose(), ins[2].read_vector::<i32>(b));
    // memory that somebody wrote to leads nowhere else
    let row = |i: usize| (rows[i].unsigned_abs() as usize).min(rows.len() - 1);
    let x = match adjoint {
        true => factor::solve_adjoint(packed, row, ins[3].read(b)),
        false => factor::solve(packed, row, ins[3].view(b)),
    };
    outs[0].put(b, x.as_ref());
}

fn inverse<T: Element>(a: &Part, out: &Part, b: usize) -> Done {
    let lu = Lu::<T>::new(|| a.read(b));
    if let Some(at) = lu.zero_pivot() {
        return Err(format!(
            "The diagonal element {} is zero, the inversion could not be completed because the input matrix is \
             singular.",
            at + 1
        ));
    }
    let n = lu.packed.nrows();
    out.put(b, lu.solve(Mat::identity(n, n).as_ref()).as_ref());
    Ok(())
}

/// The factor and 0, or of a matrix that has none its triangle and the order of the first minor that is not positive.
fn cholesky<T: Element>(upper: bool, check: bool, a: &Part, outs: &[Part], b: usize) -> Done {
    let triangle = |i: usize| if upper { i..usize::MAX } else { 0..i + 1 };
    match factor::cholesky::<T>(if upper { a.read_adjoint(b) } else { a.read(b) }) {
        Ok(l) => {
            match upper {
                true if T::IS_REAL => outs[0].put_rows(b, l.transpose(), triangle),
                true => outs[0].put_rows(b, adjoint(&l).as_ref(), triangle),
                false => outs[0].put_rows(b, l.as_ref(), triangle),
            }
            outs[1].write_number(b, 0i32);
        }
        Err(order) if check => {
            return Err(format!(
                "The factorization could not be completed because the input is not positive-definite (the leading \
                 minor of order {order} is not positive-definite)."
            ));
        }
        Err(order) => {
            outs[0].put_rows::<T>(b, a.view(b), triangle);
            outs[1].write_number(b, order as i32);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let at = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
        (0..m * n).map(|i| at(i / n, i % n)).collect()
    }
    fn transpose(a: &[f64], m: usize, n: usize) -> Vec<f64> {
        (0..m * n).map(|i| a[i % m * n + i / m]).collect()
    }
    fn close(a: &[f64], b: &[f64], dtype: DType) {
        let tol = if dtype == DType::F64 { 1e-10 } else { 2e-4 };
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() <= tol * (1.0 + y.abs()), "{x} {y}");
        }
    }
    fn identity(n: usize) -> Vec<f64> {
        (0..n * n).map(|i| (i / n == i % n) as u8 as f64).collect()
    }
    fn run_op(op: LinalgOp, ins: &[&T], outs: &[&T]) -> Result<()> {
        call(|i, o| linalg(op, i, o), ins, outs)
    }
    const BOTH: [DType; 2] = [DType::F32, DType::F64];

    #[test]
    fn systems_are_solved() {
        let mut rng = Rng(1);
        for dtype in BOTH {
            for (n, layout) in
                [1usize, 3, 20].into_iter().flat_map(|n| layouts(&[2, n, n]).into_iter().map(move |l| (n, l)))
            {
                let a = T::with(dtype, layout, &rng.reals(2 * n * n));
                let b = T::new(dtype, &[2, n, 3], &rng.reals(6 * n));
                let x = T::full(dtype, &[2, n, 3], 0.0);
                run_op(LinalgOp::Solve { factors: false }, &[&a, &b], &[&x]).unwrap();
                let inv = T::full(dtype, &[2, n, n], 0.0);
                run_op(LinalgOp::Inverse, &[&a], &[&inv]).unwrap();
                let (sign, log) = (T::full(dtype, &[2], 0.0), T::full(dtype, &[2], 0.0));
                run_op(LinalgOp::SlogDet, &[&a], &[&sign, &log]).unwrap();
                let (av, bv, xv, iv) = (a.get(), b.get(), x.get(), inv.get());
                for e in 0..2 {
                    let m = &av[e * n * n..][..n * n];
                    close(&product(m, &xv[e * n * 3..][..n * 3], n, n, 3), &bv[e * n * 3..][..n * 3], dtype);
                    close(&product(m, &iv[e * n * n..][..n * n], n, n, n), &identity(n), dtype);
                    if n == 3 {
                        let det = m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6])
                            + m[2] * (m[3] * m[7] - m[4] * m[6]);
                        close(&[sign.get()[e] * log.get()[e].exp()], &[det], dtype);
                    }
                }
                for (upper, unit) in [(true, false), (true, true), (false, false), (false, true)] {
                    run_op(LinalgOp::TriangularSolve { upper, unit }, &[&a, &b], &[&x]).unwrap();
                    let xv = x.get();
                    let t: Vec<f64> = (0..n * n)
                        .map(|i| match (i / n, i % n) {
                            (r, c) if r == c && unit => 1.0,
                            (r, c) if r == c || (c > r) == upper => av[i],
                            _ => 0.0,
                        })
                        .collect();
                    if n < 10 {
                        close(&product(&t, &xv[..n * 3], n, n, 3), &bv[..n * 3], dtype);
                    }
                }
            }
        }
    }

    #[test]
    fn kept_factors_solve_again() {
        let mut rng = Rng(3);
        for (dtype, n, k) in BOTH.into_iter().flat_map(|d| [(d, 1usize, 1usize), (d, 5, 2), (d, 40, 7)]) {
            let (a, b) =
                (T::new(dtype, &[2, n, n], &rng.reals(2 * n * n)), T::new(dtype, &[2, n, k], &rng.reals(2 * n * k)));
            let (x, f, p) =
                (T::full(dtype, &[2, n, k], 0.0), T::full(dtype, &[2, n, n], 0.0), T::full(DType::I32, &[2, n], 0.0));
            run_op(LinalgOp::Solve { factors: true }, &[&a, &b], &[&x, &f, &p]).unwrap();
            let (again, adjoint) = (T::full(dtype, &[2, n, k], 0.0), T::full(dtype, &[2, n, k], 0.0));
            run_op(LinalgOp::SolveFactored { adjoint: false }, &[&a, &f, &p, &b], &[&again]).unwrap();
            assert_eq!(x.get(), again.get());
            run_op(LinalgOp::SolveFactored { adjoint: true }, &[&a, &f, &p, &b], &[&adjoint]).unwrap();
            let (av, xv, bv) = (a.get(), adjoint.get(), b.get());
            for e in 0..2 {
                let at = transpose(&av[e * n * n..][..n * n], n, n);
                close(&product(&at, &xv[e * n * k..][..n * k], n, n, k), &bv[e * n * k..][..n * k], dtype);
            }
        }
    }

    #[test]
    fn indefinite_matrices_are_solved() {
        let mut rng = Rng(4);
        for (dtype, n) in BOTH.into_iter().flat_map(|d| [(d, 1usize), (d, 2), (d, 7), (d, 50)]) {
            let half = rng.reals(n * n);
            let av: Vec<f64> = (0..n * n).map(|i| half[i] + half[i % n * n + i / n]).collect();
            let (a, b) = (T::new(dtype, &[n, n], &av), T::new(dtype, &[n, 4], &rng.reals(4 * n)));
            let (ld, p) = (T::full(dtype, &[n, n], 5.0), T::full(DType::I32, &[n], 0.0));
            run_op(LinalgOp::Ldl { hermitian: false }, &[&a], &[&ld, &p]).unwrap();
            if n == 50 {
                assert!(p.get().iter().any(|&p| p < 0.0) && p.get().iter().any(|&p| p > 0.0));
            }
            let x = T::full(dtype, &[n, 4], 0.0);
            run_op(LinalgOp::LdlSolve { hermitian: false }, &[&ld, &p, &b], &[&x]).unwrap();
            close(&product(&av, &x.get(), n, n, 4), &b.get(), dtype);
        }
    }

    #[test]
    fn decompositions_multiply_back() {
        let mut rng = Rng(2);
        for dtype in BOTH {
            for (m, n) in [(4usize, 4usize), (6, 3), (3, 6), (1, 1), (30, 20)] {
                let a = T::new(dtype, &[m, n], &rng.reals(m * n));
                let (av, k) = (a.get(), m.min(n));
                for full in [false, true] {
                    let (qc, rr) = if full { (m, m) } else { (k, k) };
                    let (q, r) = (T::full(dtype, &[m, qc], 0.0), T::full(dtype, &[rr, n], 7.0));
                    run_op(LinalgOp::Qr { full }, &[&a], &[&q, &r]).unwrap();
                    close(&product(&q.get(), &r.get(), m, qc, n), &av, dtype);
                    close(&product(&transpose(&q.get(), m, qc), &q.get(), qc, m, qc), &identity(qc), dtype);
                    let (uc, vr) = if full { (m, n) } else { (k, k) };
                    let (u, s, v) =
                        (T::full(dtype, &[m, uc], 0.0), T::full(dtype, &[k], 0.0), T::full(dtype, &[vr, n], 0.0));
                    run_op(LinalgOp::Svd { full }, &[&a], &[&u, &s, &v]).unwrap();
                    let (uv, sv, vv) = (u.get(), s.get(), v.get());
                    assert!(sv.windows(2).all(|w| w[0] >= w[1]));
                    let us: Vec<f64> = (0..m * k).map(|i| uv[i / k * uc + i % k] * sv[i % k]).collect();
                    close(&product(&us, &vv[..k * n], m, k, n), &av, dtype);
                    close(&product(&transpose(&uv, m, uc), &uv, uc, m, uc), &identity(uc), dtype);
                    let alone = T::full(dtype, &[k], 0.0);
                    run_op(LinalgOp::SvdVals, &[&a], &[&alone]).unwrap();
                    close(&alone.get(), &sv, dtype);
                }
                let square = product(&transpose(&av, m, n), &av, n, m, n);
                let spd: Vec<f64> = square.iter().zip(identity(n)).map(|(a, i)| a + i).collect();
                let s = T::new(dtype, &[n, n], &spd);
                for upper in [false, true] {
                    let (w, v) = (T::full(dtype, &[n], 0.0), T::full(dtype, &[n, n], 0.0));
                    run_op(LinalgOp::Eigh { upper }, &[&s], &[&w, &v]).unwrap();
                    let (wv, vv) = (w.get(), v.get());
                    assert!(wv.windows(2).all(|p| p[0] <= p[1]));
                    let scaled: Vec<f64> = (0..n * n).map(|i| vv[i] * wv[i % n]).collect();
                    close(&product(&scaled, &transpose(&vv, n, n), n, n, n), &spd, dtype);
                    let alone = T::full(dtype, &[n], 0.0);
                    run_op(LinalgOp::EighVals { upper }, &[&s], &[&alone]).unwrap();
                    close(&alone.get(), &wv, dtype);
                    let l = T::full(dtype, &[n, n], 0.0);
                    let info = T::full(DType::I32, &[], 7.0);
                    run_op(LinalgOp::Cholesky { upper, check: true }, &[&s], &[&l, &info]).unwrap();
                    assert_eq!(info.get(), [0.0]);
                    let (lv, lt) = (l.get(), transpose(&l.get(), n, n));
                    let (a, b) = if upper { (&lt, &lv) } else { (&lv, &lt) };
                    close(&product(a, b, n, n, n), &spd, dtype);
                }
            }
        }
    }

    #[test]
    fn bad_matrices_are_named_as_pytorch_names_them() {
        let mut values = identity(3);
        values.extend([0.0; 9]);
        let a = T::new(DType::F32, &[2, 3, 3], &values);
        let (b, x) = (T::full(DType::F32, &[2, 3, 1], 1.0), T::full(DType::F32, &[2, 3, 1], 0.0));
        let text = |r: Result<()>| r.unwrap_err().message;
        assert_eq!(
            text(run_op(LinalgOp::Solve { factors: false }, &[&a, &b], &[&x])),
            "torch.linalg.solve: (Batch element 1): The solver failed because the input matrix is singular."
        );
        let zero = T::full(DType::F64, &[3, 3], 0.0);
        assert_eq!(
            text(run_op(LinalgOp::Inverse, &[&zero], &[&T::full(DType::F64, &[3, 3], 0.0)])),
            "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because the input matrix \
             is singular."
        );
        let (l, info) = (T::full(DType::F64, &[3, 3], 5.0), T::full(DType::I32, &[], 0.0));
        run_op(LinalgOp::Cholesky { upper: true, check: false }, &[&zero], &[&l, &info]).unwrap();
        assert_eq!((l.get(), info.get()), (vec![0.0; 9], vec![1.0]));
        assert_eq!(
            text(run_op(LinalgOp::Cholesky { upper: false, check: true }, &[&zero], &[&l, &info])),
            "linalg.cholesky: The factorization could not be completed because the input is not positive-definite (the \
             leading minor of order 1 is not positive-definite)."
        );
        let (sign, log) = (T::full(DType::F64, &[], 5.0), T::full(DType::F64, &[], 5.0));
        run_op(LinalgOp::SlogDet, &[&zero], &[&sign, &log]).unwrap();
        assert_eq!((sign.get()[0], log.get()[0]), (0.0, f64::NEG_INFINITY));
        let nan = T::full(DType::F32, &[2, 2], f64::NAN);
        let outs =
            [&T::full(DType::F32, &[2, 2], 0.0), &T::full(DType::F32, &[2], 0.0), &T::full(DType::F32, &[2, 2], 0.0)];
        assert!(text(run_op(LinalgOp::Svd { full: false }, &[&nan], &outs)).contains("non-finite"));
        assert!(run_op(LinalgOp::Eigh { upper: false }, &[&nan], &[outs[1], outs[0]]).is_err());
        let none = T::full(DType::F64, &[0, 0], 0.0);
        run_op(LinalgOp::SlogDet, &[&none], &[&sign, &log]).unwrap();
        assert_eq!((sign.get()[0], log.get()[0]), (1.0, 0.0));
        assert!(run_op(LinalgOp::Inverse, &[&T::ints(&[1, 1], &[1])], &[&T::ints(&[1, 1], &[1])]).is_err());
    }
}
