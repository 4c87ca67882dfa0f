//! Eigenvalues and eigenvectors of small Hermitian matrices: Householder's reduction to a tridiagonal matrix and the QL
//! iteration with implicit shifts (A. Dubrulle, R. S. Martin, J. H. Wilkinson, "The implicit QL algorithm" (1968)),
//! shifted, turned and ordered as LAPACK does up to this size, so that the vectors have its signs and phases. Larger
//! matrices are `spectral.rs`, by divide and conquer, where LAPACK's signs cannot be followed.

use faer::Mat;

use super::element::Element;
use super::qr::{householder, reflect};
use super::{adjoint, all_finite};

/// The size up to which LAPACK iterates (above, it divides and conquers).
pub const SMALL: usize = 25;
/// Steps per eigenvalue before the iteration is given up.
const STEPS: usize = 30;
/// Matrices beyond this size (or below its reciprocal) are scaled, since squares of their elements are needed.
const LARGE: f64 = 1e15;

/// Ascending eigenvalues and orthonormal eigenvectors; only one triangle of `a` is read.
pub fn eigh<T: Element>(a: &Mat<T>, upper: bool) -> Option<(Vec<f64>, Mat<T>)> {
    let n = a.nrows();
    let at = |i: usize| if upper { n - 1 - i } else { i };
    let hermitian = turned(a, upper);
    let scale = scale(&hermitian);
    let (mut d, mut e, q) = tridiagonal(if scale != 1.0 { scaled(hermitian, 1.0 / scale) } else { hermitian });
    if upper {
        d.reverse();
        e.reverse();
    }
    let q = Mat::from_fn(n, n, |i, j| q[(at(i), at(j))]);
    let round = |v: f64| T::of(v, 0.0).re();
    let mut z = vec![0.0; n * n];
    (0..n).for_each(|i| z[i * n + i] = 1.0);
    let mut ql = Ql { n, d, e, z, round, eps: if round(0.1) == 0.1 { f64::EPSILON / 2.0 } else { EPS32 } };
    ql.solve()?;
    ql.sort();
    let vectors =
        Mat::from_fn(n, n, |i, j| (0..n).fold(T::zero(), |sum, k| sum.plus(q[(i, k)].scale(ql.z[j * n + k]))));
    all_finite(&vectors).then(|| (ql.d.iter().map(|v| round(v * scale)).collect(), vectors))
}

/// The Hermitian matrix of one triangle: of the upper one turned around, since LAPACK goes from its end.
pub fn turned<T: Element>(a: &Mat<T>, upper: bool) -> Mat<T> {
    let n = a.nrows();
    let at = |i: usize| if upper { n - 1 - i } else { i };
    Mat::from_fn(n, n, |i, j| match i.cmp(&j) {
        std::cmp::Ordering::Greater => a[(at(i), at(j))],
        std::cmp::Ordering::Less => a[(at(j), at(i))].conjugate(),
        std::cmp::Ordering::Equal => T::of(a[(at(i), at(i))].re(), 0.0),
    })
}

const EPS32: f64 = f32::EPSILON as f64 / 2.0;

/// The power of two to divide a matrix by, 1 where squares of its elements do no harm.
pub fn scale<T: Element>(a: &Mat<T>) -> f64 {
    let largest = (0..a.ncols()).fold(0.0f64, |m, j| a.col_as_slice(j).iter().fold(m, |m, v| m.max(v.size())));
    let beyond = largest > 0.0 && !(1.0 / LARGE..=LARGE).contains(&largest);
    if beyond { largest.log2().round().clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
}

pub fn scaled<T: Element>(a: Mat<T>, by: f64) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)].scale(by))
}

/// Q and the diagonals of T with A = Q T Q^H.
fn tridiagonal<T: Element>(mut a: Mat<T>) -> (Vec<f64>, Vec<f64>, Mat<T>) {
    let n = a.nrows();
    let mut qh = Mat::from_fn(n, n, |i, j| if i == j { T::one() } else { T::zero() });
    for k in 1..n {
        let mut v: Vec<T> = (k + 1..n).map(|i| a[(i, k - 1)]).collect();
        let (_, tau) = householder(a[(k, k - 1)], &mut v);
        let tau = tau.conjugate();
        // H^H A H, as twice the product with H^H from the left
        for _ in 0..2 {
            reflect(&v, tau, a.as_mut().subrows_mut(k, n - k));
            a = adjoint(&a);
        }
        reflect(&v, tau, qh.as_mut().subrows_mut(k, n - k));
    }
    let d = (0..n).map(|i| a[(i, i)].re()).collect();
    let e = (1..n).map(|i| a[(i, i - 1)].re()).collect();
    (d, e, adjoint(&qh))
}

/// The iteration's state: diagonals, columns of vectors.
struct Ql<R> {
    n: usize,
    d: Vec<f64>,
    e: Vec<f64>,
    z: Vec<f64>,
    /// To the matrix's precision.
    round: R,
    eps: f64,
}

/// A block of the tridiagonal matrix, seen from the end with the smaller elements.
#[derive(Clone, Copy)]
struct Block {
    low: usize,
    high: usize,
    flipped: bool,
}

impl Block {
    fn at(&self, i: usize) -> usize {
        if self.flipped { self.low + self.high - i } else { i }
    }
    /// The element beside the diagonal between i and i + 1, which are columns `between` and `between + 1`.
    fn between(&self, i: usize) -> usize {
        self.at(i).min(self.at(i + 1))
    }
}

impl<R: Fn(f64) -> f64> Ql<R> {
    fn solve(&mut self) -> Option<()> {
        let (mut low, mut steps) = (0, STEPS * self.n);
        while low < self.n {
            let negligible = |&i: &usize| {
                self.e[i].abs() <= self.d[i].abs().sqrt() * self.d[i + 1].abs().sqrt() * self.eps || self.e[i] == 0.0
            };
            let high = (low..self.n - 1).find(negligible).unwrap_or(self.n - 1);
            if high < self.n - 1 {
                self.e[high] = 0.0;
            }
            let flipped = self.d[high].abs() < self.d[low].abs();
            self.block(Block { low, high, flipped }, &mut steps)?;
            low = high + 1;
        }
        Some(())
    }
    fn block(&mut self, b: Block, steps: &mut usize) -> Option<()> {
        let mut l = b.low;
        while l <= b.high {
            let small = |&i: &usize| {
                let (e, d, next) = (self.e[b.between(i)], self.d[b.at(i)], self.d[b.at(i + 1)]);
                e * e <= self.eps * self.eps * d.abs() * next.abs() + f64::from(f32::MIN_POSITIVE).powi(8)
            };
            let m = (l..b.high).find(small).unwrap_or(b.high);
            if m < b.high {
                self.e[b.between(m)] = 0.0;
            }
            match m - l {
                0 => l += 1,
                1 => {
                    self.two(b.between(l));
                    l += 2;
                }
                _ => {
                    *steps = steps.checked_sub(1)?;
                    self.sweep(b, l, m);
                }
            }
        }
        Some(())
    }
    /// One step with the shift of Wilkinson from row m to row l.
    fn sweep(&mut self, b: Block, l: usize, m: usize) {
        let (first, beside) = (self.d[b.at(l)], self.e[b.between(l)]);
        let g = (self.round)((self.d[b.at(l + 1)] - first) / (2.0 * beside));
        let r = (self.round)(g.hypot(1.0));
        let mut g = (self.round)(self.d[b.at(m)] - first + beside / (g + r.copysign(g)));
        let (mut c, mut s, mut p) = (1.0, 1.0, 0.0);
        for i in (l..m).rev() {
            let e = self.e[b.between(i)];
            let (f, h) = ((self.round)(s * e), (self.round)(c * e));
            let r;
            (c, s, r) = self.rotation(g, f);
            if i + 1 < m {
                self.e[b.between(i + 1)] = r;
            }
            g = (self.round)(self.d[b.at(i + 1)] - p);
            let r = (self.round)((self.d[b.at(i)] - g) * s + 2.0 * c * h);
            p = (self.round)(s * r);
            self.d[b.at(i + 1)] = (self.round)(g + p);
            g = (self.round)(c * r - h);
            self.rotate(b.between(i), c, if b.flipped { s } else { -s });
        }
        self.d[b.at(l)] = (self.round)(self.d[b.at(l)] - p);
        self.e[b.between(l)] = g;
    }
    /// (c, s, r) with c f + s g = r, c g = s f; c is positive where |f| > |g|.
    fn rotation(&self, f: f64, g: f64) -> (f64, f64, f64) {
        if g == 0.0 {
            return (1.0, 0.0, f);
        }
        if f == 0.0 {
            return (0.0, 1.0, g);
        }
        let r = f.hypot(g);
        let sign = if f.abs() > g.abs() && f < 0.0 { -1.0 } else { 1.0 };
        ((self.round)(f / r * sign), (self.round)(g / r * sign), (self.round)(r * sign))
    }
    /// Columns j and j + 1 of the vectors.
    fn rotate(&mut self, j: usize, c: f64, s: f64) {
        let (left, right) = self.z[j * self.n..(j + 2) * self.n].split_at_mut(self.n);
        for (a, b) in left.iter_mut().zip(right) {
            let (x, y) = (*a, *b);
            *b = (self.round)(c * y - s * x);
            *a = (self.round)(s * y + c * x);
        }
    }
    /// The 2 x 2 block at j: the eigenvalue of larger magnitude comes first.
    fn two(&mut self, j: usize) {
        let (a, b, c) = (self.d[j], self.e[j], self.d[j + 1]);
        let (sum, difference) = (a + c, a - c);
        let root = difference.hypot(2.0 * b);
        let sign = if sum < 0.0 { -1.0 } else { 1.0 };
        let first = 0.5 * (sum + sign * root);
        let (big, small) = if a.abs() > c.abs() { (a, c) } else { (c, a) };
        let second = if sum == 0.0 { -0.5 * root } else { big / first * small - b / first * b };
        let turned = if difference >= 0.0 { 1.0 } else { -1.0 };
        let cs = difference + turned * root;
        let (mut cos, mut sin) = if cs.abs() > (2.0 * b).abs() {
            let t = -2.0 * b / cs;
            let sin = 1.0 / (1.0 + t * t).sqrt();
            (t * sin, sin)
        } else if b == 0.0 {
            (1.0, 0.0)
        } else {
            let t = -cs / (2.0 * b);
            let cos = 1.0 / (1.0 + t * t).sqrt();
            (cos, t * cos)
        };
        if sign == turned {
            (cos, sin) = (-sin, cos);
        }
        self.rotate(j, (self.round)(cos), (self.round)(sin));
        (self.d[j], self.d[j + 1], self.e[j]) = ((self.round)(first), (self.round)(second), 0.0);
    }
    /// Ascending.
    fn sort(&mut self) {
        for i in 0..self.n {
            let least = (i..self.n).fold(i, |k, j| if self.d[j] < self.d[k] { j } else { k });
            if least != i {
                self.d.swap(i, least);
                let (left, right) = self.z.split_at_mut(least * self.n);
                left[i * self.n..(i + 1) * self.n].swap_with_slice(&mut right[..self.n]);
            }
        }
    }
}
