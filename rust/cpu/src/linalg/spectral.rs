//! Eigenvalues and singular values: by faer with vectors, and without them from its reductions to two diagonals by
//! `values.rs`. None where an algorithm does not converge.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::tridiag::{tridiag_in_place, tridiag_in_place_scratch};
use faer::linalg::qr::no_pivoting::factor::recommended_block_size;
use faer::linalg::solvers::{SelfAdjointEigen, Svd};
use faer::linalg::svd::bidiag::{bidiag_in_place, bidiag_in_place_scratch};
use faer::{Mat, Par, Side, c64};

use super::element::Element;
use super::qr::Reflections;
use super::{adjoint, ql, values};

/// U, singular values in descending order, V^H with A = U S V^H; U and V square where `full`, thin otherwise.
pub fn svd<T: Element>(a: &Mat<T>, full: bool) -> Option<(Mat<T>, Vec<f64>, Mat<T>)> {
    let (m, n) = a.shape();
    let k = m.min(n);
    if k == 0 {
        let identity = |n: usize, c: usize| Mat::from_fn(n, c, |i, j| if i == j { T::one() } else { T::zero() });
        let (u, v) = if full { (identity(m, m), identity(n, n)) } else { (Mat::zeros(m, 0), Mat::zeros(0, n)) };
        return Some((u, Vec::new(), v));
    }
    if m as f64 > TALL * n as f64 {
        // A = Q R, whose R is small (faer's own first step would be its QR: see `qr.rs`)
        let f = Reflections::new(a.clone());
        let (inner, values, vh) = svd(&f.r(n), true)?;
        let columns = if full { m } else { n };
        let mut u = Mat::from_fn(m, columns, |i, j| match i < n && j < n {
            true => inner[(i, j)],
            false if i == j => T::one(),
            false => T::zero(),
        });
        f.apply(u.as_mut());
        return Some((u, values, vh));
    }
    if n as f64 > TALL * m as f64 {
        let (v, values, uh) = svd(&adjoint(a), full)?;
        return Some((adjoint(&uh), values, adjoint(&v)));
    }
    let f = if full { Svd::new(a.as_ref()) } else { Svd::new_thin(a.as_ref()) }.ok()?;
    let s = f.S().column_vector();
    let values = (0..k).map(|i| s[i].re()).collect();
    let v = f.V();
    let vh = Mat::from_fn(v.ncols(), n, |i, j| v[(j, i)].conjugate());
    Some((f.U().to_owned(), values, vh))
}

/// So many times as many rows as columns are reduced to a triangle first.
const TALL: f64 = 11.0 / 6.0;

/// Singular values alone, in descending order.
pub fn svdvals<T: Element>(a: Mat<T>) -> Option<Vec<f64>> {
    let mut a = if a.nrows() < a.ncols() { adjoint(&a) } else { a };
    let (m, n) = a.shape();
    if n == 0 {
        return Some(Vec::new());
    }
    let scale = ql::scale(&a);
    if scale != 1.0 {
        a = ql::scaled(a, 1.0 / scale);
    }
    if m as f64 > TALL * n as f64 {
        a = Reflections::new(a).r(n);
    }
    let m = a.nrows();
    let block = recommended_block_size::<T>(m, n);
    let (mut left, mut right) = (Mat::<T>::zeros(block, n), Mat::<T>::zeros(block, n - 1));
    let mut memory = MemBuffer::new(bidiag_in_place_scratch::<T>(m, n, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    let before = a.clone();
    bidiag_in_place(a.as_mut(), left.as_mut(), right.as_mut(), Par::Seq, stack, Default::default());
    let diagonal: Vec<f64> = (0..n).map(|i| a[(i, i)].modulus()).collect();
    let beside: Vec<f64> = (1..n).map(|i| a[(i - 1, i)].modulus()).collect();
    let found = values::bidiagonal(&diagonal, &beside).or_else(|| Some(svd(&before, false)?.1))?;
    Some(found.iter().map(|v| v * scale).collect())
}

/// Ascending eigenvalues alone of the Hermitian matrix with this triangle.
pub fn eigvalsh<T: Element>(a: Mat<T>, upper: bool) -> Option<Vec<f64>> {
    let n = a.nrows();
    if n <= ql::SMALL {
        return Some(ql::eigh(&a, upper)?.0);
    }
    let mut a = if upper { adjoint(&a) } else { a };
    let scale = ql::scale(&a);
    if scale != 1.0 {
        a = ql::scaled(a, 1.0 / scale);
    }
    let mut reflections = Mat::<T>::zeros(recommended_block_size::<T>(n, n), n - 1);
    let mut memory = MemBuffer::new(tridiag_in_place_scratch::<T>(n, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    tridiag_in_place(a.as_mut(), reflections.as_mut(), Par::Seq, stack, Default::default());
    let diagonal = (0..n).map(|i| a[(i, i)].re()).collect();
    let beside = (1..n).map(|i| a[(i, i - 1)].modulus()).collect();
    Some(values::tridiagonal(diagonal, beside)?.iter().map(|v| v * scale).collect())
}

/// Ascending eigenvalues and orthonormal eigenvectors of the Hermitian matrix with this triangle.
pub fn eigh<T: Element>(a: &Mat<T>, upper: bool) -> Option<(Vec<f64>, Mat<T>)> {
    let n = a.nrows();
    if n <= ql::SMALL {
        return ql::eigh(a, upper);
    }
    let f = SelfAdjointEigen::new(ql::turned(a, upper).as_ref(), Side::Lower).ok()?;
    let (s, u) = (f.S().column_vector(), f.U());
    let vectors = if upper { u.reverse_rows().to_owned() } else { u.to_owned() };
    Some(((0..n).map(|i| s[i].re()).collect(), vectors))
}

/// Eigenvalues of any square matrix.
pub fn eigvals<T: Element>(a: &Mat<T>) -> Option<Vec<c64>> {
    if a.nrows() == 0 { Some(Vec::new()) } else { T::eigenvalues(a) }
}

/// Eigenvalues and right eigenvectors, each of norm 1 with a real largest component, as LAPACK's are.
pub fn eig<T: Element>(a: &Mat<T>) -> Option<(Vec<c64>, Mat<c64>)> {
    let n = a.nrows();
    if n == 0 {
        return Some((Vec::new(), Mat::zeros(0, 0)));
    }
    let (values, mut vectors) = T::eigen(a)?;
    for j in 0..n {
        let norm = (0..n).fold(0.0f64, |s, i| s.hypot(vectors[(i, j)].norm()));
        let best = (0..n).fold(0, |b, i| if vectors[(i, j)].norm() > vectors[(b, j)].norm() { i } else { b });
        let top = vectors[(best, j)];
        // a real vector keeps its sign
        let real = (0..n).all(|i| vectors[(i, j)].im == 0.0);
        let turn = if real || top.norm() == 0.0 { c64::new(1.0, 0.0) } else { top.conj() / top.norm() };
        for i in 0..n {
            vectors[(i, j)] = vectors[(i, j)] * turn / norm;
        }
        if !real {
            vectors[(best, j)].im = 0.0;
        }
    }
    Some((values, vectors))
}
