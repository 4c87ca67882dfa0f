//! Bessel functions of orders 0 and 1. I by its power series (all terms positive) or, far out, its asymptotic series;
//! K by the trapezoidal rule on its integral, which converges geometrically; J and Y are libm's. What tiles are
//! computed with are fits of these (`fit`), of I and K scaled; J and Y beyond 32 by Hankel's expansions.

use std::f64::consts::PI;

use super::fit::function;
use crate::simd::lane::Isa;
use crate::simd::math_f64::{exp, poly, sin_cos};

/// Beyond this I's asymptotic series is exact to rounding: its smallest term is about exp(-2 x).
const ASYMPTOTIC: f64 = 20.0;
/// Below this K0 is taken from its series: the integral's range grows with -log x.
const SERIES: f64 = 1.0;
const EULER: f64 = 0.577_215_664_901_532_9;

/// exp(-x) I_n(x) for x >= 0 and n = 0, 1 (DLMF 10.25.2, 10.40.1).
fn scaled_i(order: u32, x: f64) -> f64 {
    let n = f64::from(order);
    if x.is_infinite() {
        return 0.0;
    }
    if x > ASYMPTOTIC {
        let (mut term, mut sum) = (1.0, 1.0);
        for k in 1..60 {
            let k = f64::from(k);
            let odd = 2.0 * k - 1.0;
            let next = -term * (4.0 * n * n - odd * odd) / (8.0 * x * k);
            if next.abs() < f64::EPSILON * 0.1 || next.abs() > term.abs() {
                break;
            }
            term = next;
            sum += term;
        }
        return sum / (std::f64::consts::TAU * x).sqrt();
    }
    series_i(order, x) * (-x).exp()
}

fn series_i(order: u32, x: f64) -> f64 {
    let n = f64::from(order);
    let q = x * x / 4.0;
    let mut term = if order == 0 { 1.0 } else { x / 2.0 };
    let mut sum = term;
    let mut k = 1.0;
    while term > sum * 1e-18 {
        term *= q / (k * (k + n));
        sum += term;
        k += 1.0;
    }
    sum
}

/// exp(x) I's scaled value without an early overflow of exp(x).
fn unscaled(scaled: f64, x: f64) -> f64 {
    let half = (x / 2.0).exp();
    half * scaled * half
}

pub fn i0e(x: f64) -> f64 {
    scaled_i(0, x.abs())
}
pub fn i1e(x: f64) -> f64 {
    scaled_i(1, x.abs()).copysign(x)
}
pub fn i0(x: f64) -> f64 {
    if x.abs() <= ASYMPTOTIC {
        return series_i(0, x.abs());
    }
    if x.is_infinite() { f64::INFINITY } else { unscaled(scaled_i(0, x.abs()), x.abs()) }
}
pub fn i1(x: f64) -> f64 {
    if x.abs() <= ASYMPTOTIC {
        return series_i(1, x.abs()).copysign(x);
    }
    if x.is_infinite() { x } else { unscaled(scaled_i(1, x.abs()), x.abs()).copysign(x) }
}

/// exp(x) K_v(x): the integral of exp(-x (cosh t - 1)) cosh(v t) over t > 0 (DLMF 10.32.9), by the trapezoidal rule.
pub fn scaled_k_integral(order: f64, x: f64) -> f64 {
    let h = (0.7 / x.sqrt()).min(0.2);
    let mut sum = 0.5;
    let mut t = h;
    loop {
        // cosh t - 1 = 2 sinh(t / 2)^2 keeps its digits near 0
        let s = (t / 2.0).sinh();
        let term = (-2.0 * x * s * s).exp() * (order * t).cosh();
        sum += term;
        if term < sum * 1e-18 {
            return sum * h;
        }
        t += h;
    }
}

/// K0 near 0 (DLMF 10.31.2).
fn series_k0(x: f64) -> f64 {
    let q = x * x / 4.0;
    let log = (x / 2.0).ln() + EULER;
    let (mut term, mut harmonic, mut sum, mut k) = (1.0, 0.0, 0.0, 1.0);
    while term > 1e-20 {
        term *= q / (k * k);
        harmonic += 1.0 / k;
        sum += term * harmonic;
        k += 1.0;
    }
    sum - log * series_i(0, x)
}

/// K1 from the Wronskian I0 K1 + I1 K0 = 1 / x.
fn series_k1(x: f64) -> f64 {
    (1.0 / x - series_i(1, x) * series_k0(x)) / series_i(0, x)
}

/// What a function of the second kind answers where it has no value.
fn outside(x: f64) -> Option<f64> {
    if x > 0.0 {
        None
    } else if x == 0.0 {
        Some(f64::INFINITY)
    } else {
        Some(f64::NAN)
    }
}

pub fn k0(x: f64) -> f64 {
    outside(x).unwrap_or_else(|| if x <= SERIES { series_k0(x) } else { k0e(x) * (-x).exp() })
}
pub fn k1(x: f64) -> f64 {
    outside(x).unwrap_or_else(|| if x <= SERIES { series_k1(x) } else { k1e(x) * (-x).exp() })
}
pub fn k0e(x: f64) -> f64 {
    outside(x).unwrap_or_else(|| scaled_k(0.0, x))
}
pub fn k1e(x: f64) -> f64 {
    outside(x).unwrap_or_else(|| scaled_k(1.0, x))
}
fn scaled_k(order: f64, x: f64) -> f64 {
    if x.is_infinite() {
        return 0.0;
    }
    if x <= SERIES {
        return x.exp() * if order == 0.0 { series_k0(x) } else { series_k1(x) };
    }
    scaled_k_integral(order, x)
}

pub fn j0(x: f64) -> f64 {
    if x.is_infinite() { 0.0 } else { libm::j0(x) }
}
pub fn j1(x: f64) -> f64 {
    if x.is_infinite() { 0.0 } else { libm::j1(x) }
}
pub fn y0(x: f64) -> f64 {
    if x == 0.0 { f64::NEG_INFINITY } else { libm::y0(x) }
}
pub fn y1(x: f64) -> f64 {
    if x == 0.0 { f64::NEG_INFINITY } else { libm::y1(x) }
}
pub fn spherical_j0(x: f64) -> f64 {
    if x.is_infinite() {
        0.0
    } else if x.abs() < 1e-4 {
        1.0 - x * x / 6.0
    } else {
        x.sin() / x
    }
}

/// Hankel's expansion of order 0 and 1 (DLMF 10.17): P and x Q in 1 / x^2.
const P0: [f64; 7] = [
    1.0,
    -0.0703125,
    0.112152099609375,
    -0.5725014209747314,
    6.074042001273483,
    -110.01714026924674,
    3038.0905109223841,
];
const Q0: [f64; 7] = [
    -0.125,
    0.0732421875,
    -0.22710800170898438,
    1.7277275025844574,
    -24.380529699556064,
    551.3358961220206,
    -18257.755474293174,
];
const P1: [f64; 7] = [
    1.0,
    0.1171875,
    -0.144195556640625,
    0.6765925884246826,
    -6.883914268109947,
    121.59789187653587,
    -3302.2722944808525,
];
const Q1: [f64; 7] = [
    0.375,
    -0.1025390625,
    0.2775764465332031,
    -1.993531733751297,
    27.248827311268542,
    -603.8440767050702,
    19718.375912236628,
];

/// The expansions' (P, Q), cos and sin of x, and sqrt(1 / (pi x)); NaN below 32 and where angles are not reduced.
#[inline(always)]
fn hankel<I: Isa>(x: f64, p: &[f64; 7], q: &[f64; 7]) -> (f64, f64, f64, f64, f64) {
    let z = 1.0 / (x * x);
    let (s, c) = sin_cos::<I>(x);
    let size = (1.0 / (PI * x)).sqrt();
    let size = if (32.0..1e6).contains(&x) { size } else { f64::NAN };
    (poly::<I, 7>(z, p), poly::<I, 7>(z, q) / x, c, s, size)
}
/// With the angle x - pi / 4.
#[inline(always)]
fn far_j0<I: Isa>(x: f64) -> f64 {
    let (p, q, c, s, size) = hankel::<I>(x, &P0, &Q0);
    size * (p * (c + s) - q * (s - c))
}
#[inline(always)]
fn far_y0<I: Isa>(x: f64) -> f64 {
    let (p, q, c, s, size) = hankel::<I>(x, &P0, &Q0);
    size * (p * (s - c) + q * (c + s))
}
/// With the angle x - 3 pi / 4.
#[inline(always)]
fn far_j1<I: Isa>(x: f64) -> f64 {
    let (p, q, c, s, size) = hankel::<I>(x, &P1, &Q1);
    size * (p * (s - c) + q * (s + c))
}
#[inline(always)]
fn far_y1<I: Isa>(x: f64) -> f64 {
    let (p, q, c, s, size) = hankel::<I>(x, &P1, &Q1);
    size * (q * (s - c) - p * (s + c))
}

/// exp(a) for a tile's scaled values, NaN where it would be infinite or 0: the exact body does without it there.
#[inline(always)]
fn scale<I: Isa>(a: f64) -> f64 {
    let e = exp::<I>(a);
    if a.abs() < 700.0 { e } else { f64::NAN }
}

function!(I0e, [8, 5, -6, 11, i0e], near |fit, x, I| fit.at::<I>(x.abs()), exact i0e);
function!(I1e, [8, 5, -6, 11, i1e], near |fit, x, I| fit.at::<I>(x.abs()).copysign(x), exact i1e);
function!(I0, [8, 5, -6, 10, i0e], near |fit, x, I| fit.at::<I>(x.abs()) * scale::<I>(x.abs()), exact i0);
function!(I1, [8, 5, -6, 10, i1e], near |fit, x, I| fit.at::<I>(x.abs()).copysign(x) * scale::<I>(x.abs()), exact i1);
function!(K0e, [8, 5, -8, 10, k0e], near |fit, x, I| fit.at::<I>(x), exact k0e);
function!(K1e, [8, 5, -8, 10, k1e], near |fit, x, I| fit.at::<I>(x), exact k1e);
function!(K0, [8, 5, -8, 10, k0e], near |fit, x, I| fit.at::<I>(x) * scale::<I>(-x), exact k0);
function!(K1, [8, 5, -8, 10, k1e], near |fit, x, I| fit.at::<I>(x) * scale::<I>(-x), exact k1);
function!(J0, [11, 5, -7, 5, j0], near |fit, x, I| fit.at::<I>(x.abs()), far far_j0::<I>(x.abs()), exact j0);
function!(
    J1, [11, 5, -7, 5, j1], near |fit, x, I| if x < 0.0 { -fit.at::<I>(-x) } else { fit.at::<I>(x) },
    far if x < 0.0 { -far_j1::<I>(-x) } else { far_j1::<I>(x) }, exact j1
);
function!(Y0, [11, 5, -7, 5, y0], near |fit, x, I| fit.at::<I>(x), far far_y0::<I>(x), exact y0);
function!(Y1, [11, 5, -7, 5, y1], near |fit, x, I| fit.at::<I>(x), far far_y1::<I>(x), exact y1);

/// sin(x) / x.
pub struct SphericalJ0;
impl super::fit::Function for SphericalJ0 {
    type Table = ();
    fn table() {}
    #[inline(always)]
    fn near<I: Isa>((): (), x: f64) -> f64 {
        let a = x.abs();
        let y = sin_cos::<I>(a).0 / a;
        if a <= crate::simd::math_f64::BIG_ANGLE { y } else { f64::NAN }
    }
    fn exact(x: f64) -> f64 {
        spherical_j0(x)
    }
}
