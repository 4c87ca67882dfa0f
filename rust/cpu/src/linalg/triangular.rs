//! Triangular systems: of a few right-hand sides here, since one is bound by reading the matrix once, of more by faer.

use faer::linalg::triangular_solve as by_blocks;
use faer::{Conj, Mat, MatRef, Par};

use super::element::Element;
use crate::versions::versions;

/// Up to so many right-hand sides the matrix is read once for each (an EPYC server, 255 rows).
const FEW: usize = 3;
/// Sums of a scalar product that run beside each other.
const LANES: usize = 16;

/// What of a matrix is used: its upper triangle or the lower one, with ones on the diagonal where `unit`.
#[derive(Clone, Copy)]
pub struct Triangle {
    pub upper: bool,
    pub unit: bool,
}

/// x <- A^-1 x for a triangle of `a`.
pub fn solve<T: Element>(a: MatRef<T>, t: Triangle, x: &mut Mat<T>) {
    solve_conj(a, Conj::No, t, x);
}

/// x <- A^-H x for a triangle of `a`; `t` is A^H's.
pub fn solve_adjoint<T: Element>(a: MatRef<T>, t: Triangle, x: &mut Mat<T>) {
    solve_conj(a.transpose(), Conj::Yes, t, x);
}

fn solve_conj<T: Element>(a: MatRef<T>, conj: Conj, t: Triangle, x: &mut Mat<T>) {
    let by_rows = a.col_stride() == 1;
    if T::IS_REAL && x.ncols() <= FEW && (by_rows || a.row_stride() == 1) {
        // rows are the columns of the transpose
        let lines = if by_rows { a.transpose() } else { a };
        for j in 0..x.ncols() {
            if let Some(column) = x.col_mut(j).try_as_col_major_mut() {
                vector(lines, by_rows, t, column.as_slice_mut());
            }
        }
        return;
    }
    let x = x.as_mut();
    match (t.upper, t.unit) {
        (true, true) => by_blocks::solve_unit_upper_triangular_in_place_with_conj(a, conj, x, Par::Seq),
        (true, false) => by_blocks::solve_upper_triangular_in_place_with_conj(a, conj, x, Par::Seq),
        (false, true) => by_blocks::solve_unit_lower_triangular_in_place_with_conj(a, conj, x, Par::Seq),
        (false, false) => by_blocks::solve_lower_triangular_in_place_with_conj(a, conj, x, Par::Seq),
    }
}

versions!(
    /// One right-hand side; the columns of `lines` are the matrix's columns, or its rows.
    fn vector[T: Element](lines: MatRef<'_, T>, by_rows: bool, t: Triangle, x: &mut [T]) = vector_body::<T>
);

#[inline(always)]
fn vector_body<T: Element>(lines: MatRef<'_, T>, by_rows: bool, t: Triangle, x: &mut [T]) {
    let n = x.len();
    for k in 0..n {
        let k = if t.upper { n - 1 - k } else { k };
        let Some(line) = lines.col(k).try_as_col_major().map(|c| c.as_slice()) else { return };
        let over = |v: T| if t.unit { v } else { v.over(line[k]) };
        let (before, rest) = x.split_at_mut(k);
        let (here, after) = rest.split_at_mut(1);
        if by_rows {
            let known = if t.upper { dot(&line[k + 1..], after) } else { dot(&line[..k], before) };
            here[0] = over(here[0].minus(known));
        } else {
            here[0] = over(here[0]);
            let (line, rest) = if t.upper { (&line[..k], before) } else { (&line[k + 1..], after) };
            for (x, &a) in rest.iter_mut().zip(line) {
                *x = x.minus(a.times(here[0]));
            }
        }
    }
}

#[inline(always)]
fn dot<T: Element>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let (blocks, rest) = (a.chunks_exact(LANES), a.len() - a.len() % LANES);
    for (a, b) in blocks.zip(b.chunks_exact(LANES)) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = sum.plus(a.times(b));
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] = sums[i].plus(sums[i + width]);
        }
        width /= 2;
    }
    a[rest..].iter().zip(&b[rest..]).fold(sums[0], |sum, (&a, &b)| sum.plus(a.times(b)))
}
