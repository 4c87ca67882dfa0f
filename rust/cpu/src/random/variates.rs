//! Draws by rejection, whose number of bits depends on the draws themselves: gamma, Poisson and binomial variates, one
//! for each element of their parameters. The algorithms are the published ones that PyTorch's CPU uses, in its order of
//! draws and its precision. Their gradients are in `implicit.rs`.

use rtorch_ir::{Result, ensure};

use super::fill::{normal_one, unit64};
use super::mt19937::Mt19937;

fn uniform(rng: &mut Mt19937) -> f64 {
    unit64(rng.random64())
}

/// A gamma variate of the given shape and scale 1 (Marsaglia & Tsang 2000); shapes below 1 through shape + 1.
/// `single`: the shape is a float, and what depends on it alone is computed as float.
pub fn gamma(rng: &mut Mt19937, shape: f64, single: bool) -> f64 {
    let round = |v: f64| if single { v as f32 as f64 } else { v };
    let (mut shape, mut scale) = (shape, 1.0);
    if shape < 1.0 {
        if shape == 0.0 {
            return 0.0;
        }
        scale = (1.0 - uniform(rng)).powf(round(1.0 / shape));
        shape = round(shape + 1.0);
    }
    // constants of PyTorch's formula are floats also where the rest is double
    let third = (1f32 / 3f32) as f64;
    let squeeze = 0.0331f32 as f64;
    let d = round(shape - third);
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let (x, y) = loop {
            let x = normal_one(rng, 0.0, 1.0);
            let y = 1.0 + c * x;
            if y > 0.0 {
                break (x, y);
            }
            if y.is_nan() {
                return f64::NAN;
            }
        };
        let v = y * y * y;
        let u = 1.0 - uniform(rng);
        let xx = x * x;
        if u < 1.0 - squeeze * xx * xx || u.ln() < 0.5 * xx + d * (1.0 - v + v.ln()) {
            return scale * d * v;
        }
    }
}

/// From this rate on Poisson variates come from transformed rejection.
const POISSON_REJECTION: f64 = 10.0;

/// A Poisson variate: products of uniforms for small rates (Knuth), transformed rejection for others (Hoermann 1993).
pub fn poisson(rng: &mut Mt19937, rate: f64) -> Result<f64> {
    ensure!(rate >= 0.0, runtime, "invalid Poisson rate, expected rate to be non-negative");
    if rate == 0.0 {
        return Ok(0.0);
    }
    if rate < POISSON_REJECTION {
        let floor = (-rate).exp();
        let (mut count, mut product) = (0.0, uniform(rng));
        while product > floor {
            count += 1.0;
            product *= uniform(rng);
        }
        return Ok(count);
    }
    let (root, log_rate) = (rate.sqrt(), rate.ln());
    let b = 0.931 + 2.53 * root;
    let a = -0.059 + 0.02483 * b;
    let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
    let ceiling = 0.9277 - 3.6224 / (b - 2.0);
    ensure!(rate.is_finite(), runtime, "invalid Poisson rate, expected rate to be finite");
    loop {
        let u = uniform(rng) - 0.5;
        let v = uniform(rng);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + rate + 0.43).floor();
        if us >= 0.07 && v <= ceiling {
            return Ok(k);
        }
        if k < 0.0 || (us < 0.013 && v > us) {
            continue;
        }
        let left = v.ln() + inverse_alpha.ln() - (a / (us * us) + b).ln();
        if left <= -rate + k * log_rate - libm::lgamma(k + 1.0) {
            return Ok(k);
        }
    }
}

/// From this expected count on binomial variates come from transformed rejection.
const BINOMIAL_REJECTION: f64 = 10.0;

/// A binomial variate: waiting times for small expected counts (Devroye 1986), transformed rejection for others.
pub fn binomial(rng: &mut Mt19937, count: f64, prob: f64) -> f64 {
    if count <= 0.0 || prob <= 0.0 {
        return 0.0;
    }
    if prob >= 1.0 {
        return count;
    }
    if prob.is_nan() || count.is_nan() {
        return f64::NAN;
    }
    let rare = if prob <= 0.5 { prob } else { 1.0 - prob };
    let drawn = if count * rare >= BINOMIAL_REJECTION {
        binomial_rejection(rng, count, rare)
    } else {
        binomial_waiting(rng, count, rare)
    };
    if prob <= 0.5 { drawn } else { count - drawn }
}

fn binomial_waiting(rng: &mut Mt19937, count: f64, prob: f64) -> f64 {
    let log_miss = (-prob).ln_1p();
    let (mut waited, mut hits) = (0.0, 0.0);
    loop {
        waited += (uniform(rng).ln() / log_miss).ceil();
        if waited > count {
            return hits;
        }
        hits += 1.0;
    }
}

/// Hoermann's BTRS (1993, "The generation of binomial random variates").
fn binomial_rejection(rng: &mut Mt19937, count: f64, prob: f64) -> f64 {
    let deviation = (count * prob * (1.0 - prob)).sqrt();
    let b = 1.15 + 2.53 * deviation;
    let a = -0.0873 + 0.0248 * b + 0.01 * prob;
    let c = count * prob + 0.5;
    let ceiling = 0.92 - 4.2 / b;
    let odds = prob / (1.0 - prob);
    let alpha = (2.83 + 5.1 / b) * deviation;
    let mode = ((count + 1.0) * prob).floor();
    loop {
        let u = uniform(rng) - 0.5;
        let v = uniform(rng);
        let us = 0.5 - u.abs();
        let k = ((2.0 * a / us + b) * u + c).floor();
        if k < 0.0 || k > count {
            continue;
        }
        if us >= 0.07 && v <= ceiling {
            return k;
        }
        let v = (v * alpha / (a / (us * us) + b)).ln();
        let bound = (mode + 0.5) * ((mode + 1.0) / (odds * (count - mode + 1.0))).ln()
            + (count + 1.0) * ((count - mode + 1.0) / (count - k + 1.0)).ln()
            + (k + 0.5) * (odds * (count - k + 1.0) / (k + 1.0)).ln()
            + stirling_tail(mode)
            + stirling_tail(count - mode)
            - stirling_tail(k)
            - stirling_tail(count - k);
        if v <= bound {
            return k;
        }
    }
}

/// ln k! less Stirling's approximation of it at k + 1.
fn stirling_tail(k: f64) -> f64 {
    let n = k + 1.0;
    if k <= 9.0 {
        let half_log_two_pi = 0.918_938_533_204_672_8;
        return libm::lgamma(n) - ((k + 0.5) * n.ln() - n + half_log_two_pi);
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / 1260.0 / square) / square) / n
}
