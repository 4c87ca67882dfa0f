//! A = L D L^T (or L D L^H) of a symmetric (Hermitian) matrix that need not be definite, and what it solves: the
//! diagonal pivoting of J. R. Bunch and L. Kaufman, "Some stable methods for calculating inertia and solving symmetric
//! linear systems" (1977), in LAPACK's storage (sytrf, hetrf with the lower triangle).

use faer::{Mat, MatRef};

use super::element::Element;
use super::triangular::{self, Triangle};
use crate::versions::versions;

/// The threshold that bounds growth best.
const ALPHA: f64 = 0.640_388_203_202_207_9; // (1 + sqrt 17) / 8

/// From the columns of an n x n matrix, of which the lower triangle is read: the strictly lower factor with D's entries
/// on the diagonal (and below it for blocks of two), and pivots that count from 1 and are negative, twice, for blocks
/// of two.
pub fn factor<T: Element>(a: &mut [T], n: usize, hermitian: bool) -> Vec<i32> {
    let mut pivots = vec![0i32; n];
    let mut k = 0;
    while k < n {
        let (p, two) = choose(a, n, k);
        let step = 1 + usize::from(two);
        let target = k + step - 1;
        if p != target {
            swap(a, n, target, p, hermitian);
            if two {
                a.swap(k * n + target, k * n + p);
            }
        }
        if hermitian {
            for i in k..k + step {
                a[i * n + i] = T::of(a[i * n + i].re(), 0.0);
            }
        }
        if two {
            eliminate_two(a, n, k, hermitian);
            pivots[k] = -(p as i32 + 1);
            pivots[k + 1] = pivots[k];
        } else {
            // a zero on the diagonal is left there, with the zeros below it
            if !a[k * n + k].is_zero() {
                eliminate_one(a, n, k, hermitian);
            }
            pivots[k] = p as i32 + 1;
        }
        k += step;
    }
    pivots
}

/// The row to pivot with, and whether the block is of two.
fn choose<T: Element>(a: &[T], n: usize, k: usize) -> (usize, bool) {
    let column = &a[k * n..(k + 1) * n];
    let here = column[k].size();
    let (mut far, mut largest) = (k, 0.0);
    for (i, v) in column.iter().enumerate().skip(k + 1) {
        if v.size() > largest {
            (far, largest) = (i, v.size());
        }
    }
    if here.max(largest) == 0.0 || here >= ALPHA * largest {
        return (k, false);
    }
    let before = (k..far).fold(0.0f64, |row, j| row.max(a[j * n + far].size()));
    let row = a[far * n + far + 1..(far + 1) * n].iter().fold(before, |row, v| row.max(v.size()));
    if here >= ALPHA * largest * (largest / row) {
        (k, false)
    } else if a[far * n + far].size() >= ALPHA * row {
        (far, false)
    } else {
        (far, true)
    }
}

/// Swaps rows and columns `k` and `p` > k of the part that is not factored yet.
fn swap<T: Element>(a: &mut [T], n: usize, k: usize, p: usize, hermitian: bool) {
    let turn = |v: T| if hermitian { v.conjugate() } else { v };
    let (left, right) = a.split_at_mut(p * n);
    left[k * n + p + 1..(k + 1) * n].swap_with_slice(&mut right[p + 1..n]);
    for j in k + 1..p {
        let (x, y) = (turn(a[k * n + j]), turn(a[j * n + p]));
        (a[k * n + j], a[j * n + p]) = (y, x);
    }
    a[k * n + p] = turn(a[k * n + p]);
    a.swap(k * n + k, p * n + p);
}

versions!(
    /// Column `k` of L, and what it takes off the columns behind it.
    fn eliminate_one[T: Element](a: &mut [T], n: usize, k: usize, hermitian: bool) = one_body::<T>
);
versions!(
    /// Columns `k` and k + 1 of L, of a block of two.
    fn eliminate_two[T: Element](a: &mut [T], n: usize, k: usize, hermitian: bool) = two_body::<T>
);

#[inline(always)]
fn one_body<T: Element>(a: &mut [T], n: usize, k: usize, hermitian: bool) {
    let (left, right) = a.split_at_mut((k + 1) * n);
    let from = &mut left[k * n..];
    let d = from[k];
    for (j, column) in (k + 1..n).zip(right.chunks_exact_mut(n)) {
        let by = if hermitian { from[j].conjugate() } else { from[j] }.over(d);
        for (x, &l) in column[j..].iter_mut().zip(&from[j..]) {
            *x = x.minus(l.times(by));
        }
    }
    from[k + 1..].iter_mut().for_each(|v| *v = v.over(d));
}

#[inline(always)]
fn two_body<T: Element>(a: &mut [T], n: usize, k: usize, hermitian: bool) {
    let turn = |v: T| if hermitian { v.conjugate() } else { v };
    let (left, right) = a.split_at_mut((k + 2) * n);
    let (first, second) = left[k * n..].split_at_mut(n);
    let (d11, d21, d22) = (first[k], first[k + 1], second[k + 1]);
    let det = d11.times(d22).minus(d21.times(turn(d21)));
    for (j, column) in (k + 2..n).zip(right.chunks_exact_mut(n)) {
        let (u, v) = (first[j], second[j]);
        // row j of L: [u v] times the inverse of the block
        let w1 = u.times(d22).minus(v.times(d21)).over(det);
        let w2 = v.times(d11).minus(u.times(turn(d21))).over(det);
        let (by1, by2) = (turn(w1), turn(w2));
        for (x, (&y, &z)) in column[j..].iter_mut().zip(first[j..].iter().zip(&second[j..])) {
            *x = x.minus(y.times(by1)).minus(z.times(by2));
        }
        (first[j], second[j]) = (w1, w2);
    }
}

/// A X = B from the factor and its pivots.
pub fn solve<T: Element>(ld: MatRef<T>, pivots: &[i32], mut x: Mat<T>, hermitian: bool) -> Mat<T> {
    let (n, columns) = (ld.nrows(), x.ncols());
    let row_of = |p: i32| (p.unsigned_abs() as usize).clamp(1, n) - 1;
    let mut l = ld.to_owned();
    // (column, is it of a block of two, the row that its last one was swapped with)
    let mut steps = Vec::new();
    let mut k = 0;
    while k < n {
        let two = pivots[k] < 0 && k + 1 < n;
        steps.push((k, two, row_of(pivots[k])));
        k += 1 + usize::from(two);
    }
    // each interchange moves the rows of the columns before it too: A = P^T L D L^T P with one permutation
    for &(k, two, p) in &steps {
        let last = k + usize::from(two);
        swap_rows(&mut l, last, p, k);
        swap_rows(&mut x, last, p, columns);
        if two {
            l[(last, k)] = T::zero();
        }
    }
    triangular::solve(l.as_ref(), Triangle { upper: false, unit: true }, &mut x);
    for &(k, two, _) in &steps {
        divide(ld, k, two, &mut x, hermitian);
    }
    let transposed = Triangle { upper: true, unit: true };
    if hermitian {
        triangular::solve_adjoint(l.as_ref(), transposed, &mut x);
    } else {
        triangular::solve(l.transpose(), transposed, &mut x);
    }
    for &(k, two, p) in steps.iter().rev() {
        swap_rows(&mut x, k + usize::from(two), p, columns);
    }
    x
}

fn swap_rows<T: Element>(x: &mut Mat<T>, i: usize, p: usize, columns: usize) {
    for j in 0..if i == p { 0 } else { columns } {
        (x[(i, j)], x[(p, j)]) = (x[(p, j)], x[(i, j)]);
    }
}

/// Rows k (and k + 1) of x by D's block there.
fn divide<T: Element>(ld: MatRef<T>, k: usize, two: bool, x: &mut Mat<T>, hermitian: bool) {
    let d11 = ld[(k, k)];
    if !two {
        (0..x.ncols()).for_each(|c| x[(k, c)] = x[(k, c)].over(d11));
        return;
    }
    let (d21, d22) = (ld[(k + 1, k)], ld[(k + 1, k + 1)]);
    let above = if hermitian { d21.conjugate() } else { d21 };
    let det = d11.times(d22).minus(d21.times(above));
    for c in 0..x.ncols() {
        let (u, v) = (x[(k, c)], x[(k + 1, c)]);
        x[(k, c)] = u.times(d22).minus(v.times(above)).over(det);
        x[(k + 1, c)] = v.times(d11).minus(u.times(d21)).over(det);
    }
}
