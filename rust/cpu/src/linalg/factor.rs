//! Triangular factors: LU, Cholesky, QR (by faer) and what they solve. Signs and pivots are LAPACK's, as PyTorch's are.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltError, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::lu::partial_pivoting::factor::{lu_in_place, lu_in_place_scratch};
use faer::linalg::solvers::Qr;
use faer::{Mat, MatRef, Par};

use super::element::Element;
use super::triangular::{self, Triangle};

const LOWER: Triangle = Triangle { upper: false, unit: true };
const UPPER: Triangle = Triangle { upper: true, unit: false };

/// P A = L U in one matrix: the unit lower factor below the diagonal, the upper one from it on.
pub struct Lu<T: Element> {
    pub packed: Mat<T>,
    /// Row i of P A is row `rows[i]` of A.
    rows: Vec<usize>,
}

impl<T: Element> Lu<T> {
    /// Of the matrix that `read` gives (again, where it has a column without a pivot).
    pub fn new(read: impl Fn() -> Mat<T>) -> Lu<T> {
        let mut packed = read();
        let (m, n) = packed.shape();
        let (mut rows, mut inverse) = (vec![0usize; m], vec![0usize; m]);
        if m > 0 && n > 0 {
            let mut memory = MemBuffer::new(lu_in_place_scratch::<usize, T>(m, n, Par::Seq, Default::default()));
            let stack = MemStack::new(&mut memory);
            lu_in_place(packed.as_mut(), &mut rows, &mut inverse, Par::Seq, stack, Default::default());
        } else {
            rows = (0..m).collect();
        }
        if all_finite(&packed) {
            return Lu { packed, rows };
        }
        // A column without a pivot divides by zero there, and is skipped here.
        let again = read();
        if all_finite(&again) { Lu::by_columns(again) } else { Lu { packed, rows } }
    }
    fn by_columns(mut a: Mat<T>) -> Lu<T> {
        let (m, n) = a.shape();
        let mut rows: Vec<usize> = (0..m).collect();
        for k in 0..m.min(n) {
            let best = (k..m).fold(k, |best, i| if a[(i, k)].size() > a[(best, k)].size() { i } else { best });
            let pivot = a[(best, k)];
            if pivot.is_zero() {
                continue;
            }
            rows.swap(k, best);
            for j in 0..n {
                let kept = a[(k, j)];
                a[(k, j)] = a[(best, j)];
                a[(best, j)] = kept;
            }
            for i in k + 1..m {
                a[(i, k)] = a[(i, k)].over(pivot);
            }
            for j in k + 1..n {
                let by = a[(k, j)];
                for i in k + 1..m {
                    a[(i, j)] = a[(i, j)].minus(a[(i, k)].times(by));
                }
            }
        }
        Lu { packed: a, rows }
    }
    /// The first zero on U's diagonal.
    pub fn zero_pivot(&self) -> Option<usize> {
        (0..self.packed.nrows().min(self.packed.ncols())).find(|&i| self.packed[(i, i)].is_zero())
    }
    /// LAPACK's interchanges: step i swapped rows i and `pivots[i]`, counted from 1.
    pub fn pivots(&self) -> Vec<i32> {
        let mut now: Vec<usize> = (0..self.rows.len()).collect();
        let mut place = now.clone();
        let steps = self.packed.nrows().min(self.packed.ncols());
        (0..steps)
            .map(|i| {
                let j = place[self.rows[i]];
                let (a, b) = (now[i], now[j]);
                now.swap(i, j);
                (place[a], place[b]) = (j, i);
                (j + 1) as i32
            })
            .collect()
    }
    /// A X = B.
    pub fn solve(&self, b: MatRef<T>) -> Mat<T> {
        solve(self.packed.as_ref(), |i| self.rows[i], b)
    }
    /// The rows of A that those of P A are.
    pub fn rows(&self) -> Vec<i32> {
        self.rows.iter().map(|&r| r as i32).collect()
    }
    /// The determinant's sign (or phase) and the logarithm of its absolute value.
    pub fn slogdet(&self) -> (T, f64) {
        let swaps = self.pivots().iter().enumerate().filter(|(i, p)| **p as usize != i + 1).count();
        let mut sign = if swaps % 2 == 1 { T::of(-1.0, 0.0) } else { T::one() };
        let mut log = 0.0;
        for i in 0..self.packed.nrows() {
            let u = self.packed[(i, i)];
            let size = u.modulus();
            log += size.ln();
            sign = if size == 0.0 { T::zero() } else { sign.times(u.scale(1.0 / size)) };
        }
        (sign, log)
    }
}

/// A X = B, for a packed LU whose row i is row `rows(i)` of A.
pub fn solve<T: Element>(packed: MatRef<T>, rows: impl Fn(usize) -> usize, b: MatRef<T>) -> Mat<T> {
    let mut x = Mat::from_fn(b.nrows(), b.ncols(), |i, j| b[(rows(i), j)]);
    triangular::solve(packed, LOWER, &mut x);
    triangular::solve(packed, UPPER, &mut x);
    x
}

/// A^H X = B.
pub fn solve_adjoint<T: Element>(packed: MatRef<T>, rows: impl Fn(usize) -> usize, mut b: Mat<T>) -> Mat<T> {
    triangular::solve_adjoint(packed, Triangle { upper: false, ..UPPER }, &mut b);
    triangular::solve_adjoint(packed, Triangle { upper: true, ..LOWER }, &mut b);
    let mut x = Mat::zeros(b.nrows(), b.ncols());
    for j in 0..b.ncols() {
        (0..b.nrows()).for_each(|i| x[(rows(i), j)] = b[(i, j)]);
    }
    x
}

pub fn all_finite<T: Element>(a: &Mat<T>) -> bool {
    // without a way out, which would keep the loop from being vectorised
    (0..a.ncols()).all(|j| a.col_as_slice(j).iter().fold(true, |finite, v| finite & v.is_finite_number()))
}

/// L with A = L L^H of the lower triangle, undefined above its diagonal; the order of the first minor that is not
/// positive.
pub fn cholesky<T: Element>(mut a: Mat<T>) -> Result<Mat<T>, usize> {
    let n = a.nrows();
    if n == 0 {
        return Ok(a);
    }
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<T>(n, Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    match cholesky_in_place(a.as_mut(), Default::default(), Par::Seq, stack, Default::default()) {
        // a NaN is not less than zero, and not positive either
        Ok(_) => match (0..n).find(|&i| a[(i, i)].re().is_nan() || a[(i, i)].re() <= 0.0) {
            Some(i) => Err(i + 1),
            None => Ok(a),
        },
        Err(LltError::NonPositivePivot { index }) => Err(index + 1),
    }
}

/// Q (of `columns` columns) and R, with LAPACK's signs.
pub fn qr<T: Element>(a: &Mat<T>, columns: usize) -> (Mat<T>, Mat<T>) {
    let (m, n) = a.shape();
    let identity = || Mat::from_fn(m, columns, |i, j| if i == j { T::one() } else { T::zero() });
    if m == 0 || n == 0 {
        return (identity(), Mat::zeros(columns, n));
    }
    if !T::IS_REAL {
        // faer's reflections leave other phases than LAPACK's, on whose R the diagonal is real
        let (packed, taus) = reflections(a.clone());
        let mut q = identity();
        for (k, &tau) in taus.iter().enumerate().rev() {
            let v: Vec<T> = (k + 1..m).map(|i| packed[(i, k)]).collect();
            (0..columns).for_each(|j| reflect(&v, k, tau, &mut q, j));
        }
        return (q, Mat::from_fn(columns, n, |i, j| if i <= j { packed[(i, j)] } else { T::zero() }));
    }
    let f = Qr::new(a.as_ref());
    let q = if columns > m.min(n) { f.compute_Q() } else { f.compute_thin_Q() };
    (q, Mat::from_fn(columns, n, |i, j| if i <= j { f.R()[(i, j)] } else { T::zero() }))
}

/// The reflection I - tau v v^H whose adjoint maps (head, tail) to (beta, 0): the tail becomes v below its first
/// element, which is 1.
pub fn householder<T: Element>(head: T, tail: &mut [T]) -> (f64, T) {
    let norm = tail.iter().fold(0.0f64, |s, t| s.hypot(t.modulus()));
    if norm == 0.0 && head.im() == 0.0 {
        return (head.re(), T::zero());
    }
    let beta = -head.modulus().hypot(norm).copysign(head.re());
    let divisor = head.minus(T::of(beta, 0.0));
    tail.iter_mut().for_each(|t| *t = t.over(divisor));
    (beta, T::of((beta - head.re()) / beta, -head.im() / beta))
}

/// Column `j` of `x` times I - tau v v^H, where v is 1 at row `k` and goes on with `tail`.
pub fn reflect<T: Element>(tail: &[T], k: usize, tau: T, x: &mut Mat<T>, j: usize) {
    let mut dot = x[(k, j)];
    for (i, v) in tail.iter().enumerate() {
        dot = dot.plus(v.conjugate().times(x[(k + 1 + i, j)]));
    }
    let by = tau.times(dot);
    x[(k, j)] = x[(k, j)].minus(by);
    for (i, v) in tail.iter().enumerate() {
        x[(k + 1 + i, j)] = x[(k + 1 + i, j)].minus(v.times(by));
    }
}

/// LAPACK's geqrf: R and below it the reflections' vectors v (v[k] = 1), H = I - tau v v^H, with their factors tau.
pub fn reflections<T: Element>(a: Mat<T>) -> (Mat<T>, Vec<T>) {
    let (m, n) = a.shape();
    if !T::IS_REAL || m.min(n) < BLOCKED {
        return by_columns(a);
    }
    // in blocks; real reflections leave faer's and LAPACK's signs alike
    let f = Qr::new(a.as_ref());
    let (v, r, t) = (f.Q_basis(), f.R(), f.Q_coeff());
    // faer's H is I - v v^H / t, with t on the diagonals of blocks side by side; no reflection has an infinite one
    let tau = |k: usize| T::one().over(t[(k % t.nrows(), k)]);
    (Mat::from_fn(m, n, |i, j| if i <= j { r[(i, j)] } else { v[(i, j)] }), (0..m.min(n)).map(tau).collect())
}

/// Matrices of fewer columns gain nothing from blocks.
const BLOCKED: usize = 16;

fn by_columns<T: Element>(mut a: Mat<T>) -> (Mat<T>, Vec<T>) {
    let (m, n) = a.shape();
    let mut taus = Vec::with_capacity(m.min(n));
    for k in 0..m.min(n) {
        let mut v: Vec<T> = (k + 1..m).map(|i| a[(i, k)]).collect();
        let (beta, tau) = householder(a[(k, k)], &mut v);
        a[(k, k)] = T::of(beta, 0.0);
        for (i, &v) in v.iter().enumerate() {
            a[(k + 1 + i, k)] = v;
        }
        (k + 1..n).for_each(|j| reflect(&v, k, tau.conjugate(), &mut a, j));
        taus.push(tau);
    }
    (a, taus)
}
