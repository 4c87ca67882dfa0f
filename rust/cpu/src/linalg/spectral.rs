//! Eigenvalues and singular values, by faer. None where an algorithm does not converge.

use faer::linalg::solvers::{SelfAdjointEigen, Svd};
use faer::{Mat, Side, c64};

use super::element::Element;
use super::ql;

/// U, singular values in descending order, V^H with A = U S V^H; U and V square where `full`, thin otherwise.
pub fn svd<T: Element>(a: &Mat<T>, full: bool) -> Option<(Mat<T>, Vec<f64>, Mat<T>)> {
    let (m, n) = a.shape();
    let k = m.min(n);
    if k == 0 {
        let identity = |n: usize, c: usize| Mat::from_fn(n, c, |i, j| if i == j { T::one() } else { T::zero() });
        let (u, v) = if full { (identity(m, m), identity(n, n)) } else { (Mat::zeros(m, 0), Mat::zeros(0, n)) };
        return Some((u, Vec::new(), v));
    }
    let f = if full { Svd::new(a.as_ref()) } else { Svd::new_thin(a.as_ref()) }.ok()?;
    let s = f.S().column_vector();
    let values = (0..k).map(|i| s[i].re()).collect();
    let v = f.V();
    let vh = Mat::from_fn(v.ncols(), n, |i, j| v[(j, i)].conjugate());
    Some((f.U().to_owned(), values, vh))
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
