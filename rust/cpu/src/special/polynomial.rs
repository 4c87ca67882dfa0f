//! Orthogonal polynomials of degree n (truncated to an integer) by their three-term recurrences (DLMF 18.9). A negative
//! degree gives 0. A tile's recurrence goes up to its largest degree, and each element keeps its own.

use crate::versions::versions;

/// A family: p0 = 1, p1 = `first`, p(k + 1) = `step(k, x, p_k, p_{k-1})`.
pub trait Family {
    /// Degrees beyond this are computed as this one: the answer has overflowed, or nobody waits for it.
    const LAST: f64 = f64::INFINITY;
    fn first(x: f64) -> f64;
    fn step(k: f64, x: f64, p: f64, before: f64) -> f64;
    /// Where the value is known without the recurrence; `n` may be anything.
    fn known(_x: f64, _n: f64) -> Option<f64> {
        None
    }
    /// May `known` answer for a degree below `LONG`?
    fn is_known(_x: f64) -> bool {
        false
    }
    /// What the recurrence is given for x.
    #[inline(always)]
    fn argument(x: f64) -> f64 {
        x
    }
}

/// Degrees beyond this use the trigonometric form inside (-1, 1): the recurrence would take as many steps.
const LONG: f64 = 1000.0;
/// Up to this degree a tile runs together, and never beyond `LONG` or a family's `LAST`.
const TOGETHER: f64 = 64.0;
/// Elements that run together.
const TILE: usize = 256;

fn one<P: Family>(x: f64, n: f64) -> f64 {
    let x = P::argument(x);
    if let Some(y) = P::known(x, n) {
        return y;
    }
    let first = P::first(x);
    if n.is_nan() || n == f64::INFINITY || first.is_nan() {
        return f64::NAN;
    }
    // after the check: the smaller of a number and NaN would be the number, and the loop would not end
    let n = n.min(P::LAST).trunc();
    if n < 0.0 {
        return 0.0;
    }
    if n == 0.0 {
        return 1.0;
    }
    let (mut before, mut now, mut k) = (1.0, first, 1.0);
    while k < n && !now.is_nan() {
        (before, now) = (now, P::step(k, x, now, before));
        k += 1.0;
    }
    now
}

/// The elements of a tile whose degrees are at most `top`.
#[inline(always)]
fn together<P: Family>(x: &[f64], n: &[f64], y: &mut [f64], top: f64) {
    let (mut before, mut now) = ([1.0; TILE], [0.0; TILE]);
    // the same length for all, so that nothing is checked in the loops
    let count = x.len();
    let (n, y) = (&n[..count], &mut y[..count]);
    let (before, now) = (&mut before[..count], &mut now[..count]);
    for i in 0..count {
        now[i] = P::first(P::argument(x[i]));
        let low = if n[i] < 1.0 { 1.0 } else { now[i] };
        let low = if n[i] <= -1.0 { 0.0 } else { low };
        y[i] = if n[i].is_nan() || now[i].is_nan() { f64::NAN } else { low };
    }
    let mut k = 1.0;
    while k + 1.0 <= top {
        for i in 0..count {
            let next = P::step(k, P::argument(x[i]), now[i], before[i]);
            before[i] = now[i];
            now[i] = next;
            y[i] = if n[i] >= k + 1.0 { next } else { y[i] };
        }
        k += 1.0;
    }
}

#[inline(always)]
fn tiles<P: Family>(x: &[f64], n: &[f64], y: &mut [f64]) {
    for ((x, n), y) in x.chunks(TILE).zip(n.chunks(TILE)).zip(y.chunks_mut(TILE)) {
        let mut top = 0.0;
        let mut known = false;
        for (&x, &n) in x.iter().zip(n) {
            top = if n > top { n } else { top };
            known |= P::is_known(P::argument(x));
        }
        if top > TOGETHER || known {
            for ((&x, &n), y) in x.iter().zip(n).zip(y) {
                *y = one::<P>(x, n);
            }
        } else {
            together::<P>(x, n, y, top);
        }
    }
}

versions! {
    /// y = the polynomial of degree n at x; all have the same length.
    pub fn run[P: Family](x: &[f64], n: &[f64], y: &mut [f64]) = tiles::<P>
}

/// A family of 2 x - 1.
pub struct Shifted<P>(std::marker::PhantomData<P>);
impl<P: Family> Family for Shifted<P> {
    const LAST: f64 = P::LAST;
    #[inline(always)]
    fn first(x: f64) -> f64 {
        P::first(x)
    }
    #[inline(always)]
    fn step(k: f64, x: f64, p: f64, before: f64) -> f64 {
        P::step(k, x, p, before)
    }
    fn known(x: f64, n: f64) -> Option<f64> {
        P::known(x, n)
    }
    #[inline(always)]
    fn is_known(x: f64) -> bool {
        P::is_known(x)
    }
    #[inline(always)]
    fn argument(x: f64) -> f64 {
        2.0 * x - 1.0
    }
}

fn is_odd(n: f64) -> bool {
    n.trunc() % 2.0 != 0.0
}

/// `known` of a family that has the absolute values `at_one` and `at_minus_one` at the ends of [-1, 1], with the sign
/// of (-1)^n at the lower one, and `inside(n, acos x)` between them for long degrees.
fn ends(x: f64, n: f64, at_one: f64, at_minus_one: f64, inside: Option<fn(f64, f64) -> f64>) -> Option<f64> {
    if n >= 0.0 && x.abs() == 1.0 {
        return Some(match x > 0.0 {
            true => at_one,
            false if is_odd(n) => -at_minus_one,
            false => at_minus_one,
        });
    }
    match inside {
        Some(f) if n > LONG && x.abs() < 1.0 => Some(f(n.trunc(), x.acos())),
        Some(_) | None => None,
    }
}

/// A family's unit struct: p1 and the step over (k, x, p_k, p_{k-1}); what it knows, and of which x.
macro_rules! family {
    ($name:ident, $last:expr, |$x:ident| $first:expr, |$k:ident, $p:ident, $q:ident| $step:expr
        $(, known |$n:ident| $known:expr, if $when:expr)?) => {
        pub struct $name;
        impl Family for $name {
            const LAST: f64 = $last;
            #[inline(always)]
            fn first($x: f64) -> f64 {
                $first
            }
            #[inline(always)]
            fn step($k: f64, $x: f64, $p: f64, $q: f64) -> f64 {
                let _ = $k;
                $step
            }
            $(
                fn known($x: f64, $n: f64) -> Option<f64> {
                    $known
                }
                #[inline(always)]
                fn is_known($x: f64) -> bool {
                    $when
                }
            )?
        }
    };
}

const NO_END: f64 = f64::INFINITY;
family!(ChebyshevT, NO_END, |x| x, |k, p, q| 2.0 * x * p - q,
    known |n| ends(x, n, 1.0, 1.0, Some(|n, t| (n * t).cos())), if x.abs() == 1.0);
family!(ChebyshevU, NO_END, |x| 2.0 * x, |k, p, q| 2.0 * x * p - q,
    known |n| ends(x, n, n.trunc() + 1.0, n.trunc() + 1.0, Some(|n, t| ((n + 1.0) * t).sin() / t.sin())),
    if x.abs() == 1.0);
family!(ChebyshevV, NO_END, |x| 2.0 * x - 1.0, |k, p, q| 2.0 * x * p - q,
    known |n| ends(x, n, 1.0, 2.0 * n.trunc() + 1.0, Some(|n, t| ((n + 0.5) * t).cos() / (t / 2.0).cos())),
    if x.abs() == 1.0);
family!(ChebyshevW, NO_END, |x| 2.0 * x + 1.0, |k, p, q| 2.0 * x * p - q,
    known |n| ends(x, n, 2.0 * n.trunc() + 1.0, 1.0, Some(|n, t| ((n + 0.5) * t).sin() / (t / 2.0).sin())),
    if x.abs() == 1.0);
family!(HermiteH, 1e4, |x| 2.0 * x, |k, p, q| 2.0 * x * p - 2.0 * k * q);
family!(HermiteHe, 1e4, |x| x, |k, p, q| x * p - k * q);
family!(LaguerreL, 1e6, |x| 1.0 - x, |k, p, q| ((2.0 * k + 1.0 - x) * p - k * q) / (k + 1.0),
    known |n| (x == 0.0 && n >= 0.0).then_some(1.0), if x == 0.0);
family!(LegendreP, 1e6, |x| x, |k, p, q| ((2.0 * k + 1.0) * x * p - k * q) / (k + 1.0),
    known |n| ends(x, n, 1.0, 1.0, None), if x.abs() == 1.0);
