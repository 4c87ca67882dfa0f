//! Normal draws in blocks of 16, as PyTorch makes them for 16 elements and more: eight radii from the first half of a
//! block, eight angles from the second. Scalar draws, with their cached half, are in `fill.rs`.

use super::fill::{each32, each64, unit32, unit64};
use super::mt19937::Mt19937;
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::Base;

/// Elements of a block: cosines fill its first half, sines its second.
pub const BLOCK: usize = 16;
const HALF: usize = BLOCK / 2;

/// Normal draws; `out` holds at least one block. A remainder is covered by redrawing the last block, as PyTorch does;
/// whether the remainder's own numbers are drawn first (`draw_rest`) depends on the dtype there.
pub fn normal_f32(rng: &mut Mt19937, out: &mut [f32], mean: f32, std: f32, draw_rest: bool) {
    let n = out.len();
    let whole = n - n % BLOCK;
    each32(rng, &mut out[..if draw_rest { n } else { whole }], unit32);
    parallel_f32(&mut out[..whole], mean, std);
    if whole != n {
        let tail = &mut out[n - BLOCK..];
        each32(rng, tail, unit32);
        transform_f32(tail, mean, std);
    }
}

/// As `normal_f32`, in double precision.
pub fn normal_f64(rng: &mut Mt19937, out: &mut [f64], mean: f64, std: f64) {
    let n = out.len();
    each64(rng, out, unit64);
    let whole = n - n % BLOCK;
    parallel_f64(&mut out[..whole], mean, std);
    if whole != n {
        let tail = &mut out[n - BLOCK..];
        each64(rng, tail, unit64);
        transform_f64(tail, mean, std);
    }
}

/// Blocks that are worth a thread.
const GRAIN: usize = 512;

fn parallel_f32(data: &mut [f32], mean: f32, std: f32) {
    let base = Base::new(data.as_mut_ptr().cast());
    parallel_for(data.len() / BLOCK, GRAIN, &|range| {
        // SAFETY: each range is a part of its own of the slice.
        let part =
            unsafe { std::slice::from_raw_parts_mut(base.at::<f32>(0).add(range.start * BLOCK), range.len() * BLOCK) };
        transform_f32(part, mean, std);
    });
}

fn parallel_f64(data: &mut [f64], mean: f64, std: f64) {
    let base = Base::new(data.as_mut_ptr().cast());
    parallel_for(data.len() / BLOCK, GRAIN / 8, &|range| {
        // SAFETY: as above.
        let part =
            unsafe { std::slice::from_raw_parts_mut(base.at::<f64>(0).add(range.start * BLOCK), range.len() * BLOCK) };
        transform_f64(part, mean, std);
    });
}

fn transform_f64(data: &mut [f64], mean: f64, std: f64) {
    for block in data.chunks_exact_mut(BLOCK) {
        for j in 0..HALF {
            let radius = (-2.0 * (1.0 - block[j]).ln()).sqrt();
            let (sin, cos) = (2.0 * std::f64::consts::PI * block[j + HALF]).sin_cos();
            block[j] = radius * cos * std + mean;
            block[j + HALF] = radius * sin * std + mean;
        }
    }
}

versions!(fn transform_f32[](data: &mut [f32], mean: f32, std: f32) = transform_body);

#[inline(always)]
fn transform_body(data: &mut [f32], mean: f32, std: f32) {
    for block in data.chunks_exact_mut(BLOCK) {
        let (a, b) = block.split_at_mut(HALF);
        for (a, b) in a.iter_mut().zip(b) {
            // the angle is rounded to float before its sine, as PyTorch does: the error is part of the number
            let radius = (-2.0 * ln(1.0 - *a)).sqrt();
            let (sin, cos) = sin_cos(std::f32::consts::TAU * *b);
            *a = radius * cos * std + mean;
            *b = radius * sin * std + mean;
        }
    }
}

/// Logarithm on [2^-24, 1] to 2 ulp: x = m 2^e with m in [sqrt(1/2), sqrt(2)), then the series of atanh.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    const LN2_HI: f32 = 0.693145751953125;
    const LN2_LO: f32 = 1.428606765330187e-6;
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let e = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x7f_ffff) + SQRT_HALF) - 1.0;
    // log(1 + m) = 2 s + 2 s^3 / 3 + ..., s = m / (2 + m), arranged so that the leading term m is exact
    let s = m / (2.0 + m);
    let z = s * s;
    let r = z * (0.66666667 + z * (0.4 + z * (0.28571430 + z * 0.23)));
    let half = 0.5 * m * m;
    e * LN2_HI + (m - (half - (s * (half + r) + e * LN2_LO)))
}

/// Sine and cosine on [0, 2 pi].
#[inline(always)]
fn sin_cos(x: f32) -> (f32, f32) {
    // adding and subtracting 1.5 * 2^23 rounds to an integer, which also stands in the low bits
    const ROUND: f32 = 12582912.0;
    // pi / 2 in three parts, the first two with zeros below, so that products with 0..4 are exact
    const P1: f32 = 1.5703125;
    const P2: f32 = 4.837512969970703e-4;
    const P3: f32 = 7.549789948768648e-8;
    let rounded = x * std::f32::consts::FRAC_2_PI + ROUND;
    let quadrant = rounded.to_bits();
    let k = rounded - ROUND;
    let r = ((x - k * P1) - k * P2) - k * P3;
    let z = r * r;
    let sin = r + r * z * (-0.16666667 + z * (8.333331e-3 + z * (-1.9840874e-4 + z * 2.7525562e-6)));
    let cos = 1.0 - 0.5 * z + z * z * (4.1666668e-2 + z * (-1.3888889e-3 + z * (2.4801587e-5 - z * 2.7557319e-7)));
    let swap = quadrant & 1 != 0;
    let (s, c) = if swap { (cos, sin) } else { (sin, cos) };
    let sign_s = (quadrant & 2) << 30;
    let sign_c = (quadrant.wrapping_add(1) & 2) << 30;
    (f32::from_bits(s.to_bits() ^ sign_s), f32::from_bits(c.to_bits() ^ sign_c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximations_hold_over_every_input() {
        // every value a draw can have
        let (mut worst_ln, mut worst_trig) = (0f64, 0f64);
        for bits in (0..1u32 << 24).step_by(7) {
            let u = unit32(bits);
            let want = ((1.0 - u) as f64).ln();
            worst_ln = worst_ln.max(((ln(1.0 - u) as f64 - want) / want.abs().max(1e-30)).abs());
            let x = std::f32::consts::TAU * u;
            let (s, c) = sin_cos(x);
            worst_trig = worst_trig.max((s as f64 - (x as f64).sin()).abs()).max((c as f64 - (x as f64).cos()).abs());
        }
        assert!(worst_ln < 2.5e-7, "{worst_ln}");
        assert!(worst_trig < 1.5e-7, "{worst_trig}");
    }
}
