//! Triangular factors: LU and Cholesky (by faer) and what LU solves. Pivots are LAPACK's, as PyTorch's are. QR is
//! `qr.rs`.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{LltError, cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::lu::partial_pivoting::factor::{lu_in_place, lu_in_place_scratch};
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
