//! Airy's function Ai on the real line: its Maclaurin series in doubled precision near 0, where the two halves cancel;
//! Bessel's K of order 1/3 for large arguments, the asymptotic series for large negative ones (DLMF 9.4, 9.6, 9.7).

use super::bessel::scaled_k_integral;
use super::fit::{Fit, Function};
use crate::simd::lane::Isa;
use crate::simd::math_f64::exp;

/// The series is used between these.
const LOW: f64 = -9.5;
const HIGH: f64 = 2.0;
/// Ai(0) and -Ai'(0), each as a sum of two doubles.
const AT_ZERO: Double = Double(0.355_028_053_887_817_24, -2.053_368_901_588_343e-17);
const SLOPE: Double = Double(0.258_819_403_792_806_8, -1.759_261_911_562_797_3e-17);

/// A number as the unevaluated sum of two doubles.
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    fn sum(a: f64, b: f64) -> Double {
        let s = a + b;
        let t = s - a;
        Double(s, (a - (s - t)) + (b - t))
    }
    fn add(self, o: Double) -> Double {
        let s = Double::sum(self.0, o.0);
        Double::sum(s.0, s.1 + self.1 + o.1)
    }
    fn mul(self, o: Double) -> Double {
        let p = self.0 * o.0;
        let e = self.0.mul_add(o.0, -p) + self.0 * o.1 + self.1 * o.0;
        Double::sum(p, e)
    }
    fn div(self, d: f64) -> Double {
        let q = self.0 / d;
        let r = (-q).mul_add(d, self.0) + self.1;
        Double::sum(q, r / d)
    }
}

pub fn ai(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    // beyond these the exponential is 0, and the angle would be infinite
    if !(-1e200..=1e3).contains(&x) {
        return 0.0;
    }
    if x < LOW {
        return oscillating(-x);
    }
    if x <= HIGH {
        return maclaurin(x);
    }
    let zeta = exponent(x);
    (x / 3.0).sqrt() / std::f64::consts::PI * scaled_k_integral(1.0 / 3.0, zeta) * (-zeta).exp()
}

fn maclaurin(x: f64) -> f64 {
    let x = Double(x, 0.0);
    let cube = x.mul(x).mul(x);
    let (mut f, mut g) = (Double(1.0, 0.0), x);
    let (mut fs, mut gs) = (f, g);
    let mut k = 1.0;
    loop {
        f = f.mul(cube).div((3.0 * k - 1.0) * 3.0 * k);
        g = g.mul(cube).div(3.0 * k * (3.0 * k + 1.0));
        fs = fs.add(f);
        gs = gs.add(g);
        if f.0.abs() < 1e-30 && g.0.abs() < 1e-30 {
            break;
        }
        k += 1.0;
    }
    let g = SLOPE.mul(gs);
    AT_ZERO.mul(fs).add(Double(-g.0, -g.1)).0
}

/// Ai(-x) for large x.
fn oscillating(x: f64) -> f64 {
    let zeta = exponent(x);
    let (mut even, mut odd) = (0.0, 0.0);
    let mut term = 1.0;
    let mut k = 0.0;
    loop {
        // the signs of the terms go + + - -
        let sign = if (k as i64 / 2) % 2 == 0 { 1.0 } else { -1.0 };
        if k as i64 % 2 == 0 {
            even += sign * term;
        } else {
            odd += sign * term;
        }
        let next = term * (6.0 * k + 1.0) * (6.0 * k + 5.0) / (72.0 * (k + 1.0) * zeta);
        if next < 1e-18 || next > term {
            break;
        }
        term = next;
        k += 1.0;
    }
    let angle = zeta - std::f64::consts::FRAC_PI_4;
    (angle.cos() * even + angle.sin() * odd) / (std::f64::consts::PI.sqrt() * x.sqrt().sqrt())
}

/// Ai by fits: to the right of Ai exp(zeta), which is smooth; to the left of Ai itself.
pub struct AiryAi;
impl Function for AiryAi {
    type Table = (Fit<10, 4>, Fit<15, 4>);
    fn table() -> Self::Table {
        static FIT: std::sync::OnceLock<(Fit<10, 4>, Fit<15, 4>)> = std::sync::OnceLock::new();
        *FIT.get_or_init(|| (Fit::new(-5, 6, |x| ai(x) * exponent(x).exp()), Fit::new(-5, 4, |x| ai(-x))))
    }
    #[inline(always)]
    fn near<I: Isa>((right, left): Self::Table, x: f64) -> f64 {
        let a = x.abs();
        let positive = right.at::<I>(a) * exp::<I>(-exponent(a));
        if x > 0.0 { positive } else { left.at::<I>(a) }
    }
    fn exact(x: f64) -> f64 {
        ai(x)
    }
}

/// 2/3 x^1.5.
#[inline(always)]
fn exponent(x: f64) -> f64 {
    2.0 / 3.0 * x * x.sqrt()
}
