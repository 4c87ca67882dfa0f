//! Bessel functions of orders 0 and 1. I by its power series (all terms positive) or, far out, its asymptotic series;
//! K by the trapezoidal rule on its integral, which converges geometrically; J and Y are libm's.

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
