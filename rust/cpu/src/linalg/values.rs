//! Eigenvalues of symmetric tridiagonal and singular values of bidiagonal matrices, without vectors, in double.
//! `spectral.rs` reduces matrices to these.
//!
//! Tridiagonal: the root-free QL iteration of Pal, Walker and Kahan (B. N. Parlett, "The Symmetric Eigenvalue Problem"
//! (1980), section 8.15). Bidiagonal: differential quotient differences with shifts, which keep the small values'
//! digits (K. V. Fernando, B. N. Parlett, "Accurate singular values and differential qd algorithms" (1994)).

const EPS: f64 = f64::EPSILON / 2.0;
/// Sweeps per value before an iteration is given up.
const SWEEPS: usize = 30;
/// Attempts at a shift below the smallest value before a sweep without one.
const ATTEMPTS: usize = 3;

/// The power of two that the largest element lies at, 1 where there is none.
fn exponent(parts: [&[f64]; 2]) -> f64 {
    let largest = parts.iter().flat_map(|p| p.iter()).fold(0.0f64, |m, v| m.max(v.abs()));
    if largest > 0.0 { largest.log2().floor().clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
}

/// Ascending eigenvalues of the symmetric matrix with diagonal `d` and `e` beside it; None where it does not converge.
pub fn tridiagonal(mut d: Vec<f64>, mut e: Vec<f64>) -> Option<Vec<f64>> {
    let n = d.len();
    let scale = exponent([&d, &e]);
    d.iter_mut().chain(&mut e).for_each(|v| *v /= scale);
    let mut low = 0;
    while low < n {
        let negligible = |&i: &usize| e[i].abs() <= EPS * d[i].abs().sqrt() * d[i + 1].abs().sqrt();
        let high = (low..n - 1).find(negligible).unwrap_or(n - 1);
        let (d, e) = (&mut d[low..=high], &mut e[low..high]);
        // from the end with the smaller elements, which the larger would swallow
        if d[d.len() - 1].abs() < d[0].abs() {
            d.reverse();
            e.reverse();
        }
        e.iter_mut().for_each(|v| *v *= *v);
        squared(d, e)?;
        low = high + 1;
    }
    d.iter_mut().for_each(|v| *v *= scale);
    d.sort_unstable_by(f64::total_cmp);
    Some(d)
}

/// Eigenvalues in `d`, from the squares `e` of what is beside the diagonal.
fn squared(d: &mut [f64], e: &mut [f64]) -> Option<()> {
    let last = d.len() - 1;
    let (mut l, mut sweeps) = (0, SWEEPS * d.len());
    while l < last {
        let m = (l..last).find(|&i| e[i] <= EPS * EPS * (d[i] * d[i + 1]).abs()).unwrap_or(last);
        if m < last {
            e[m] = 0.0;
        }
        match m - l {
            0 => l += 1,
            1 => {
                (d[l], d[m]) = two(d[l], e[l].sqrt(), d[m]);
                e[l] = 0.0;
                l += 2;
            }
            _ => {
                sweeps = sweeps.checked_sub(1)?;
                sweep(&mut d[l..=m], &mut e[l..m]);
            }
        }
    }
    Some(())
}

/// Eigenvalues of the matrix a b, b c.
fn two(a: f64, b: f64, c: f64) -> (f64, f64) {
    let (sum, root) = (a + c, (a - c).hypot(2.0 * b));
    let (big, small) = if a.abs() > c.abs() { (a, c) } else { (c, a) };
    if sum == 0.0 {
        return (0.5 * root, -0.5 * root);
    }
    let first = 0.5 * (sum + root.copysign(sum));
    (first, big / first * small - b / first * b)
}

/// One step towards a small e[0], with Wilkinson's shift.
fn sweep(d: &mut [f64], e: &mut [f64]) {
    let m = e.len();
    let beside = e[0].sqrt();
    let g = (d[1] - d[0]) / (2.0 * beside);
    let shift = d[0] - beside / (g + g.hypot(1.0).copysign(g));
    let (mut c, mut s) = (1.0, 0.0);
    let mut gamma = d[m] - shift;
    let mut p = gamma * gamma;
    for i in (0..m).rev() {
        let b = e[i];
        let r = p + b;
        if i + 1 < m {
            e[i + 1] = s * r;
        }
        let before = (c, gamma);
        (c, s) = (p / r, b / r);
        gamma = c * (d[i] - shift) - s * before.1;
        d[i + 1] = before.1 + (d[i] - gamma);
        p = if c == 0.0 { before.0 * b } else { gamma * gamma / c };
    }
    e[0] = s * p;
    d[0] = shift + gamma;
}

/// Descending singular values of the bidiagonal matrix with diagonal `d` and `e` beside it; None where it does not
/// converge.
pub fn bidiagonal(d: &[f64], e: &[f64]) -> Option<Vec<f64>> {
    let scale = exponent([d, e]);
    let squares = |v: &[f64]| v.iter().map(|v| (v / scale) * (v / scale)).collect();
    let mut found = Vec::with_capacity(d.len());
    let mut blocks = vec![Qd::new(squares(d), squares(e), 0.0)];
    while let Some(block) = blocks.pop() {
        block.values(&mut found, &mut blocks)?;
    }
    found.iter_mut().for_each(|v| *v = v.max(0.0).sqrt() * scale);
    found.sort_unstable_by(|a, b| b.total_cmp(a));
    Some(found)
}

/// What a sweep tells of the smallest value: the least of the numbers d on the way, of all but the last, and of all but
/// the last two; the last, and the two before it.
#[derive(Clone, Copy, Default)]
struct Least {
    of: [f64; 3],
    at: [f64; 3],
}

/// Quotients and differences: the squares of a bidiagonal matrix less a shift, and those that a sweep makes of them.
struct Qd {
    q: Vec<f64>,
    e: Vec<f64>,
    next_q: Vec<f64>,
    next_e: Vec<f64>,
    shift: f64,
    /// What the sum of all shifts lost in rounding.
    rest: f64,
}

impl Qd {
    fn new(mut q: Vec<f64>, mut e: Vec<f64>, shift: f64) -> Qd {
        // the small ones belong at the end, where they are found
        if 1.5 * q.first().copied().unwrap_or(0.0) < q.last().copied().unwrap_or(0.0) {
            q.reverse();
            e.reverse();
        }
        Qd { next_q: q.clone(), next_e: e.clone(), q, e, shift, rest: 0.0 }
    }

    /// All values into `found`, but those of the parts that it falls into: these go to `blocks`.
    fn values(mut self, found: &mut Vec<f64>, blocks: &mut Vec<Qd>) -> Option<()> {
        let mut least = None;
        // values found since the last sweep
        let mut gone = 0;
        let mut sweeps = SWEEPS * self.q.len();
        loop {
            let n = self.q.len();
            let total = |v: f64, s: &Qd| s.shift + (v + s.rest);
            if n <= 2 {
                match n {
                    2 => {
                        let (a, b) = both(self.q[0], self.e[0], self.q[1]);
                        found.extend([total(a, &self), total(b, &self)]);
                    }
                    1 => found.push(total(self.q[0], &self)),
                    _ => {}
                }
                return Some(());
            }
            match (0..n - 1).rev().find(|&i| self.e[i] <= EPS * EPS * (self.shift + self.q[i])) {
                Some(cut) if cut + 2 == n => {
                    found.push(total(self.q[n - 1], &self));
                    self.q.pop();
                    self.e.pop();
                    gone += 1;
                }
                Some(cut) => {
                    let shift = self.shift + self.rest;
                    blocks.push(Qd::new(self.q.split_off(cut + 1), self.e.split_off(cut + 1), shift));
                    self.e.pop();
                    blocks.push(Qd::new(self.q, self.e, shift));
                    return Some(());
                }
                None => {
                    sweeps = sweeps.checked_sub(1)?;
                    let by = least.map_or(0.0, |l| self.guess(l, gone));
                    (least, gone) = (Some(self.step(by)), 0);
                }
            }
        }
    }

    /// A sweep with this shift, or a smaller one where it is too large.
    fn step(&mut self, mut by: f64) -> Least {
        let mut attempts = 0;
        let least = loop {
            let least = self.sweep(by);
            // without a shift nothing is negative; what is not finite stays so
            if least.of[0] >= 0.0 || by == 0.0 {
                break least;
            }
            attempts += 1;
            by = match attempts {
                ATTEMPTS.. => 0.0,
                // only the last is too small, by about what the shift is too large
                _ if least.of[1] > 0.0 => ((by + least.of[0]) * (1.0 - 4.0 * EPS)).max(0.0),
                _ => 0.25 * by,
            };
        };
        std::mem::swap(&mut self.q, &mut self.next_q);
        std::mem::swap(&mut self.e, &mut self.next_e);
        let sum = self.shift + by;
        self.rest += if by < self.shift { by - (sum - self.shift) } else { self.shift - (sum - by) };
        self.shift = sum;
        least
    }

    /// One sweep with a shift, into the other arrays.
    fn sweep(&mut self, by: f64) -> Least {
        let n = self.q.len();
        self.next_q.truncate(n);
        self.next_e.truncate(n - 1);
        let mut d = self.q[0] - by;
        let mut least = Least { of: [d, f64::INFINITY, f64::INFINITY], at: [d, 0.0, 0.0] };
        let rows = self.q[1..].iter().zip(&self.e).zip(self.next_q.iter_mut().zip(&mut self.next_e));
        for ((&q, &e), (next_q, next_e)) in rows {
            *next_q = d + e;
            let ratio = q / *next_q;
            *next_e = e * ratio;
            d = d * ratio - by;
            least.at = [d, least.at[0], least.at[1]];
            least.of = [least.of[0].min(d), least.of[0], least.of[1]];
        }
        self.next_q[n - 1] = d;
        if !self.next_q.iter().all(|v| v.is_finite()) {
            least.of = [-1.0; 3];
        }
        least
    }

    /// A number that should lie below the smallest value and near it.
    fn guess(&self, l: Least, gone: usize) -> f64 {
        if gone > 1 {
            return 0.0;
        }
        let (least, last) = (l.of[gone], l.at[gone]);
        if least <= 0.0 {
            return 0.0;
        }
        let n = self.q.len() - 1;
        let (q, e) = (&self.q, &self.e);
        if least != last {
            return 0.25 * least;
        }
        // The last row's residual over the gap to the others: a bound for the matrix cut off there
        let beside = (q[n] * e[n - 1]).sqrt();
        let before = (q[n - 1] * e[n - 2]).sqrt();
        let a = q[n - 1] + e[n - 1];
        let gap = a - last - before;
        if gap > beside { (last - beside / gap * beside).max(0.5 * least) } else { (last - beside).max(least / 3.0) }
    }
}

/// The values of two rows.
fn both(q: f64, e: f64, r: f64) -> (f64, f64) {
    // eigenvalues of q + e, sqrt(e r); r: their sum is s, their product q r
    let s = q + e + r;
    let root = ((q - r + e) * (q - r + e) + 4.0 * e * r).sqrt();
    let large = 0.5 * (s + root);
    (large, if large == 0.0 { 0.0 } else { q / large * r })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of I with ones beside the diagonal: known eigenvalues, 1 + 2 cos(pi k / (n + 1)).
    #[test]
    fn eigenvalues_of_a_known_matrix() {
        for n in [1usize, 2, 3, 10, 100] {
            let w = tridiagonal(vec![1.0; n], vec![1.0; n - 1]).unwrap();
            for (k, v) in w.iter().enumerate() {
                let known = 1.0 - 2.0 * (std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64).cos();
                assert!((v - known).abs() < 1e-14, "{n} {k} {v} {known}");
            }
        }
        assert_eq!(tridiagonal(vec![0.0; 4], vec![0.0; 3]).unwrap(), [0.0; 4]);
        assert_eq!(tridiagonal(vec![3.0, -1.0], vec![0.0]).unwrap(), [-1.0, 3.0]);
    }

    /// B^T B of ones on both diagonals is the second difference with 1 in a corner: 2 cos(pi k / (2 n + 1)).
    #[test]
    fn singular_values_of_a_known_matrix() {
        for n in [1usize, 2, 3, 10, 100] {
            for size in [1.0, 1e-300, 1e300] {
                let s = bidiagonal(&vec![size; n], &vec![size; n - 1]).unwrap();
                for (k, v) in s.iter().enumerate() {
                    let known = 2.0 * (std::f64::consts::PI * (k + 1) as f64 / (2 * n + 1) as f64).cos();
                    assert!((v / size - known).abs() < 1e-14, "{n} {k} {v} {known}");
                }
            }
        }
        assert_eq!(bidiagonal(&[0.0; 4], &[0.0; 3]).unwrap(), [0.0; 4]);
        assert_eq!(bidiagonal(&[], &[]).unwrap(), [0.0; 0]);
    }

    /// Small singular values keep their digits: the product of all is the diagonal's.
    #[test]
    fn small_values_keep_their_digits() {
        let d: Vec<f64> = (0..12).map(|i| 10f64.powi(-i)).collect();
        let s = bidiagonal(&d, &[1e-3; 11]).unwrap();
        let logs = |v: &[f64]| v.iter().map(|v| v.log10()).sum::<f64>();
        assert!((logs(&s) + 66.0).abs() < 1e-11, "{s:?}");
    }
}
