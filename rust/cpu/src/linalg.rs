//! Decompositions and solvers of the last two dimensions, in f32, f64 and complex numbers of both, by the faer crate:
//! `factor.rs` LU, Cholesky, QR; `spectral.rs` eigenvalues and singular values (`ql.rs` of small Hermitian ones);
//! `ldl.rs` indefinite symmetric matrices. The matrices of a batch are shared among threads; faer's own threads stay
//! off, since they would not survive a fork. Fails as PyTorch does, naming the first bad matrix of a batch. Products of
//! matrices are in `matmul`; what is composed of these (det, pinv, lstsq, ...) is not here.

mod element;
mod factor;
mod ldl;
mod ql;
mod spectral;

use faer::{Mat, c32, c64};
use rtorch_ir::prim::LinalgOp;
use rtorch_ir::{DType, Error, Result, storage_dtypes};
use smallvec::SmallVec;

use crate::threads::{check_interrupt, parallel_for};
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};
use element::Element;
use factor::{Lu, all_finite, cholesky, qr, reflections};

/// Multiplications that are worth a thread.
const GRAIN: usize = 1 << 15;

/// The matrices, vectors or numbers that one operand or result holds per batch element.
struct Part {
    base: Base,
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
            batch: Walk::new(&shape[..batch_dims], [&strides[..batch_dims]]),
            dims: (batch_dims..shape.len()).map(|d| (shape[d], strides[d])).collect(),
        }
    }
    fn at(&self, b: usize) -> isize {
        let [at] = self.batch.at(b);
        at
    }
    /// Matrix `b`, in its own precision.
    fn read<T: Element>(&self, b: usize) -> Mat<T> {
        let at = self.at(b);
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        Mat::from_fn(m, n, |i, j| {
            // SAFETY: an element of the window, whose dtype is T's.
            unsafe { *self.base.at::<T>(at + i as isize * row + j as isize * col) }
        })
    }
    fn read_vector<V: Copy>(&self, b: usize) -> Vec<V> {
        let (at, (n, step)) = (self.at(b), self.dims[0]);
        // SAFETY: an element of the window, whose dtype is V's.
        (0..n).map(|i| unsafe { *self.base.at::<V>(at + i as isize * step) }).collect()
    }
    /// Stores `f(row, column)` in matrix `b`.
    fn write<T>(&self, b: usize, f: impl Fn(usize, usize) -> T) {
        let at = self.at(b);
        let ((m, row), (n, col)) = (self.dims[0], self.dims[1]);
        for i in 0..m {
            for j in 0..n {
                // SAFETY: an element of the window; each matrix is one thread's.
                unsafe { *self.base.at::<T>(at + i as isize * row + j as isize * col) = f(i, j) };
            }
        }
    }
    fn write_vector<V: Copy>(&self, b: usize, v: &[V]) {
        let (at, (_, step)) = (self.at(b), self.dims[0]);
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: as in `write`.
            unsafe { *self.base.at::<V>(at + i as isize * step) = v };
        }
    }
    fn write_number<V>(&self, b: usize, v: V) {
        // SAFETY: as in `write`.
        unsafe { *self.base.at::<V>(self.at(b)) = v };
    }
    /// Real numbers of T's precision.
    fn write_reals<T: Element>(&self, b: usize, v: &[f64]) {
        let (at, step) = (self.at(b), self.dims.first().map_or(0, |d| d.1));
        for (i, &v) in v.iter().enumerate() {
            // SAFETY: as in `write`.
            unsafe { T::store_real(self.base.at(at + i as isize * step), v) };
        }
    }
    /// Complex numbers, of single precision where T is.
    fn write_complex<T: Element>(&self, b: usize, f: impl Fn(usize, usize) -> c64, columns: bool) {
        let double = matches!(T::DTYPE, DType::F64 | DType::C128);
        let at = self.at(b);
        let (m, row) = self.dims[0];
        let (n, col) = if columns { self.dims[1] } else { (1, 0) };
        for i in 0..m {
            for j in 0..n {
                let (at, v) = (at + i as isize * row + j as isize * col, f(i, j));
                // SAFETY: as in `write`.
                unsafe {
                    if double {
                        *self.base.at::<c64>(at) = v;
                    } else {
                        *self.base.at::<c32>(at) = c32::new(v.re as f32, v.im as f32);
                    }
                }
            }
        }
    }
}

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
        LinalgOp::Solve => "torch.linalg.solve",
        LinalgOp::Inverse => "linalg.inv",
        LinalgOp::SlogDet => "linalg.slogdet",
        LinalgOp::Lu => "linalg.lu_factor",
        LinalgOp::Cholesky { .. } => "linalg.cholesky",
        LinalgOp::Qr { .. } => "linalg.qr",
        LinalgOp::Geqrf => "geqrf",
        LinalgOp::Svd { .. } => "linalg.svd",
        LinalgOp::Eigh { .. } => "linalg.eigh",
        LinalgOp::Eig => "linalg.eig",
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
const NOT_FINITE: &str = "The algorithm failed to converge because the input matrix contained non-finite values.";

fn not_converged(code: usize) -> String {
    format!(
        "The algorithm failed to converge because the input matrix is ill-conditioned or has too many repeated \
         eigenvalues (error code: {code})."
    )
}

/// One matrix of the batch, or what is wrong with it.
fn one<T: Element>(op: LinalgOp, ins: &[Part], outs: &[Part], b: usize) -> std::result::Result<(), String> {
    let a: Mat<T> = ins[0].read(b);
    match op {
        LinalgOp::Solve => {
            let lu = Lu::new(&a);
            if lu.zero_pivot().is_some() {
                return Err(SINGULAR.into());
            }
            let x = lu.solve(&ins[1].read(b));
            outs[0].write(b, |i, j| x[(i, j)]);
        }
        LinalgOp::Inverse => {
            let lu = Lu::new(&a);
            if let Some(at) = lu.zero_pivot() {
                return Err(format!(
                    "The diagonal element {} is zero, the inversion could not be completed because the input matrix is \
                     singular.",
                    at + 1
                ));
            }
            let x = lu.solve(&Mat::identity(a.nrows(), a.nrows()));
            outs[0].write(b, |i, j| x[(i, j)]);
        }
        LinalgOp::SlogDet => {
            let (sign, log) = Lu::new(&a).slogdet();
            outs[0].write_number(b, sign);
            outs[1].write_reals::<T>(b, &[log]);
        }
        LinalgOp::Lu => {
            let lu = Lu::new(&a);
            outs[0].write(b, |i, j| lu.packed[(i, j)]);
            outs[1].write_vector(b, &lu.pivots());
        }
        LinalgOp::Cholesky { upper } => {
            let l = cholesky(&if upper { adjoint(&a) } else { a }).map_err(|order| {
                format!(
                    "The factorization could not be completed because the input is not positive-definite (the leading \
                     minor of order {order} is not positive-definite)."
                )
            })?;
            outs[0].write(b, |i, j| if upper { l[(j, i)].conjugate() } else { l[(i, j)] });
        }
        LinalgOp::Qr { full } => {
            let (q, r) = qr(&a, if full { a.nrows() } else { a.nrows().min(a.ncols()) });
            outs[0].write(b, |i, j| q[(i, j)]);
            outs[1].write(b, |i, j| r[(i, j)]);
        }
        LinalgOp::Geqrf => {
            let (packed, taus) = reflections(a);
            outs[0].write(b, |i, j| packed[(i, j)]);
            outs[1].write_vector(b, &taus);
        }
        LinalgOp::TriangularSolve { upper, unit } => {
            let mut x: Mat<T> = ins[1].read(b);
            match (upper, unit) {
                (true, true) => a.solve_unit_upper_triangular_in_place(x.as_mut()),
                (true, false) => a.solve_upper_triangular_in_place(x.as_mut()),
                (false, true) => a.solve_unit_lower_triangular_in_place(x.as_mut()),
                (false, false) => a.solve_lower_triangular_in_place(x.as_mut()),
            }
            outs[0].write(b, |i, j| x[(i, j)]);
        }
        LinalgOp::Ldl { hermitian } => {
            let (ld, pivots, _) = ldl::factor(a, hermitian);
            outs[0].write(b, |i, j| ld[(i, j)]);
            outs[1].write_vector(b, &pivots);
        }
        LinalgOp::LdlSolve { hermitian } => {
            let pivots: Vec<i32> = ins[1].read_vector(b);
            let x = ldl::solve(&a, &pivots, ins[2].read(b), hermitian);
            outs[0].write(b, |i, j| x[(i, j)]);
        }
        LinalgOp::Svd { .. } | LinalgOp::Eigh { .. } | LinalgOp::Eig => spectrum::<T>(op, a, outs, b)?,
    }
    Ok(())
}

fn spectrum<T: Element>(op: LinalgOp, a: Mat<T>, outs: &[Part], b: usize) -> std::result::Result<(), String> {
    let n = a.nrows();
    let finite = all_finite(&a);
    match op {
        LinalgOp::Svd { full } => {
            if !finite {
                return Err(NOT_FINITE.into());
            }
            let (u, s, v) = spectral::svd(&a, full).ok_or_else(|| not_converged(n.saturating_sub(1)))?;
            outs[0].write(b, |i, j| u[(i, j)]);
            outs[1].write_reals::<T>(b, &s);
            outs[2].write(b, |i, j| v[(i, j)]);
        }
        LinalgOp::Eigh { upper } => {
            let found = if finite { spectral::eigh(&a, upper) } else { None };
            let (values, vectors) = found.ok_or_else(|| not_converged(n.saturating_sub(1)))?;
            outs[0].write_reals::<T>(b, &values);
            outs[1].write(b, |i, j| vectors[(i, j)]);
        }
        LinalgOp::Eig => {
            if !finite {
                return Err("input tensor should not contain infs or NaNs.".into());
            }
            let (values, vectors) = spectral::eig(&a).ok_or_else(|| not_converged(n.saturating_sub(1)))?;
            outs[0].write_complex::<T>(b, |i, _| values[i], false);
            outs[1].write_complex::<T>(b, |i, j| vectors[(i, j)], true);
        }
        LinalgOp::Solve
        | LinalgOp::Inverse
        | LinalgOp::SlogDet
        | LinalgOp::Lu
        | LinalgOp::Cholesky { .. }
        | LinalgOp::Qr { .. }
        | LinalgOp::Geqrf
        | LinalgOp::TriangularSolve { .. }
        | LinalgOp::Ldl { .. }
        | LinalgOp::LdlSolve { .. } => {}
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
