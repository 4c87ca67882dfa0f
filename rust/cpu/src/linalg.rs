//! Decompositions and solvers of the last two dimensions in f32 and f64. Everything runs in double (`dense.rs`: LU,
//! Cholesky, QR, triangular solves; `spectral.rs`: eigenvalues, singular values); matrices of a batch are shared among
//! threads. Fails as PyTorch does, naming the first bad matrix of a batch. Products of matrices are in `matmul`; what
//! is
//! composed of these (det, pinv, lstsq, ...) is not here.

mod dense;
mod spectral;

use rtorch_ir::prim::LinalgOp;
use rtorch_ir::{DType, Error, Result};
use smallvec::SmallVec;

use crate::threads::{check_interrupt, parallel_for};
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};
use dense::{Lu, Matrix, Qr, cholesky, solve_triangular};
use spectral::{eigh, svd};

/// Multiplications that are worth a thread.
const GRAIN: usize = 1 << 15;

/// The matrices, vectors or numbers that one operand or result holds per batch element.
struct Part {
    base: Base,
    double: bool,
    batch: Walk<1>,
    /// Sizes and byte strides of the dimensions after the batch.
    dims: SmallVec<[(usize, isize); 2]>,
}

impl Part {
    fn new(arg: Arg, batch_dims: usize) -> Part {
        let strides = byte_strides(arg.layout, arg.dtype.size());
        let shape = &arg.layout.shape;
        Part {
            base: Base::of(&arg),
            double: arg.dtype == DType::F64,
            batch: Walk::new(&shape[..batch_dims], [&strides[..batch_dims]]),
            dims: (batch_dims..shape.len()).map(|d| (shape[d], strides[d])).collect(),
        }
    }
    fn read(&self, b: usize) -> Matrix {
        let [at] = self.batch.at(b);
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        Matrix::from_fn(m, n, |i, j| {
            let at = at + i as isize * row + j as isize * col;
            // SAFETY: an element of the window.
            unsafe { if self.double { *self.base.at::<f64>(at) } else { *self.base.at::<f32>(at) as f64 } }
        })
    }
    fn set(&self, at: isize, v: f64) {
        // SAFETY: callers name elements of the window; each matrix is one thread's.
        unsafe {
            if self.double {
                *self.base.at::<f64>(at) = v;
            } else {
                *self.base.at::<f32>(at) = v as f32;
            }
        }
    }
    /// Stores `f(row, column)` in matrix `b`.
    fn write(&self, b: usize, f: impl Fn(usize, usize) -> f64) {
        let [at] = self.batch.at(b);
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        for i in 0..m {
            for j in 0..n {
                self.set(at + i as isize * row + j as isize * col, f(i, j));
            }
        }
    }
    fn write_vector(&self, b: usize, v: &[f64]) {
        let [at] = self.batch.at(b);
        let (_, step) = self.dims[0];
        for (i, &v) in v.iter().enumerate() {
            self.set(at + i as isize * step, v);
        }
    }
    fn write_number(&self, b: usize, v: f64) {
        let [at] = self.batch.at(b);
        self.set(at, v);
    }
}

/// `Prim::Linalg`.
pub fn linalg(op: LinalgOp, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let ins = inputs.iter().map(direct).collect::<Result<SmallVec<[Arg; 2]>>>()?;
    match ins[0].dtype {
        DType::F32 | DType::F64 => run(op, &ins, outs),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | DType::C64
        | DType::C128 => {
            Err(Error::not_implemented(format!("\"{}\" not implemented for '{}'", name(op), ins[0].dtype.cpp_name())))
        }
    }
}

/// PyTorch's name of the function, as in its messages.
fn name(op: LinalgOp) -> &'static str {
    match op {
        LinalgOp::Solve => "torch.linalg.solve",
        LinalgOp::Inverse => "linalg.inv",
        LinalgOp::SlogDet => "linalg.slogdet",
        LinalgOp::Cholesky { .. } => "linalg.cholesky",
        LinalgOp::Qr { .. } => "linalg.qr",
        LinalgOp::Svd { .. } => "linalg.svd",
        LinalgOp::Eigh { .. } => "linalg.eigh",
        LinalgOp::TriangularSolve { .. } => "linalg.solve_triangular",
    }
}

fn run(op: LinalgOp, ins: &[Arg], outs: &[Arg]) -> Result<()> {
    let shape = &ins[0].layout.shape;
    let batch_dims = shape.len() - 2;
    let count: usize = shape[..batch_dims].iter().product();
    let parts: SmallVec<[Part; 2]> = ins.iter().map(|a| Part::new(*a, batch_dims)).collect();
    let results: SmallVec<[Part; 3]> = outs.iter().map(|a| Part::new(*a, batch_dims)).collect();
    let (m, n) = (shape[batch_dims], shape[batch_dims + 1]);
    let first = parking_lot::Mutex::new(None::<(usize, Error)>);
    let each = |range: std::ops::Range<usize>| {
        for b in range {
            if let Err(e) = check_interrupt().and_then(|()| one(op, &parts, &results, b, batch_dims > 0)) {
                let mut first = first.lock();
                if first.as_ref().is_none_or(|f| b < f.0) {
                    *first = Some((b, e));
                }
                return;
            }
        }
    };
    if count == 1 {
        // the threads work inside the one matrix
        each(0..1);
    } else {
        parallel_for(count, (GRAIN / (m * n * m.min(n)).max(1)).max(1), &each);
    }
    first.into_inner().map_or(Ok(()), |(_, e)| Err(e))
}

/// One matrix of the batch.
fn one(op: LinalgOp, ins: &[Part], outs: &[Part], b: usize, batched: bool) -> Result<()> {
    let a = ins[0].read(b);
    let error = |text: String| {
        let batch = if batched { format!("(Batch element {b}): ") } else { String::new() };
        Error::linalg(format!("{}: {batch}{text}", name(op)))
    };
    match op {
        LinalgOp::Solve => {
            let lu = Lu::new(a)?;
            if lu.zero_pivot().is_some() {
                return Err(error("The solver failed because the input matrix is singular.".into()));
            }
            let x = lu.solve(&ins[1].read(b))?;
            outs[0].write(b, |i, j| x.at(i, j));
        }
        LinalgOp::Inverse => {
            let lu = Lu::new(a)?;
            if let Some(at) = lu.zero_pivot() {
                return Err(error(format!(
                    "The diagonal element {} is zero, the inversion could not be completed because the input matrix is \
                     singular.",
                    at + 1
                )));
            }
            let x = lu.solve(&Matrix::identity(lu.size()))?;
            outs[0].write(b, |i, j| x.at(i, j));
        }
        LinalgOp::SlogDet => {
            let (sign, log) = Lu::new(a)?.slogdet();
            outs[0].write_number(b, sign);
            outs[1].write_number(b, log);
        }
        LinalgOp::Cholesky { upper } => {
            let l = cholesky(if upper { a.transposed() } else { a })?.map_err(|order| {
                error(format!(
                    "The factorization could not be completed because the input is not positive-definite (the leading \
                     minor of order {order} is not positive-definite)."
                ))
            })?;
            outs[0].write(b, |i, j| if upper { l.at(j, i) } else { l.at(i, j) });
        }
        LinalgOp::Qr { full } => {
            let qr = Qr::new(&a)?;
            let q = qr.q(if full { a.rows } else { a.rows.min(a.cols) })?;
            outs[0].write(b, |i, j| q.at(i, j));
            outs[1].write(b, |i, j| qr.r(i, j));
        }
        LinalgOp::Svd { full } => {
            if !a.all_finite() {
                let text = "The algorithm failed to converge because the input matrix contained non-finite values.";
                return Err(error(text.into()));
            }
            let (u, s, v) = svd(&a, full)?;
            outs[0].write(b, |i, j| u.at(i, j));
            outs[1].write_vector(b, &s);
            outs[2].write(b, |i, j| v.at(j, i));
        }
        LinalgOp::Eigh { upper } => {
            let n = a.rows;
            let found = if a.all_finite() { eigh(if upper { a.transposed() } else { a })? } else { None };
            let (values, vectors) = found.ok_or_else(|| {
                error(format!(
                    "The algorithm failed to converge because the input matrix is ill-conditioned or has too many \
                     repeated eigenvalues (error code: {}).",
                    n.saturating_sub(1)
                ))
            })?;
            outs[0].write_vector(b, &values);
            outs[1].write(b, |i, j| vectors.at(i, j));
        }
        LinalgOp::TriangularSolve { upper, unit } => {
            let mut x = ins[1].read(b);
            solve_triangular(&a, &mut x, upper, unit)?;
            outs[0].write(b, |i, j| x.at(i, j));
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
                run_op(LinalgOp::Solve, &[&a, &b], &[&x]).unwrap();
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
                    let l = T::full(dtype, &[n, n], 0.0);
                    run_op(LinalgOp::Cholesky { upper }, &[&s], &[&l]).unwrap();
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
            text(run_op(LinalgOp::Solve, &[&a, &b], &[&x])),
            "torch.linalg.solve: (Batch element 1): The solver failed because the input matrix is singular."
        );
        let zero = T::full(DType::F64, &[3, 3], 0.0);
        assert_eq!(
            text(run_op(LinalgOp::Inverse, &[&zero], &[&T::full(DType::F64, &[3, 3], 0.0)])),
            "linalg.inv: The diagonal element 1 is zero, the inversion could not be completed because the input matrix \
             is singular."
        );
        assert_eq!(
            text(run_op(LinalgOp::Cholesky { upper: false }, &[&zero], &[&T::full(DType::F64, &[3, 3], 0.0)])),
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
