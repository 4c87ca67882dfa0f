//! Functions of one argument as polynomials between grid points that follow each other geometrically: the grid's number
//! of a point is in the bits of its float. The polynomials come from the slow exact body on first use, so that nothing
//! but that body says what a function's values are; elements that they do not cover go to it one by one.
//! Not here: which functions there are (`bessel`, `airy`, `gamma`, `normal`).

use crate::simd::lane::Isa;
use crate::simd::math_f64::poly;
use crate::versions::versions;

/// Polynomials of N coefficients for arguments from 2^a up to 2^b, 2^K to an octave.
#[derive(Clone, Copy)]
pub struct Fit<const N: usize, const K: u32> {
    /// Number of the first piece.
    first: u64,
    pieces: &'static [[f64; N]],
}

impl<const N: usize, const K: u32> Fit<N, K> {
    /// Interpolates `value` at Chebyshev's points of every piece between 2^from and 2^to.
    pub fn new(from: i32, to: i32, value: impl Fn(f64) -> f64) -> Fit<N, K> {
        let first = 2f64.powi(from).to_bits() >> (52 - K);
        let count = (to - from) as u64 * (1 << K);
        // few enough digits that the points are floats
        let nodes: [f64; N] = std::array::from_fn(|j| {
            let angle = std::f64::consts::PI * (j as f64 + 0.5) / N as f64;
            (angle.cos() * 1048576.0).round() / 1048576.0
        });
        let pieces: Vec<[f64; N]> = (first..first + count)
            .map(|i| {
                let (low, high) = (f64::from_bits(i << (52 - K)), f64::from_bits((i + 1) << (52 - K)));
                let (middle, half) = (0.5 * (low + high), 0.5 * (high - low));
                interpolate(&nodes, nodes.map(|t| value(middle + half * t)))
            })
            .collect();
        Fit { first, pieces: Box::leak(pieces.into_boxed_slice()) }
    }

    /// The value at x; NaN outside.
    #[inline(always)]
    pub fn at<I: Isa>(self, x: f64) -> f64 {
        const MANTISSA: u64 = 0x000f_ffff_ffff_ffff;
        let bits = x.to_bits();
        let i = (bits >> (52 - K)).wrapping_sub(self.first);
        let inside = i < self.pieces.len() as u64;
        // the place between the piece's ends, as a number from 2 to 4
        let t = f64::from_bits(((bits << K) & MANTISSA) | 0x4000_0000_0000_0000) - 3.0;
        // SAFETY: there is at least one piece, and the number is below their count.
        let c = unsafe { self.pieces.get_unchecked(if inside { i as usize } else { 0 }) };
        let y = poly::<I, N>(t, c);
        if inside { y } else { f64::NAN }
    }
}

/// Coefficients of the polynomial through (nodes, values): Newton's divided differences, multiplied out.
fn interpolate<const N: usize>(nodes: &[f64; N], values: [f64; N]) -> [f64; N] {
    let mut d = values;
    for level in 1..N {
        for j in (level..N).rev() {
            d[j] = (d[j] - d[j - 1]) / (nodes[j] - nodes[j - level]);
        }
    }
    let mut c = [0.0; N];
    c[0] = d[N - 1];
    for level in (0..N - 1).rev() {
        // c (t - node) + d
        for j in (1..N).rev() {
            c[j] = c[j - 1] - nodes[level] * c[j];
        }
        c[0] = d[level] - nodes[level] * c[0];
    }
    c
}

/// A function in the order in which its forms are tried: the next one where the last answers NaN.
pub trait Function {
    type Table: Copy;
    /// Is there a `far`?
    const FAR: bool = false;
    /// What `near` needs, made on first use.
    fn table() -> Self::Table;
    fn near<I: Isa>(table: Self::Table, x: f64) -> f64;
    fn far<I: Isa>(_table: Self::Table, _x: f64) -> f64 {
        f64::NAN
    }
    fn exact(x: f64) -> f64;
}

#[inline(always)]
fn near<I: Isa, F: Function>(table: F::Table, x: &[f64], y: &mut [f64]) -> bool {
    let mut missing = false;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = F::near::<I>(table, x);
        missing |= y.is_nan();
    }
    missing
}

#[inline(always)]
fn far<I: Isa, F: Function>(table: F::Table, x: &[f64], y: &mut [f64]) -> bool {
    let mut missing = false;
    for (y, &x) in y.iter_mut().zip(x) {
        let other = F::far::<I>(table, x);
        *y = if y.is_nan() { other } else { *y };
        missing |= y.is_nan();
    }
    missing
}

#[inline(always)]
fn evaluate<I: Isa, F: Function>(x: &[f64], y: &mut [f64]) {
    let table = F::table();
    let mut missing = near::<I, F>(table, x, y);
    if missing && F::FAR {
        missing = far::<I, F>(table, x, y);
    }
    if missing {
        for (y, &x) in y.iter_mut().zip(x) {
            if y.is_nan() {
                *y = F::exact(x);
            }
        }
    }
}

versions! {
    /// y = F(x); both have the same length.
    pub fn run[F: Function](x: &[f64], y: &mut [f64]) = evaluate::<I, F>
}

/// A unit struct that is a `Function`: its fit (coefficients, pieces to an octave as a power of 2, exponents of its
/// range, value) and its forms over the table, the argument and the instruction set.
macro_rules! function {
    ($name:ident, [$n:literal, $k:literal, $from:literal, $to:literal, $value:expr],
        near |$fit:ident, $x:ident, $isa:ident| $near:expr, $(far $far:expr,)? exact $exact:expr) => {
        pub struct $name;
        impl $crate::special::fit::Function for $name {
            type Table = $crate::special::fit::Fit<$n, $k>;
            fn table() -> Self::Table {
                static FIT: std::sync::OnceLock<$crate::special::fit::Fit<$n, $k>> = std::sync::OnceLock::new();
                *FIT.get_or_init(|| $crate::special::fit::Fit::new($from, $to, $value))
            }
            #[inline(always)]
            fn near<$isa: $crate::simd::lane::Isa>($fit: Self::Table, $x: f64) -> f64 {
                $near
            }
            $(
                const FAR: bool = true;
                #[inline(always)]
                fn far<$isa: $crate::simd::lane::Isa>($fit: Self::Table, $x: f64) -> f64 {
                    let _ = $fit;
                    $far
                }
            )?
            fn exact(x: f64) -> f64 {
                ($exact)(x)
            }
        }
    };
}
pub(crate) use function;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::lane::Baseline;

    #[test]
    fn a_fit_is_exact_at_both_ends_of_its_pieces_and_nan_outside() {
        let fit = Fit::<9, 5>::new(-3, 4, |x: f64| x.sqrt());
        for x in [0.125, 0.124999 + 1e-3, 0.2, 0.99999999999, 1.0, 1.03125, 7.3, 15.999999999] {
            let (have, want) = (fit.at::<Baseline>(x), x.sqrt());
            assert!((have - want).abs() <= 4e-16 * want, "{x}: {have} {want}");
        }
        for x in [0.0, 0.1249999, 16.0, -1.0, f64::INFINITY, f64::NAN] {
            assert!(fit.at::<Baseline>(x).is_nan(), "{x}");
        }
    }
}
