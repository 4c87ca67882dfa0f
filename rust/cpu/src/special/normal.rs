//! The standard normal's distribution function: its logarithm and its inverse.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::fit::{Function, function};
use crate::simd::lane::Isa;
use crate::simd::math_f64::{erfc, log, log1p};

/// log of the area up to x; far out by Laplace's continued fraction (Abramowitz and Stegun 26.2.14).
pub fn log_ndtr(x: f64) -> f64 {
    if x > -1.0 {
        return (-0.5 * libm::erfc(x * FRAC_1_SQRT_2)).ln_1p();
    }
    if x > -20.0 {
        return (0.5 * libm::erfc(-x * FRAC_1_SQRT_2)).ln();
    }
    if x.is_infinite() {
        return x;
    }
    let t = -x;
    let mut f = t;
    for k in (1..40).rev() {
        f = t + f64::from(k) / f;
    }
    -0.5 * x * x - 0.5 * TAU.ln() - f.ln()
}

/// The x with an area of p up to it: Abramowitz and Stegun 26.2.23, improved by Halley's method on the logarithm.
pub fn ndtri(p: f64) -> f64 {
    if !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    if p == 0.0 || p == 1.0 {
        return if p == 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if p == 0.5 {
        return 0.0;
    }
    if p > 0.5 {
        // 1 - p is exact here
        return -ndtri(1.0 - p);
    }
    let log = p.ln();
    let t = (-2.0 * log).sqrt();
    let near =
        (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    let mut x = near - t;
    for _ in 0..4 {
        // e = log Phi(x) - log p; near the middle its digits come from p itself
        let have = log_ndtr(x);
        let e = if p > 0.1 { (0.5 * libm::erfc(-x * FRAC_1_SQRT_2) - p) / p } else { have - log };
        let slope = (-0.5 * x * x - have).exp() / TAU.sqrt();
        let step = e / slope;
        let bend = -slope - x;
        x -= step / (1.0 - 0.5 * step * bend);
        if step.abs() < 1e-15 * x.abs() {
            break;
        }
    }
    x
}

// the fit is of the quotient by the distance from the middle, where the function is 0
function!(
    Ndtri, [8, 5, -24, -1, |p| ndtri(p) / (p - 0.5)],
    near |fit, p, I| {
        let (q, sign) = if p > 0.5 { (1.0 - p, -1.0) } else { (p, 1.0) };
        sign * fit.at::<I>(q) * (q - 0.5)
    },
    exact ndtri
);

/// log of the area up to x, from the smaller of the two areas.
pub struct LogNdtr;
impl Function for LogNdtr {
    type Table = ();
    fn table() {}
    #[inline(always)]
    fn near<I: Isa>((): (), x: f64) -> f64 {
        let area = 0.5 * erfc::<I>(x.abs() * FRAC_1_SQRT_2);
        let y = if x > 0.0 { log1p::<I>(-area) } else { log::<I>(area) };
        if x > -20.0 { y } else { f64::NAN }
    }
    fn exact(x: f64) -> f64 {
        log_ndtr(x)
    }
}
