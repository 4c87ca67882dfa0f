//! How gamma and beta variates move with their parameters when their rank is held: dx/da = -(dF/da) / (dF/dx), F the
//! cumulative distribution (Figurnov, Mohamed & Mnih 2018, "Implicit reparameterization gradients"). F is summed as a
//! power series or a continued fraction of dual numbers, so that the derivative has the accuracy of F itself; factors
//! that F and the density share are divided out, so that nothing underflows. The draws are in `variates.rs`.

use std::ops::{Add, Div, Mul, Sub};

use rtorch_ir::oracle::special::digamma;

/// A value and its derivative by the parameter.
#[derive(Clone, Copy)]
struct Dual(f64, f64);

impl Dual {
    fn of(v: f64) -> Dual {
        Dual(v, 0.0)
    }
}
impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual(self.0 + o.0, self.1 + o.1)
    }
}
impl Sub for Dual {
    type Output = Dual;
    fn sub(self, o: Dual) -> Dual {
        Dual(self.0 - o.0, self.1 - o.1)
    }
}
impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual(self.0 * o.0, self.1 * o.0 + self.0 * o.1)
    }
}
impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        let q = self.0 / o.0;
        Dual(q, (self.1 - q * o.1) / o.0)
    }
}

/// Terms after which a sum is as good as it gets; large parameters take about the square root of them.
const MOST_TERMS: usize = 20_000;
/// Relative size of a last term.
const LAST: f64 = 1e-15;
/// What a continued fraction's denominators may not be smaller than (Lentz).
const TINY: f64 = 1e-280;
/// Shapes from here on take the expansion around the normal distribution: it is exact to a relative 1e-10 there.
const NORMAL_SHAPE: f64 = 1e5;

/// The continued fraction b0 / (1 + ..) by Lentz's method as Thompson and Barnett modified it: `term(n)` is the n-th
/// pair (a_n, b_n), the first being the numerator in front and the first denominator.
fn fraction(term: impl Fn(usize) -> (Dual, Dual)) -> Dual {
    let kept = |d: Dual| if d.0.abs() < TINY { Dual(TINY, d.1) } else { d };
    let (a, b) = term(0);
    let mut f = a / kept(b);
    let (mut c, mut d) = (Dual::of(1.0 / TINY), Dual::of(1.0) / kept(b));
    for n in 1..MOST_TERMS {
        let (a, b) = term(n);
        d = Dual::of(1.0) / kept(b + a * d);
        c = kept(b + a / c);
        let step = c * d;
        f = f * step;
        if (step.0 - 1.0).abs() < LAST && step.1.abs() < LAST * (1.0 + (f.1 / f.0).abs()) {
            break;
        }
    }
    f
}

/// d x / d a of x ~ Gamma(a, 1).
pub fn gamma(a: f64, x: f64) -> f64 {
    if !(a > 0.0 && x >= 0.0 && a.is_finite() && x.is_finite()) {
        return f64::NAN;
    }
    if x == 0.0 {
        return 0.0;
    }
    if a >= NORMAL_SHAPE {
        return gamma_normal(a, x);
    }
    if x < a + 1.0 {
        // P / pdf = x / a * S, S = 1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...
        let (mut sum, mut term) = (Dual::of(1.0), Dual::of(1.0));
        for n in 1..MOST_TERMS {
            term = term * Dual::of(x) / Dual(a + n as f64, 1.0);
            sum = sum + term;
            if term.0 < LAST * sum.0 && term.1.abs() < LAST * (sum.1.abs() + sum.0) {
                break;
            }
        }
        return -x / a * (sum.0 * (x.ln() - digamma(a + 1.0)) + sum.1);
    }
    // Q / pdf = x * F, F = 1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - 2 (2 - a) / (x + 5 - a - ...
    let f = fraction(|n| {
        let k = n as f64;
        let numerator = if n == 0 { Dual::of(1.0) } else { Dual(-k * (k - a), k) };
        (numerator, Dual(x + 1.0 + 2.0 * k - a, -1.0))
    });
    x * (f.0 * (x.ln() - digamma(a)) + f.1)
}

/// The same for large shapes, by the Cornish-Fisher expansion x = a + z sqrt(a) + (z^2 - 1) / 3 + (z^3 - 7 z) / (36
/// sqrt(a)) - ..., z held.
fn gamma_normal(a: f64, x: f64) -> f64 {
    let root = a.sqrt();
    let at = |z: f64| {
        let z2 = z * z;
        a + z * root + (z2 - 1.0) / 3.0 + z * (z2 - 7.0) / (36.0 * root)
            - (3.0 * z2 * z2 + 7.0 * z2 - 16.0) / (810.0 * a)
    };
    let mut z = (x - a) / root;
    for _ in 0..4 {
        z -= (at(z) - x) / (root + 2.0 * z / 3.0);
    }
    let z2 = z * z;
    1.0 + z / (2.0 * root) - z * (z2 - 7.0) / (72.0 * a * root) + (3.0 * z2 * z2 + 7.0 * z2 - 16.0) / (810.0 * a * a)
}

/// The continued fraction of the incomplete beta function (DLMF 8.17.22): I_x(a, b) = x^a (1 - x)^b / (a B(a, b)) * C.
fn beta_fraction(x: f64, a: Dual, b: Dual) -> Dual {
    let x = Dual::of(x);
    fraction(|n| {
        if n == 0 {
            return (Dual::of(1.0), Dual::of(1.0));
        }
        let m = Dual::of((n / 2) as f64);
        let twice = a + m + m;
        let numerator = if n % 2 == 0 {
            m * (b - m) * x / ((twice - Dual::of(1.0)) * twice)
        } else {
            Dual::of(0.0) - (a + m) * (a + b + m) * x / (twice * (twice + Dual::of(1.0)))
        };
        (numerator, Dual::of(1.0))
    })
}

/// (d x / d a) / (1 - x) of x ~ Beta(a, total - a) with b = total - a held: what a Dirichlet variate's element changes
/// by, before the others make room.
pub fn dirichlet(x: f64, a: f64, total: f64) -> f64 {
    let b = total - a;
    if !(a > 0.0 && b > 0.0 && total.is_finite() && (0.0..=1.0).contains(&x)) {
        return f64::NAN;
    }
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let shared = x.ln() - digamma(a) + digamma(total);
    if x < (a + 1.0) / (total + 2.0) {
        let c = beta_fraction(x, Dual(a, 1.0), Dual::of(b));
        return -x / a * (c.0 * (shared - 1.0 / a) + c.1);
    }
    let c = beta_fraction(1.0 - x, Dual::of(b), Dual(a, 1.0));
    x / b * (c.0 * shared + c.1)
}
