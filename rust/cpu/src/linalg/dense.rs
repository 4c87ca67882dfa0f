//! LU, Cholesky and QR decompositions and triangular solves of one matrix in double: the textbook algorithms with
//! contiguous inner loops, large ones on several threads. Eigenvalues and singular values are in `spectral.rs`.

use rtorch_ir::Result;

use crate::threads::{check_interrupt, parallel_for};
use crate::versions::versions;
use crate::walk::Base;

/// Multiplications of one step that are worth a thread (2-core Zen 5: a wake-up is about 3 us).
const GRAIN: usize = 1 << 14;

/// A row-major matrix.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub rows: usize,
    pub cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    pub fn zeros(rows: usize, cols: usize) -> Matrix {
        Matrix { rows, cols, data: vec![0.0; rows * cols] }
    }
    pub fn identity(n: usize) -> Matrix {
        Matrix::from_fn(n, n, |i, j| (i == j) as u8 as f64)
    }
    pub fn from_fn(rows: usize, cols: usize, f: impl Fn(usize, usize) -> f64) -> Matrix {
        let mut m = Matrix::zeros(rows, cols);
        for i in 0..rows {
            for j in 0..cols {
                m.data[i * cols + j] = f(i, j);
            }
        }
        m
    }
    pub fn transposed(&self) -> Matrix {
        Matrix::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }
    #[inline]
    pub fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.cols + j]
    }
    #[inline]
    pub fn set(&mut self, i: usize, j: usize, v: f64) {
        self.data[i * self.cols + j] = v;
    }
    #[inline]
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..(i + 1) * self.cols]
    }
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.cols..(i + 1) * self.cols]
    }
    /// Two different rows.
    pub fn two_rows(&mut self, i: usize, j: usize) -> (&mut [f64], &mut [f64]) {
        let n = self.cols;
        let (low, high) = (i.min(j), i.max(j));
        let (a, b) = self.data.split_at_mut(high * n);
        let (a, b) = (&mut a[low * n..(low + 1) * n], &mut b[..n]);
        if i < j { (a, b) } else { (b, a) }
    }
    pub fn swap_rows(&mut self, i: usize, j: usize) {
        if i != j {
            let (a, b) = self.two_rows(i, j);
            a.swap_with_slice(b);
        }
    }
    pub fn all_finite(&self) -> bool {
        self.data.iter().all(|v| v.is_finite())
    }
    /// Calls `f(i, row i)` for rows `start..` on several threads; `cost` multiplications each.
    pub fn each_row(&mut self, start: usize, cost: usize, f: &(dyn Fn(usize, &mut [f64]) + Sync)) {
        let (n, base) = (self.cols, Base::new(self.data.as_mut_ptr().cast()));
        parallel_for(self.rows.saturating_sub(start), (GRAIN / cost.max(1)).max(1), &|range| {
            for i in range {
                let i = start + i;
                // SAFETY: each row is one thread's.
                f(i, unsafe { std::slice::from_raw_parts_mut(base.at::<f64>((i * n * 8) as isize), n) });
            }
        });
    }
}

versions!(
    /// y += a x
    pub fn axpy[](a: f64, x: &[f64], y: &mut [f64]) = axpy_body
);
versions!(pub fn dot[](x: &[f64], y: &[f64]) -> f64 = dot_body);
versions!(
    /// (x, y) = (c x - s y, s x + c y)
    pub fn rotate[](x: &mut [f64], y: &mut [f64], c: f64, s: f64) = rotate_body
);

#[inline(always)]
fn axpy_body(a: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

#[inline(always)]
fn dot_body(x: &[f64], y: &[f64]) -> f64 {
    crate::lines::sum_of_two(x, y, |x, y| x * y)
}

#[inline(always)]
fn rotate_body(x: &mut [f64], y: &mut [f64], c: f64, s: f64) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

/// Length of a vector without overflow of its squares.
pub fn norm(x: &[f64]) -> f64 {
    let scale = x.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if scale == 0.0 || !scale.is_finite() {
        return if x.iter().any(|v| v.is_nan()) { f64::NAN } else { scale };
    }
    if (1e-140..1e140).contains(&scale) {
        return dot(x, x).sqrt();
    }
    scale * x.iter().map(|v| (v / scale) * (v / scale)).sum::<f64>().sqrt()
}

/// P A = L U with partial pivoting, L and U in one square matrix.
pub struct Lu {
    lu: Matrix,
    /// Row `i` of the product was row `order[i]`.
    order: Vec<usize>,
    odd: bool,
}

impl Lu {
    pub fn new(mut a: Matrix) -> Result<Lu> {
        let n = a.rows;
        let mut order: Vec<usize> = (0..n).collect();
        let mut odd = false;
        for k in 0..n {
            check_interrupt()?;
            let size = |i: usize| a.at(i, k).abs();
            // a NaN is taken as pivot, as LAPACK's idamax does
            let pivot = (k..n).fold(k, |best, i| if size(i) > size(best) || size(i).is_nan() { i } else { best });
            a.swap_rows(k, pivot);
            order.swap(k, pivot);
            odd ^= pivot != k;
            let top = a.row(k)[k..].to_vec();
            if top[0] == 0.0 {
                continue;
            }
            a.each_row(k + 1, n - k, &|_, row| {
                let factor = row[k] / top[0];
                row[k] = factor;
                if factor != 0.0 {
                    axpy(-factor, &top[1..], &mut row[k + 1..]);
                }
            });
        }
        Ok(Lu { lu: a, order, odd })
    }
    pub fn size(&self) -> usize {
        self.lu.rows
    }
    /// The first zero on the diagonal of U: the matrix is singular.
    pub fn zero_pivot(&self) -> Option<usize> {
        (0..self.size()).find(|&i| self.lu.at(i, i) == 0.0)
    }
    pub fn solve(&self, b: &Matrix) -> Result<Matrix> {
        let mut x = Matrix::from_fn(b.rows, b.cols, |i, j| b.at(self.order[i], j));
        solve_triangular(&self.lu, &mut x, false, true)?;
        solve_triangular(&self.lu, &mut x, true, false)?;
        Ok(x)
    }
    /// Sign and logarithm of the absolute value of the determinant.
    pub fn slogdet(&self) -> (f64, f64) {
        let (mut sign, mut log) = (if self.odd { -1.0 } else { 1.0 }, 0.0);
        for i in 0..self.size() {
            let pivot = self.lu.at(i, i);
            sign *= if pivot == 0.0 { 0.0 } else { pivot.signum() };
            log += pivot.abs().ln();
        }
        (sign, log)
    }
}

/// Solves A X = B in the place of B; only one triangle of A is read, its diagonal counts as ones where `unit`.
pub fn solve_triangular(a: &Matrix, x: &mut Matrix, upper: bool, unit: bool) -> Result<()> {
    let n = a.rows;
    for step in 0..n {
        check_interrupt()?;
        let k = if upper { n - 1 - step } else { step };
        if !unit {
            let pivot = a.at(k, k);
            x.row_mut(k).iter_mut().for_each(|v| *v /= pivot);
        }
        // the solved row leaves the rows that are not
        let solved = x.row(k).to_vec();
        let (start, end) = if upper { (0, k) } else { (k + 1, n) };
        let cost = solved.len();
        x.each_row(start, cost, &|i, row| {
            if i < end && a.at(i, k) != 0.0 {
                axpy(-a.at(i, k), &solved, row);
            }
        });
    }
    Ok(())
}

/// A = L L^T from the lower triangle; the order of the first leading minor that is not positive otherwise.
pub fn cholesky(a: Matrix) -> Result<Result<Matrix, usize>> {
    let n = a.rows;
    // by columns: column k of L is row k of its transpose
    let mut t = Matrix::from_fn(n, n, |i, j| if j >= i { a.at(j, i) } else { 0.0 });
    for k in 0..n {
        check_interrupt()?;
        let pivot = t.at(k, k);
        if pivot <= 0.0 || pivot.is_nan() {
            return Ok(Err(k + 1));
        }
        let root = pivot.sqrt();
        t.row_mut(k)[k..].iter_mut().for_each(|v| *v /= root);
        let column = t.row(k).to_vec();
        t.each_row(k + 1, n - k, &|i, row| axpy(-column[i], &column[i..], &mut row[i..]));
    }
    Ok(Ok(t.transposed()))
}

/// A = Q R by Householder reflections, with LAPACK's signs.
pub struct Qr {
    /// Columns of A as rows: R above the diagonal, the reflections' vectors below it.
    columns: Matrix,
    taus: Vec<f64>,
}

/// Turns x into a multiple `beta` of the first axis: H = 1 - tau (1, v) (1, v)^T with v left in x[1..], beta in x[0].
pub fn reflection(x: &mut [f64]) -> f64 {
    let (alpha, rest) = (x[0], norm(&x[1..]));
    if rest == 0.0 {
        return 0.0;
    }
    let beta = -alpha.hypot(rest).copysign(alpha);
    let scale = 1.0 / (alpha - beta);
    x[1..].iter_mut().for_each(|v| *v *= scale);
    x[0] = beta;
    (beta - alpha) / beta
}

/// Applies a reflection (its vector without the leading 1) to a column.
pub fn reflect(v: &[f64], tau: f64, column: &mut [f64]) {
    let w = tau * (column[0] + dot(v, &column[1..]));
    column[0] -= w;
    axpy(-w, v, &mut column[1..]);
}

impl Qr {
    pub fn new(a: &Matrix) -> Result<Qr> {
        let mut columns = a.transposed();
        let (m, n) = (a.rows, a.cols);
        let mut taus = Vec::new();
        for k in 0..m.min(n) {
            check_interrupt()?;
            let tau = reflection(&mut columns.row_mut(k)[k..]);
            taus.push(tau);
            if tau != 0.0 {
                let v = columns.row(k)[k + 1..].to_vec();
                columns.each_row(k + 1, 2 * (m - k), &|_, column| reflect(&v, tau, &mut column[k..]));
            }
        }
        Ok(Qr { columns, taus })
    }
    pub fn r(&self, i: usize, j: usize) -> f64 {
        if i <= j { self.columns.at(j, i) } else { 0.0 }
    }
    /// The first `count` columns of Q.
    pub fn q(&self, count: usize) -> Result<Matrix> {
        let m = self.columns.cols;
        let mut q = Matrix::from_fn(count, m, |i, j| (i == j) as u8 as f64);
        for k in (0..self.taus.len()).rev() {
            check_interrupt()?;
            if self.taus[k] != 0.0 {
                let (v, tau) = (&self.columns.row(k)[k + 1..], self.taus[k]);
                // columns before k are still axes that the reflection leaves alone
                q.each_row(k.min(count), 2 * (m - k), &|_, column| reflect(v, tau, &mut column[k..]));
            }
        }
        Ok(q.transposed())
    }
}
