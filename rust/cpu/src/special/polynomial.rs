//! Orthogonal polynomials of degree n (truncated to an integer) by their three-term recurrences (DLMF 18.9). A negative
//! degree gives 0.

/// p0 = 1, p1 = first, then `step(k, p_k, p_{k-1})`.
fn recurrence(n: f64, first: f64, step: impl Fn(f64, f64, f64) -> f64) -> f64 {
    if n.is_nan() || first.is_nan() {
        return f64::NAN;
    }
    let n = n.trunc();
    if n < 0.0 {
        return 0.0;
    }
    if n == 0.0 {
        return 1.0;
    }
    let (mut before, mut now, mut k) = (1.0, first, 1.0);
    while k < n && !now.is_nan() {
        (before, now) = (now, step(k, now, before));
        k += 1.0;
    }
    now
}

/// Degrees beyond this use the trigonometric form inside (-1, 1): the recurrence would take as many steps.
const LONG: f64 = 1000.0;

fn is_odd(n: f64) -> bool {
    n.trunc() % 2.0 != 0.0
}

pub fn chebyshev_t(x: f64, n: f64) -> f64 {
    if n >= 0.0 && x.abs() == 1.0 {
        return if x > 0.0 || !is_odd(n) { 1.0 } else { -1.0 };
    }
    if n > LONG && x.abs() < 1.0 {
        return (n.trunc() * x.acos()).cos();
    }
    recurrence(n, x, |_, p, q| 2.0 * x * p - q)
}
pub fn chebyshev_u(x: f64, n: f64) -> f64 {
    if n >= 0.0 && x.abs() == 1.0 {
        let size = n.trunc() + 1.0;
        return if x > 0.0 || !is_odd(n) { size } else { -size };
    }
    if n > LONG && x.abs() < 1.0 {
        let t = x.acos();
        return ((n.trunc() + 1.0) * t).sin() / t.sin();
    }
    recurrence(n, 2.0 * x, |_, p, q| 2.0 * x * p - q)
}
pub fn chebyshev_v(x: f64, n: f64) -> f64 {
    if n >= 0.0 && x.abs() == 1.0 {
        let size = if x > 0.0 { 1.0 } else { 2.0 * n.trunc() + 1.0 };
        return if x > 0.0 || !is_odd(n) { size } else { -size };
    }
    if n > LONG && x.abs() < 1.0 {
        let t = x.acos();
        return ((n.trunc() + 0.5) * t).cos() / (t / 2.0).cos();
    }
    recurrence(n, 2.0 * x - 1.0, |_, p, q| 2.0 * x * p - q)
}
pub fn chebyshev_w(x: f64, n: f64) -> f64 {
    if n >= 0.0 && x.abs() == 1.0 {
        let size = if x > 0.0 { 2.0 * n.trunc() + 1.0 } else { 1.0 };
        return if x > 0.0 || !is_odd(n) { size } else { -size };
    }
    if n > LONG && x.abs() < 1.0 {
        let t = x.acos();
        return ((n.trunc() + 0.5) * t).sin() / (t / 2.0).sin();
    }
    recurrence(n, 2.0 * x + 1.0, |_, p, q| 2.0 * x * p - q)
}
pub fn hermite_h(x: f64, n: f64) -> f64 {
    recurrence(n.min(1e4), 2.0 * x, |k, p, q| 2.0 * x * p - 2.0 * k * q)
}
pub fn hermite_he(x: f64, n: f64) -> f64 {
    recurrence(n.min(1e4), x, |k, p, q| x * p - k * q)
}
pub fn laguerre_l(x: f64, n: f64) -> f64 {
    if x == 0.0 && n >= 0.0 {
        return 1.0;
    }
    recurrence(n.min(1e6), 1.0 - x, |k, p, q| ((2.0 * k + 1.0 - x) * p - k * q) / (k + 1.0))
}
pub fn legendre_p(x: f64, n: f64) -> f64 {
    if n >= 0.0 && x.abs() == 1.0 {
        return if x > 0.0 || !is_odd(n) { 1.0 } else { -1.0 };
    }
    recurrence(n.min(1e6), x, |k, p, q| ((2.0 * k + 1.0) * x * p - k * q) / (k + 1.0))
}
