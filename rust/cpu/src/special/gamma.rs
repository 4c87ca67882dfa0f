//! Around the gamma function: Hurwitz' zeta by Euler-Maclaurin, polygamma by zeta, the incomplete gamma functions by
//! series, continued fraction, and for large parameters Temme's uniform expansion as an integral. The logarithm of the
//! gamma function and polygamma to order 4 in tiles: by fits, to the left of 0 by reflection.

use std::f64::consts::PI;

use rtorch_ir::oracle::special;

use super::fit::{Fit, Function, function};
use crate::simd::lane::Isa;
use crate::simd::math_f64::{log, sin_cos};

/// B(2k) / (2k)!, the coefficients of Euler-Maclaurin's correction.
const BERNOULLI: [f64; 12] = [
    1.0 / 12.0,
    -1.0 / 720.0,
    1.0 / 30_240.0,
    -1.0 / 1_209_600.0,
    1.0 / 47_900_160.0,
    -691.0 / 1_307_674_368_000.0,
    1.0 / 74_724_249_600.0,
    -3_617.0 / 10_670_622_842_880_000.0,
    43_867.0 / 5_109_094_217_170_944_000.0,
    -174_611.0 / 802_857_662_698_291_200_000.0,
    77_683.0 / 14_101_100_039_391_805_440_000.0,
    -236_364_091.0 / 1_693_824_136_731_743_669_452_800_000.0,
];
/// Terms are added one by one up to this argument.
const DIRECT: f64 = 10.0;

/// The sum of (k + q)^-s over k >= 0 (DLMF 25.11.28).
#[inline]
pub fn zeta(s: f64, q: f64) -> f64 {
    // where it has no value is not worth a call
    if s < 1.0 { f64::NAN } else { sum_of_powers(s, q) }
}

fn sum_of_powers(s: f64, q: f64) -> f64 {
    if s == 1.0 {
        return f64::INFINITY;
    }
    if s < 1.0 || s.is_nan() || q.is_nan() {
        return f64::NAN;
    }
    if q <= 0.0 {
        if q == q.floor() {
            return f64::INFINITY;
        }
        if s != s.floor() {
            return f64::NAN;
        }
    }
    let (mut sum, mut a) = (0.0, q);
    // the correction's terms shrink only where the argument exceeds the exponent
    while a < DIRECT.max(s) {
        let term = a.powf(-s);
        sum += term;
        a += 1.0;
        if a > 1.0 && term.abs() <= sum.abs() * 1e-18 {
            return sum;
        }
    }
    let power = a.powf(-s);
    sum += power * a / (s - 1.0) + power / 2.0;
    let (mut factor, mut k) = (power * s / a, 0.0);
    for b in BERNOULLI {
        let term = factor * b;
        sum += term;
        if term.abs() < sum.abs() * 1e-18 {
            break;
        }
        factor *= (s + k + 1.0) * (s + k + 2.0) / (a * a);
        k += 2.0;
    }
    sum
}

/// Derivative number n of digamma: (-1)^(n + 1) n! zeta(n + 1, x).
pub fn polygamma(n: u32, x: f64) -> f64 {
    if n == 0 {
        return special::digamma(x);
    }
    let order = f64::from(n);
    let z = if x < 0.0 && x != x.floor() && x < -20.0 { reflected(n, x) } else { zeta(order + 1.0, x) };
    let sign = if n % 2 == 1 { 1.0 } else { -1.0 };
    let size = if n < 2 { z } else { libm::tgamma(order + 1.0) * z };
    if size.is_finite() || n < 170 { sign * size } else { sign * (libm::lgamma(order + 1.0) + z.ln()).exp() }
}

/// zeta(n + 1, x) far to the left: the terms left of 0 are as many as -x and added as they are.
fn reflected(n: u32, x: f64) -> f64 {
    let below = -x.floor();
    let mut sum = zeta(f64::from(n) + 1.0, x + below);
    let mut k = below - 1.0;
    // those far away change nothing
    while k >= 0.0 {
        let term = (x + k).powi(-(n as i32) - 1);
        sum += term;
        if term.abs() < sum.abs() * 1e-19 {
            break;
        }
        k -= 1.0;
    }
    sum
}

/// x^a e^-x / Gamma(a + 1), by the distance of x from a where both are large.
fn prefactor(a: f64, x: f64) -> f64 {
    if a < 20.0 {
        return (a * x.ln() - x - libm::lgamma(a + 1.0)).exp();
    }
    let mu = (x - a) / a;
    // Stirling's correction of Gamma(a + 1)
    let i = 1.0 / (a * a);
    let stirling = (1.0 / 12.0 - i * (1.0 / 360.0 - i * (1.0 / 1260.0 - i * (1.0 / 1680.0 - i / 1188.0)))) / a;
    (-a * mu_minus_log1p(mu) - stirling).exp() / (std::f64::consts::TAU * a).sqrt()
}

/// mu - log(1 + mu), without cancellation near 0.
fn mu_minus_log1p(mu: f64) -> f64 {
    if mu.abs() > 0.3 {
        return mu - mu.ln_1p();
    }
    // log(1 + mu) = 2 atanh(r), r = mu / (2 + mu)
    let r = mu / (2.0 + mu);
    let q = r * r;
    let (mut power, mut sum, mut k) = (q, 0.0, 3.0);
    while power > 1e-19 {
        sum += power / k;
        power *= q;
        k += 2.0;
    }
    r * (mu - 2.0 * sum)
}

/// Both regularized functions (lower, upper); the smaller one is computed, the other follows.
fn incomplete(a: f64, x: f64) -> (f64, f64) {
    if a.is_nan() || x.is_nan() || a < 0.0 || x < 0.0 {
        return (f64::NAN, f64::NAN);
    }
    if a == 0.0 {
        return if x > 0.0 { (1.0, 0.0) } else { (f64::NAN, f64::NAN) };
    }
    if x == 0.0 {
        return (0.0, 1.0);
    }
    if a.is_infinite() {
        return if x.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, 1.0) };
    }
    if x.is_infinite() {
        return (1.0, 0.0);
    }
    if x <= 1.1 && a <= 1.1 && x > a {
        let q = small_upper(a, x);
        return (1.0 - q, q);
    }
    if a > TEMME && ((x - a) / a).abs() < 4.5 / a.sqrt() {
        return uniform(a, x);
    }
    if x < a + 1.0 {
        let p = (prefactor(a, x) * lower_series(a, x)).min(1.0);
        return if p > 0.9 && a < 1.0 { (p, small_upper(a, x)) } else { (p, 1.0 - p) };
    }
    let q = prefactor(a, x) * a * upper_fraction(a, x);
    (1.0 - q, q)
}

/// Parameters beyond this use the uniform expansion around x = a, where series and fraction take about sqrt(a) steps.
const TEMME: f64 = 2.0e5;

fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0, 1.0, a);
    loop {
        n += 1.0;
        term *= x / n;
        sum += term;
        if term < sum * 1e-17 {
            return sum;
        }
    }
}

/// Legendre's continued fraction (DLMF 8.9.2), evaluated forward.
fn upper_fraction(a: f64, x: f64) -> f64 {
    let tiny = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut h = d;
    let mut i = 1.0;
    loop {
        let an = -i * (i - a);
        b += 2.0;
        d = an * d + b;
        d = 1.0 / if d.abs() < tiny { tiny } else { d };
        c = b + an / c;
        c = if c.abs() < tiny { tiny } else { c };
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-16 || i > 1e6 {
            return h;
        }
        i += 1.0;
    }
}

/// The upper function for small a and x: 1 - x^a / Gamma(a + 1) (1 + a sum), each part by its own small difference.
fn small_upper(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0f64, 0.0f64, 1.0f64);
    while term.abs() > 1e-19 {
        term *= -x / n;
        sum += term / (a + n);
        n += 1.0;
    }
    // x^a / Gamma(a + 1) = exp(u)
    let u = a * x.ln() - libm::lgamma(a + 1.0);
    -u.exp_m1() - u.exp() * a * sum
}

/// Temme's expansion (DLMF 8.12.3) to the second order in 1 / a: enough beyond `TEMME`.
fn uniform(a: f64, x: f64) -> (f64, f64) {
    let mu = (x - a) / a;
    let half = mu_minus_log1p(mu);
    let eta = (2.0 * half).sqrt().copysign(mu);
    // coefficients of the expansion's first two terms around eta = 0
    let c0 = -1.0 / 3.0 + eta * (1.0 / 12.0 - eta * (2.0 / 135.0 - eta * (1.0 / 864.0 + eta / 2835.0)));
    let c1 = -1.0 / 540.0 - eta / 288.0;
    let r = (-a * half).exp() / (std::f64::consts::TAU * a).sqrt() * (c0 + c1 / a);
    let z = eta * (a / 2.0).sqrt();
    (0.5 * libm::erfc(-z) - r, 0.5 * libm::erfc(z) + r)
}

// where they have no value is not worth a call
#[inline]
pub fn lower(a: f64, x: f64) -> f64 {
    if a < 0.0 || x < 0.0 { f64::NAN } else { incomplete(a, x).0 }
}
#[inline]
pub fn upper(a: f64, x: f64) -> f64 {
    if a < 0.0 || x < 0.0 { f64::NAN } else { incomplete(a, x).1 }
}

fn lgamma(x: f64) -> f64 {
    if x == f64::NEG_INFINITY { f64::INFINITY } else { libm::lgamma(x) }
}

/// (sin, cos) of pi x, exact where they are 0 or 1; |x| < 2^51.
#[inline(always)]
fn sin_cos_pi<I: Isa>(x: f64) -> (f64, f64) {
    const MAGIC: f64 = 6755399441055744.0;
    let r = x - ((x + MAGIC) - MAGIC);
    // the sign of both is lost: no reflection wants it
    sin_cos::<I>(PI * r)
}

// the fit is of the quotient by (x - 1) (x - 2), the function's zeros
function!(
    Lgamma, [8, 5, -10, 12, |x| lgamma(x) / ((x - 1.0) * (x - 2.0))],
    near |fit, x, I| fit.at::<I>(x) * ((x - 1.0) * (x - 2.0)),
    far {
        let z = -x;
        let (s, _) = sin_cos_pi::<I>(x);
        log::<I>(PI / (z * s.abs())) - fit.at::<I>(z) * ((z - 1.0) * (z - 2.0))
    },
    exact lgamma
);

/// Derivative number N of digamma, N <= 4.
pub struct Psi<const N: u32>;

impl<const N: u32> Function for Psi<N> {
    type Table = Fit<9, 5>;
    const FAR: bool = true;
    fn table() -> Self::Table {
        static FITS: [std::sync::OnceLock<Fit<9, 5>>; 5] = [const { std::sync::OnceLock::new() }; 5];
        *FITS[N as usize].get_or_init(|| Fit::new(-8, 12, |x| polygamma(N, x)))
    }
    #[inline(always)]
    fn near<I: Isa>(fit: Self::Table, x: f64) -> f64 {
        fit.at::<I>(x)
    }
    /// Reflection (DLMF 5.15.6): derivative number N of pi cot(pi x), by the cotangent.
    #[inline(always)]
    fn far<I: Isa>(fit: Self::Table, x: f64) -> f64 {
        let (s, c) = sin_cos_pi::<I>(x);
        let cot = c / s;
        let rise = 1.0 + cot * cot;
        let other = fit.at::<I>(1.0 - x);
        let y = match N {
            0 => other - PI * cot,
            1 => PI * PI * rise - other,
            2 => other - 2.0 * PI.powi(3) * (cot * rise),
            3 => 2.0 * PI.powi(4) * (rise * (1.0 + 3.0 * cot * cot)) - other,
            _ => other - 8.0 * PI.powi(5) * (cot * rise * (2.0 + 3.0 * cot * cot)),
        };
        // what poles answer is the exact body's
        if s == 0.0 { f64::NAN } else { y }
    }
    fn exact(x: f64) -> f64 {
        polygamma(N, x)
    }
}

/// The row `trigamma`, which says at poles what the table's oracle does.
pub struct Trigamma;

impl Function for Trigamma {
    type Table = Fit<9, 5>;
    const FAR: bool = true;
    fn table() -> Self::Table {
        Psi::<1>::table()
    }
    #[inline(always)]
    fn near<I: Isa>(fit: Self::Table, x: f64) -> f64 {
        Psi::<1>::near::<I>(fit, x)
    }
    #[inline(always)]
    fn far<I: Isa>(fit: Self::Table, x: f64) -> f64 {
        Psi::<1>::far::<I>(fit, x)
    }
    fn exact(x: f64) -> f64 {
        special::trigamma(x)
    }
}

/// Rows that are computed one by one, as the oracle does.
macro_rules! one_by_one {
    ($($name:ident $f:path)*) => {$(
        pub struct $name;
        impl Function for $name {
            type Table = ();
            fn table() {}
            #[inline(always)]
            fn near<I: Isa>((): (), _: f64) -> f64 {
                f64::NAN
            }
            fn exact(x: f64) -> f64 {
                $f(x)
            }
        }
    )*};
}
one_by_one!(Digamma special::digamma TrigammaOne special::trigamma);
