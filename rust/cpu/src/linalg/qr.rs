//! QR by reflections with LAPACK's signs, in blocks: the columns of a block here, what they do to the rest by faer. Its
//! own QR passes over columns whose rest is below some 16 m eps of their norm: not what LAPACK answers, and A - Q R is
//! then that large.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch as apply_all_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj as apply_all,
    apply_block_householder_transpose_on_the_left_in_place_scratch as apply_adjoint_scratch,
    apply_block_householder_transpose_on_the_left_in_place_with_conj as apply_adjoint, upgrade_householder_factor,
};
use faer::{Conj, Mat, MatMut, Par};

use super::element::Element;
use crate::versions::versions;

/// Columns of a block.
const BLOCK: usize = 32;
/// Sums that run beside each other.
const LANES: usize = 16;
/// Sums of squares below this may have lost digits.
const SMALL: f64 = 1e-280;

/// LAPACK's geqrf: R and below it the reflections' vectors v (v[k] = 1) with their factors tau. Q is the product of
/// H = I - tau v v^H.
pub struct Reflections<T: Element> {
    pub packed: Mat<T>,
    pub taus: Vec<T>,
    /// Of each block I - V S^-1 V^H, S side by side: 1 / tau on the diagonal, V^H V above it. Of real matrices alone.
    coefficients: Mat<T>,
}

impl<T: Element> Reflections<T> {
    pub fn new(mut packed: Mat<T>) -> Reflections<T> {
        let (m, n) = packed.shape();
        let k = m.min(n);
        let mut taus = vec![T::zero(); k];
        if !T::IS_REAL {
            // faer's reflections have real factors, LAPACK's leave R's diagonal real instead
            columns(packed.as_mut(), &mut taus);
            return Reflections { packed, taus, coefficients: Mat::zeros(0, 0) };
        }
        let block = BLOCK.min(k).max(1);
        let mut coefficients = Mat::zeros(block, k);
        let mut memory = MemBuffer::new(apply_adjoint_scratch::<T>(m, block, n));
        for at in (0..k).step_by(block) {
            let width = block.min(k - at);
            let (left, rest) = packed.as_mut().submatrix_mut(at, at, m - at, n - at).split_at_col_mut(width);
            let mut left = left;
            columns(left.as_mut(), &mut taus[at..at + width]);
            let mut s = coefficients.as_mut().submatrix_mut(0, at, width, width);
            for (i, &tau) in taus[at..at + width].iter().enumerate() {
                // none at all is an infinite one
                s[(i, i)] = if tau.is_zero() { T::of(f64::INFINITY, 0.0) } else { T::one().over(tau) };
            }
            upgrade_householder_factor(s.as_mut(), left.as_ref(), width, 1, Par::Seq);
            if rest.ncols() > 0 {
                let stack = MemStack::new(&mut memory);
                apply_adjoint(left.as_ref(), s.as_ref(), Conj::No, rest, Par::Seq, stack);
            }
        }
        Reflections { packed, taus, coefficients }
    }
    /// X <- Q X.
    pub fn apply(&self, mut x: MatMut<T>) {
        let (m, k) = (self.packed.nrows(), self.taus.len());
        if k == 0 || x.ncols() == 0 {
            return;
        }
        if !T::IS_REAL {
            for (i, &tau) in self.taus.iter().enumerate().rev() {
                reflect(&self.packed.col_as_slice(i)[i + 1..], tau, x.as_mut().subrows_mut(i, m - i));
            }
            return;
        }
        let mut memory = MemBuffer::new(apply_all_scratch::<T>(m, self.coefficients.nrows(), x.ncols()));
        let v = self.packed.as_ref().subcols(0, k);
        apply_all(v, self.coefficients.as_ref(), Conj::No, x.as_mut(), Par::Seq, MemStack::new(&mut memory));
    }
    /// The first rows of R.
    pub fn r(&self, rows: usize) -> Mat<T> {
        Mat::from_fn(rows, self.packed.ncols(), |i, j| if i <= j { self.packed[(i, j)] } else { T::zero() })
    }
}

/// Q (of `columns` columns) and R, with LAPACK's signs.
pub fn qr<T: Element>(a: Mat<T>, columns: usize) -> (Mat<T>, Mat<T>) {
    let mut q = Mat::from_fn(a.nrows(), columns, |i, j| if i == j { T::one() } else { T::zero() });
    let f = Reflections::new(a);
    f.apply(q.as_mut());
    (q, f.r(columns))
}

versions!(
    /// The reflections of a matrix's columns, one by one.
    fn columns[T: Element](a: MatMut<'_, T>, taus: &mut [T]) = columns_body::<T>
);

#[inline(always)]
fn columns_body<T: Element>(mut a: MatMut<'_, T>, taus: &mut [T]) {
    for (k, tau) in taus.iter_mut().enumerate() {
        let (mut left, rest) = a.as_mut().split_at_col_mut(k + 1);
        let v = slice(&mut left, k);
        let (head, tail) = v[k..].split_at_mut(1);
        let beta;
        (beta, *tau) = householder(head[0], tail);
        head[0] = T::of(beta, 0.0);
        reflect_body(tail, tau.conjugate(), rest.subrows_mut(k, tail.len() + 1));
    }
}

versions!(
    /// X <- (I - tau v v^H) X, where v is 1 and goes on with `tail`.
    pub fn reflect[T: Element](tail: &[T], tau: T, x: MatMut<'_, T>) = reflect_body::<T>
);

#[inline(always)]
fn reflect_body<T: Element>(tail: &[T], tau: T, mut x: MatMut<'_, T>) {
    for j in 0..if tau.is_zero() { 0 } else { x.ncols() } {
        let (first, x) = slice(&mut x, j).split_at_mut(1);
        let by = tau.times(first[0].plus(dot(tail, x)));
        first[0] = first[0].minus(by);
        for (x, &v) in x.iter_mut().zip(tail) {
            *x = x.minus(v.times(by));
        }
    }
}

/// Column `j`, whose elements lie beside each other.
#[inline(always)]
fn slice<'a, T: Element>(a: &'a mut MatMut<'_, T>, j: usize) -> &'a mut [T] {
    a.as_mut().col_mut(j).try_as_col_major_mut().map_or(&mut [], |c| c.as_slice_mut())
}

/// Of the first vector's conjugates.
#[inline(always)]
fn dot<T: Element>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::zero(); LANES];
    let rest = a.len() - a.len() % LANES;
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for (sum, (&a, &b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum = sum.plus(a.conjugate().times(b));
        }
    }
    let all = sums.iter().fold(T::zero(), |all, &s| all.plus(s));
    a[rest..].iter().zip(&b[rest..]).fold(all, |sum, (&a, &b)| sum.plus(a.conjugate().times(b)))
}

/// The Euclidean norm.
#[inline(always)]
fn norm<T: Element>(x: &[T]) -> f64 {
    let square = |v: &T| v.re() * v.re() + v.im() * v.im();
    let mut sums = [0.0; LANES];
    let blocks = x.chunks_exact(LANES);
    let rest = blocks.remainder().iter().map(square).sum::<f64>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += square(v));
    }
    let sum = sums.iter().sum::<f64>() + rest;
    if sum.is_finite() && sum > SMALL { sum.sqrt() } else { x.iter().fold(0.0, |s, t| s.hypot(t.modulus())) }
}

/// The reflection I - tau v v^H whose adjoint maps (head, tail) to (beta, 0): the tail becomes v below its first
/// element, which is 1.
#[inline(always)]
pub fn householder<T: Element>(head: T, tail: &mut [T]) -> (f64, T) {
    let norm = norm(tail);
    if norm == 0.0 && head.im() == 0.0 {
        return (head.re(), T::zero());
    }
    let size = head.modulus().hypot(norm);
    let (least, up) = if T::of(1e-300, 0.0).is_zero() { (1e-30, 100f64.exp2()) } else { (1e-290, 600f64.exp2()) };
    if size < least {
        // numbers so small have too few digits for v, and so has their norm
        tail.iter_mut().for_each(|t| *t = t.scale(up));
        let head = head.scale(up);
        let (beta, tau) = reflection(head, head.modulus().hypot(self::norm(tail)), tail);
        return (beta / up, tau);
    }
    reflection(head, size, tail)
}

/// The same, of a vector of norm `size`.
#[inline(always)]
fn reflection<T: Element>(head: T, size: f64, tail: &mut [T]) -> (f64, T) {
    let beta = -size.copysign(head.re());
    let divisor = head.minus(T::of(beta, 0.0));
    tail.iter_mut().for_each(|t| *t = t.over(divisor));
    (beta, T::of((beta - head.re()) / beta, -head.im() / beta))
}
