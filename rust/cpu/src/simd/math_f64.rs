//! Transcendental functions of one f64, branch-free so that loops over them vectorise: 1 to 2 ulp in f64, and more than
//! enough for an f32 that goes through f64. Polynomials are minimax fits (Remez exchange in 50 digits); their errors
//! are beside them. Not here: f32's own fast versions (`math_f32`), the slow scalar rest (`libm`).

use super::lane::Isa;

const LN2_HI: f64 = 6.931_471_803_691_238_164_9e-1;
const LN2_LO: f64 = 1.908_214_929_270_587_700_02e-10;
/// Adding it to a number below 2^51 rounds to an integer, which then stands in the low bits.
const MAGIC: f64 = 6755399441055744.0;

#[inline(always)]
pub fn fma<I: Isa>(a: f64, b: f64, c: f64) -> f64 {
    if I::FMA { a.mul_add(b, c) } else { a * b + c }
}

/// c[0] + c[1] x + ... by Estrin's scheme (see `math_f32`).
#[inline(always)]
pub fn poly<I: Isa, const N: usize>(x: f64, c: &[f64; N]) -> f64 {
    let mut p = *c;
    let mut power = x;
    let mut n = N;
    while n > 1 {
        let mut i = 0;
        while 2 * i < n {
            p[i] = if 2 * i + 1 < n { fma::<I>(p[2 * i + 1], power, p[2 * i]) } else { p[2 * i] };
            i += 1;
        }
        n = n.div_ceil(2);
        power *= power;
    }
    p[0]
}

/// x limited to [lo, hi]; NaN stays.
#[inline(always)]
fn clamp(x: f64, lo: f64, hi: f64) -> f64 {
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// 2^k for k in [-2044, 2046] as two factors.
#[inline(always)]
fn pow2_halves(magic_sum: f64) -> (f64, f64) {
    // logical shifts only: AVX2 has no arithmetic one on 64 bits
    let k = magic_sum.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(4096);
    let half = k >> 1;
    let rest = k - half;
    let scale = |k: u64| f64::from_bits(k.wrapping_add(1023).wrapping_sub(2048) << 52);
    (scale(half), scale(rest))
}

/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, 2^-70.5.
const EXP_Q: [f64; 12] = [
    0.5,
    0.16666666666666666,
    0.041666666666666706,
    0.008333333333333269,
    0.0013888888888865679,
    0.0001984126984147471,
    2.4801587360717154e-05,
    2.755731893325646e-06,
    2.7557243733022503e-07,
    2.5052288860878446e-08,
    2.0923913254889387e-09,
    1.6029360413633072e-10,
];

/// The same to 2^-34, for results that are rounded to f32.
const EXP_Q_SINGLE: [f64; 6] = [
    0.5000000067806628,
    0.16666665864879907,
    0.04166629441979422,
    0.00833349770077971,
    0.0013944701516774697,
    0.0001979014842747754,
];

/// x = n ln 2 + r: (n + MAGIC, expm1(r)).
#[inline(always)]
fn exp_parts<I: Isa, const N: usize>(x: f64, q: &[f64; N]) -> (f64, f64) {
    let t = fma::<I>(x, std::f64::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, x);
    let r = fma::<I>(-n, LN2_LO, r);
    (t, fma::<I>(r * r, poly::<I, N>(r, q), r))
}

#[inline(always)]
pub fn exp<I: Isa>(x: f64) -> f64 {
    let (t, p) = exp_parts::<I, 12>(clamp(x, -746.0, 710.0), &EXP_Q);
    let (a, b) = pow2_halves(t);
    (1.0 + p) * a * b
}

#[inline(always)]
pub fn exp2<I: Isa>(x: f64) -> f64 {
    let x = clamp(x, -1080.0, 1030.0);
    let t = x + MAGIC;
    let r = (x - (t - MAGIC)) * std::f64::consts::LN_2;
    let (a, b) = pow2_halves(t);
    (1.0 + fma::<I>(r * r, poly::<I, 12>(r, &EXP_Q), r)) * a * b
}

/// exp to f32's precision, 0 and infinity where f32 has them.
#[inline(always)]
pub fn exp_single<I: Isa>(x: f64) -> f64 {
    let (t, p) = exp_parts::<I, 6>(clamp(x, -200.0, 200.0), &EXP_Q_SINGLE);
    let k = t.to_bits().wrapping_sub(MAGIC.to_bits());
    f64::from_bits((1.0 + p).to_bits().wrapping_add(k << 52))
}

#[inline(always)]
pub fn expm1<I: Isa>(x: f64) -> f64 {
    let (t, p) = exp_parts::<I, 12>(clamp(x, -60.0, 710.0), &EXP_Q);
    let (a, b) = pow2_halves(t);
    // (2^n - 1 + 2^n p) with half the scale, so that n = 1024 does not overflow too early
    let h = a * (0.5 * b);
    let y = 2.0 * fma::<I>(h, p, h - 0.5);
    if x == 0.0 { x } else { y }
}

/// (2 atanh(s) / s - 2) / s^2 for z = s^2, |s| <= 0.172, 2^-65.7.
const LOG_P: [f64; 8] = [
    0.6666666666666666,
    0.4000000000000633,
    0.28571428569058493,
    0.2222222265093914,
    0.1818177533266132,
    0.15387105371804222,
    0.13249787232771518,
    0.13254350540549184,
];

/// The same to 2^-51, for results that are rounded to f32.
const LOG_P_SINGLE: [f64; 6] = [
    0.6666666666658623,
    0.4000000005281211,
    0.28571417035326724,
    0.22223378828234835,
    0.18123399645719268,
    0.16822869613768465,
];

#[inline(always)]
pub fn log<I: Isa>(x: f64) -> f64 {
    log_with::<I, 8>(x, &LOG_P)
}

/// log to far more than f32's precision.
#[inline(always)]
pub fn log_single<I: Isa>(x: f64) -> f64 {
    log_with::<I, 6>(x, &LOG_P_SINGLE)
}

/// x = 2^e (1 + f) for x > 0, sqrt(1/2) <= 1 + f < sqrt(2): (e, f).
#[inline(always)]
fn log_parts(x: f64) -> (f64, f64) {
    const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
    let tiny = x < f64::MIN_POSITIVE;
    let scaled = if tiny { x * 18014398509481984.0 } else { x };
    let ix = scaled.to_bits().wrapping_sub(SQRT_HALF);
    // the exponent with a bias that keeps it positive, as a float without a 64-bit conversion
    let e = f64::from_bits((ix.wrapping_add(1024 << 52) >> 52) | 0x4330_0000_0000_0000) - (4503599627370496.0 + 1024.0);
    let f = f64::from_bits((ix & 0x000f_ffff_ffff_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    (if tiny { e - 54.0 } else { e }, f)
}

/// log(1 + f) = f - f^2/2 + rest: (f^2/2, rest).
#[inline(always)]
fn log_rest<I: Isa, const N: usize>(f: f64, p: &[f64; N]) -> (f64, f64) {
    let s = f / (2.0 + f);
    let z = s * s;
    let half = 0.5 * f * f;
    (half, s * (half + z * poly::<I, N>(z, p)))
}

/// What every logarithm says of 0, infinity, negative numbers and NaN. Bits are compared: of comparisons with special
/// floats LLVM makes class tests.
#[inline(always)]
fn log_edges(x: f64, y: f64) -> f64 {
    let bits = x.to_bits();
    let edge = if (bits as i64) < 0 { f64::NAN } else { x };
    let edge = if bits << 1 == 0 { f64::NEG_INFINITY } else { edge };
    if bits.wrapping_sub(1) >= 0x7fef_ffff_ffff_ffff { edge } else { y }
}

#[inline(always)]
fn log_with<I: Isa, const N: usize>(x: f64, p: &[f64; N]) -> f64 {
    let (e, f) = log_parts(x);
    let (half, rest) = log_rest::<I, N>(f, p);
    log_edges(x, e * LN2_HI - ((half - (rest + e * LN2_LO)) - f))
}

/// log(x) to another base: `scale` is 1 / log(base), `two` log(2) to the base, each as a sum whose first part is short
/// enough that its product with a short number is exact.
#[inline(always)]
fn log_to<I: Isa>(x: f64, scale: [f64; 2], two: [f64; 2]) -> f64 {
    let (e, f) = log_parts(x);
    let (half, rest) = log_rest::<I, 8>(f, &LOG_P);
    let hi = f64::from_bits((f - half).to_bits() & 0xffff_ffff_0000_0000);
    let lo = ((f - hi) - half) + rest;
    let y = e * two[0];
    let top = hi * scale[0];
    let sum = y + top;
    let low = fma::<I>(lo + hi, scale[1], lo * scale[0]) + e * two[1];
    log_edges(x, sum + (((y - sum) + top) + low))
}

/// The product's rounded value and what it lost.
#[inline(always)]
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let p = a * b;
    (p, a.mul_add(b, -p))
}

/// The sum's rounded value and what it lost, for |a| >= |b|.
#[inline(always)]
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    (s, b - (s - a))
}

/// log(x) of x > 0 as the sum of two floats, to about 2^-65; needs a fused product and sum.
#[inline(always)]
fn log_double<I: Isa>(x: f64) -> (f64, f64) {
    let (e, f) = log_parts(x);
    // s = f / (2 + f) with its remainder; 2 + f may lose its last bit
    let (u, u_low) = two_sum(2.0, f);
    let s = f / u;
    let s_low = ((-s).mul_add(u, f) - s * u_low) / u;
    // 2 atanh(s) = 2 s + s z (2/3 + z rest)
    let (z, z_low) = two_product(s, s);
    let z_low = 2.0 * s * s_low + z_low;
    let rest = poly::<I, 7>(z, &[LOG_P[1], LOG_P[2], LOG_P[3], LOG_P[4], LOG_P[5], LOG_P[6], LOG_P[7]]);
    let (c, c_low) = two_sum(LOG_P[0], z * rest);
    let c_low = c_low + TWO_THIRDS_LOW;
    let (w, w_low) = two_product(z, c);
    let w_low = w_low + z * c_low + z_low * c;
    let (v, v_low) = two_product(s, w);
    let v_low = v_low + s * w_low + s_low * w;
    let (a, a_low) = two_sum(2.0 * s, v);
    // the exponent's part is 0 or the larger one, its upper half times a whole number exact
    let (y, y_low) = two_sum(e * LN2_HI, a);
    two_sum(y, y_low + (a_low + (2.0 * s_low + v_low) + e * LN2_LO))
}
/// What 2/3 lost to `LOG_P[0]`.
const TWO_THIRDS_LOW: f64 = 3.700743415417188e-17;

/// a^b: exp(b log|a|) with both factors of the exponent's product doubled, and C's rules for signs, zeros, infinities
/// and NaN (as `math_f32::pow`).
#[inline(always)]
pub fn pow<I: Isa>(a: f64, b: f64) -> f64 {
    if !I::FMA {
        return libm::pow(a, b);
    }
    let m = a.abs();
    let (hi, lo) = log_double::<I>(m);
    // zeros, infinities and NaN
    let edge = log_edges(m, 1.0);
    let hi = if edge == 1.0 { hi } else { edge };
    let (p, p_low) = two_product(b, hi);
    let p_low = b.mul_add(lo, p_low);
    let c = clamp(p, -746.0, 710.0);
    let low = if p.abs() < 746.0 { p_low } else { 0.0 };
    let t = c.mul_add(std::f64::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = (-n).mul_add(LN2_HI, c);
    let (r, r_low) = {
        let tail = n * LN2_LO;
        let top = r - tail;
        (top, ((r - top) - tail) + low)
    };
    let q = (r * r).mul_add(poly::<I, 12>(r, &EXP_Q), r);
    let q = q + r_low.mul_add(q, r_low);
    let (x, y) = pow2_halves(t);
    let y = (1.0 + q) * x * y;
    let magnitude = b.abs();
    // beyond 2^53 every float is even
    let whole = magnitude >= 4503599627370496.0 || (magnitude + 4503599627370496.0) - 4503599627370496.0 == magnitude;
    let half = magnitude * 0.5;
    let even = magnitude >= 9007199254740992.0 || (half + 4503599627370496.0) - 4503599627370496.0 == half;
    // -0.0 and -inf keep their sign for odd powers, and are no error for other ones
    let y = if whole && !even { y.copysign(a) } else { y };
    let y = if a < 0.0 && m < f64::INFINITY && !whole { f64::NAN } else { y };
    let y = if m == 1.0 && magnitude == f64::INFINITY { 1.0 } else { y };
    if b == 0.0 || a == 1.0 { 1.0 } else { y }
}

const LOG2_E_HI: f64 = 1.4426946640014648;
const LOG2_E_LO: f64 = 3.768874985636099e-07;
const LOG10_E_HI: f64 = 0.4342944622039795;
const LOG10_E_LO: f64 = 1.9699272335463627e-08;
const LOG10_2_HI: f64 = 0.30102992057800293;
const LOG10_2_LO: f64 = 7.508597826552624e-08;

#[inline(always)]
pub fn log2<I: Isa>(x: f64) -> f64 {
    log_to::<I>(x, [LOG2_E_HI, LOG2_E_LO], [1.0, 0.0])
}

#[inline(always)]
pub fn log10<I: Isa>(x: f64) -> f64 {
    log_to::<I>(x, [LOG10_E_HI, LOG10_E_LO], [LOG10_2_HI, LOG10_2_LO])
}

#[inline(always)]
pub fn log1p<I: Isa>(x: f64) -> f64 {
    let u = 1.0 + x;
    // what the sum lost, to first order
    let c = if x > 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let y = log::<I>(u) + c / u;
    let y = if u == 0.0 { f64::NEG_INFINITY } else { y };
    if x == 0.0 || x == f64::INFINITY { x } else { y }
}

#[inline(always)]
pub fn tanh<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let t = expm1::<I>(2.0 * if a > 22.0 { 22.0 } else { a });
    (t / (t + 2.0)).copysign(x)
}

#[inline(always)]
pub fn sigmoid<I: Isa>(x: f64) -> f64 {
    let z = exp::<I>(-x.abs());
    (if x >= 0.0 { 1.0 } else { z }) / (1.0 + z)
}

#[inline(always)]
pub fn sinh<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let t = expm1::<I>(if a > 30.0 { 30.0 } else { a });
    let small = 0.5 * (t + t / (t + 1.0));
    let w = exp::<I>(0.5 * a);
    let y = if a > 22.0 { (0.5 * w) * w } else { small };
    (if x.is_nan() { x } else { y }).copysign(x)
}

#[inline(always)]
pub fn cosh<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let e = exp::<I>(if a > 30.0 { 30.0 } else { a });
    let w = exp::<I>(0.5 * a);
    let y = if a > 22.0 { (0.5 * w) * w } else { fma::<I>(0.5, e, 0.5 / e) };
    if x.is_nan() { x } else { y }
}

// ---- error functions

/// erf(x)/x - 1 in z = x^2, |x| <= 0.9, 2^-56 of erf.
const ERF_P: [f64; 12] = [
    0.1283791670955126,
    -0.3761263890318373,
    0.11283791670953794,
    -0.02686617064482373,
    0.0052239776217703725,
    -0.0008548326764466543,
    0.00012055321382481122,
    -1.492530753550859e-05,
    1.6455328747938096e-06,
    -1.6276526722586205e-07,
    1.4051482766989913e-08,
    -8.493998797080943e-10,
];

/// erfc(x) exp(x^2) (1 + 2x) in (x - 4) / (x + 4), 0 <= x <= 27.3, 2^-53.7.
const ERFC_P: [f64; 23] = [
    1.2329951186255526,
    -0.13962111684056286,
    0.015379652102621091,
    0.0680970542547336,
    -0.10103906603637362,
    0.09373283499690535,
    -0.0663303658110103,
    0.03716751556105671,
    -0.016197734065502876,
    0.005031969765051122,
    -0.0007577732963739462,
    -0.00019925553476007838,
    0.0001506220523230599,
    -2.4403160497192634e-05,
    -1.1224293594679385e-05,
    5.718067004785881e-06,
    3.006053020270926e-07,
    -8.356886054802244e-07,
    6.326381936013846e-08,
    1.1597564919712835e-07,
    -7.796210935750394e-09,
    -1.3952812123042384e-08,
    -1.907388627007971e-09,
];

/// exp(-a^2) for 0 <= a <= 27.3. The square is taken of the upper half of a, exactly; the rest is a small factor.
#[inline(always)]
fn exp_square<I: Isa>(a: f64) -> f64 {
    let upper = f64::from_bits(a.to_bits() & 0xffff_ffff_f800_0000);
    let d = (a - upper) * (a + upper);
    let factor = 1.0 - d * (1.0 - d * (0.5 - d * (1.0 / 6.0)));
    exp::<I>(-upper * upper) * factor
}

/// erfc(a) for a >= 0.
#[inline(always)]
fn erf_tail<I: Isa>(a: f64) -> f64 {
    // 0 from 27.23 on
    let a = if a > 27.3 { 27.3 } else { a };
    let p = poly::<I, 23>((a - 4.0) / (a + 4.0), &ERFC_P);
    p / (1.0 + 2.0 * a) * exp_square::<I>(a)
}

/// exp(x^2) erfc(x).
#[inline(always)]
pub fn erfcx<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let p = poly::<I, 23>((a - 4.0) / (a + 4.0), &ERFC_P) / (1.0 + 2.0 * a);
    // beyond the fit a few terms of the asymptotic series (Abramowitz and Stegun 7.1.23) are exact to rounding
    let z = 0.5 / (a * a);
    let far = 0.5641895835477563 / a * poly::<I, 7>(z, &[1.0, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0]);
    let y = if a > 27.0 { far } else { p };
    // the square's lower half is a small factor, as in `exp_square`
    let b = if a > 27.0 { 27.0 } else { a };
    let upper = f64::from_bits(b.to_bits() & 0xffff_ffff_f800_0000);
    let d = (b - upper) * (b + upper);
    let square = exp::<I>(upper * upper) * (1.0 + d * (1.0 + d * (0.5 + d * (1.0 / 6.0))));
    let left = if a > 26.7 { f64::INFINITY } else { 2.0 * square - y };
    let y = if x < 0.0 { left } else { y };
    if x.is_nan() { x } else { y }
}

/// erf(a) for 0 <= a <= 0.9.
#[inline(always)]
fn erf_small<I: Isa>(a: f64) -> f64 {
    fma::<I>(a, poly::<I, 12>(a * a, &ERF_P), a)
}

#[inline(always)]
pub fn erf<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    (if a > 0.9 { 1.0 - erf_tail::<I>(a) } else { erf_small::<I>(a) }).copysign(x)
}

#[inline(always)]
pub fn erfc<I: Isa>(x: f64) -> f64 {
    let y = erf_tail::<I>(x.abs());
    let near = 1.0 - erf_small::<I>(x);
    let y = if x < 0.0 { 2.0 - y } else { y };
    if x.abs() < 0.7 { near } else { y }
}

/// erfinv(y)/y in w = -log(1 - y^2): for w <= 6.25, 2^-27.
const ERFINV_P: [f64; 12] = [
    0.8862269321334385,
    0.23201335866451225,
    0.011551690841981101,
    -0.002342115187818864,
    -0.000117254054779661,
    3.688937516146023e-05,
    7.483479678450654e-06,
    -2.961524084575842e-06,
    3.877813748628871e-07,
    -2.4261502157134663e-08,
    5.866375716851732e-10,
    2.357528333465035e-12,
];
/// Beyond, in sqrt(w) up to 6.1, 2^-23.
const ERFINV_FAR: [f64; 12] = [
    3.799792912647361,
    -6.487210734998234,
    6.152279894735784,
    -2.809077313058008,
    0.727869062003893,
    -0.07882458090309802,
    -0.012313433288125356,
    0.006228077583717867,
    -0.0011158341895600307,
    0.00011027476003407411,
    -5.961881287518573e-06,
    1.3855039397112172e-07,
];

/// The inverse of erf to 2^-23, by the variable of M. Giles, "Approximating the erfinv function" (2012).
#[inline(always)]
pub fn erfinv_start<I: Isa>(y: f64) -> f64 {
    let a = y.abs();
    let w = -log_single::<I>((1.0 - a) * (1.0 + a));
    let near = poly::<I, 12>(w, &ERFINV_P);
    let far = poly::<I, 12>(w.sqrt(), &ERFINV_FAR);
    let x = y * if w > 6.25 { far } else { near };
    if a == 1.0 { f64::INFINITY.copysign(y) } else { x }
}

/// One step of Halley's method from there, on erf or, towards 1, on erfc.
#[inline(always)]
pub fn erfinv<I: Isa>(y: f64) -> f64 {
    let x = erfinv_start::<I>(y);
    let (a, target) = (x.abs(), y.abs());
    let e = if a > 0.9 { (1.0 - target) - erf_tail::<I>(a) } else { erf_small::<I>(a) - target };
    let slope = std::f64::consts::FRAC_2_SQRT_PI * exp::<I>(-a * a);
    let u = e / slope;
    let better = (a - u / fma::<I>(a, u, 1.0)).copysign(y);
    if target < 1.0 { better } else { x }
}

// ---- trigonometry

/// Angles beyond this go through the exact reduction (`sin_big` ...): here k pi/2 has at most 20 bits in k.
pub const BIG_ANGLE: f64 = 1.6e6;
const PIO2_1: f64 = 1.570_796_326_734_125_614_17;
const PIO2_2: f64 = 6.077_100_506_303_965_976_6e-11;
const PIO2_3: f64 = 2.022_266_248_795_950_631_54e-21;

/// (sin(r)/r - 1) / r^2 in z = r^2, |r| <= pi/4, 2^-58 relative.
const SIN_P: [f64; 6] = [
    -0.16666666666666632,
    0.008333333333322314,
    -0.0001984126982972507,
    2.7557313662018816e-06,
    -2.5050753259379645e-08,
    1.5896504687692686e-10,
];
/// (cos(r) - 1 + r^2/2) / r^4 in z = r^2, 2^-64.
const COS_P: [f64; 6] = [
    0.0416666666666666,
    -0.001388888888887399,
    2.4801587289394957e-05,
    -2.7557314326039994e-07,
    2.0875719559996484e-09,
    -1.1359448747336517e-11,
];

/// x = k pi/2 + r with |r| <= pi/4: (k + MAGIC, r), for |x| <= `BIG_ANGLE`.
#[inline(always)]
pub fn reduce_angle<I: Isa>(x: f64) -> (f64, f64) {
    let t = fma::<I>(x, std::f64::consts::FRAC_2_PI, MAGIC);
    let k = t - MAGIC;
    let r = fma::<I>(-k, PIO2_1, x);
    let w = k * PIO2_2;
    let y = r - w;
    let lost = (r - y) - w;
    (t, y + fma::<I>(-k, PIO2_3, lost))
}

#[inline(always)]
pub fn sin_cos<I: Isa>(x: f64) -> (f64, f64) {
    let (t, r) = reduce_angle::<I>(x);
    let z = r * r;
    let s = fma::<I>(r * z, poly::<I, 6>(z, &SIN_P), r);
    let c = fma::<I>(z * z, poly::<I, 6>(z, &COS_P), fma::<I>(-0.5, z, 1.0));
    let q = t.to_bits();
    let (a, b) = if q & 1 == 0 { (s, c) } else { (c, s) };
    let sin = f64::from_bits(a.to_bits() ^ ((q & 2) << 62));
    let cos = f64::from_bits(b.to_bits() ^ (((q + 1) & 2) << 62));
    (if x == 0.0 { x } else { sin }, cos)
}

/// (atan(x)/x - 1) / x^2 in z = x^2, |x| <= tan(pi/8), 2^-64.
const ATAN_P: [f64; 12] = [
    -0.33333333333333326,
    0.19999999999997647,
    -0.14285714285385173,
    0.11111111087999648,
    -0.09090908138056888,
    0.07692282611481097,
    -0.06666224572787194,
    0.05877000304156124,
    -0.05218265400618531,
    0.04502981769457455,
    -0.03346118346933484,
    0.015181613850685368,
];

/// atan(n/d) for n, d >= 0, not both 0 and not both infinite.
#[inline(always)]
fn atan_ratio<I: Isa>(n: f64, d: f64) -> f64 {
    use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};
    // tan(pi/8) and its inverse part the three cases
    let middle = n > 0.4142135623730950488 * d;
    let large = n > 2.4142135623730950488 * d;
    let (num, den, base) = if middle { (n - d, n + d, FRAC_PI_4) } else { (n, d, 0.0) };
    let (num, den, base) = if large { (-d, n, FRAC_PI_2) } else { (num, den, base) };
    let y = num / den;
    let z = y * y;
    base + fma::<I>(y * z, poly::<I, 12>(z, &ATAN_P), y)
}

#[inline(always)]
pub fn atan<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    atan_ratio::<I>(if a > 1e300 { 1e300 } else { a }, 1.0).copysign(x)
}

#[inline(always)]
pub fn atan2<I: Isa>(y: f64, x: f64) -> f64 {
    let (ay, ax) = (y.abs(), x.abs());
    // infinities become large finite numbers of the right ratio, two zeros the angle 0
    let both = ay == f64::INFINITY && ax == f64::INFINITY;
    let n = if both {
        1.0
    } else if ay == f64::INFINITY {
        1e300
    } else {
        ay
    };
    let d = if both {
        1.0
    } else if ax == f64::INFINITY {
        1e300
    } else {
        ax
    };
    let n = if ax == f64::INFINITY && !both { 0.0 } else { n };
    let d = if ay == f64::INFINITY && !both { 0.0 } else { d };
    let d = if n == 0.0 && d == 0.0 { 1.0 } else { d };
    let a = atan_ratio::<I>(n, d);
    let a = if x.is_sign_negative() { std::f64::consts::PI - a } else { a };
    let a = a.copysign(y);
    if x.is_nan() || y.is_nan() { f64::NAN } else { a }
}

/// (asin(x)/x - 1) / x^2 in z = x^2 <= 0.25, 2^-63.8.
const ASIN_P: [f64; 14] = [
    0.1666666666666666,
    0.0750000000000256,
    0.04464285713965771,
    0.030381944646356088,
    0.022372151547913388,
    0.017352946388334543,
    0.013961859050507876,
    0.011586110804681192,
    0.009481078122743061,
    0.01002372095004985,
    0.0006352553193815463,
    0.02492960850911187,
    -0.026283276585019742,
    0.0337212251920992,
];

/// asin of min(a, sqrt((1 - a) / 2)) for a = |x|, and whether a > 0.5.
#[inline(always)]
fn asin_core<I: Isa>(a: f64) -> (f64, bool) {
    let large = a > 0.5;
    let z = if large { 0.5 * (1.0 - a) } else { a * a };
    let s = if large { z.sqrt() } else { a };
    (fma::<I>(s * z, poly::<I, 14>(z, &ASIN_P), s), large)
}

#[inline(always)]
pub fn asin<I: Isa>(x: f64) -> f64 {
    let (c, large) = asin_core::<I>(x.abs());
    (if large { fma::<I>(-2.0, c, std::f64::consts::FRAC_PI_2) } else { c }).copysign(x)
}

#[inline(always)]
pub fn acos<I: Isa>(x: f64) -> f64 {
    let (c, large) = asin_core::<I>(x.abs());
    let far = if x > 0.0 { 2.0 * c } else { fma::<I>(-2.0, c, std::f64::consts::PI) };
    if large { far } else { std::f64::consts::FRAC_PI_2 - c.copysign(x) }
}

/// Beyond this the inverse hyperbolic functions are log(2x).
const FAR: f64 = 1e9;

#[inline(always)]
pub fn asinh<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let far = a > FAR;
    let s = a * a;
    let near = a + s / (1.0 + (s + 1.0).sqrt());
    let y = log1p::<I>(if far { a - 1.0 } else { near }) + if far { std::f64::consts::LN_2 } else { 0.0 };
    y.copysign(x)
}

#[inline(always)]
pub fn acosh<I: Isa>(x: f64) -> f64 {
    let far = x > FAR;
    let t = x - 1.0;
    let near = t + (t * (t + 2.0)).sqrt();
    let y = log1p::<I>(if far { t } else { near }) + if far { std::f64::consts::LN_2 } else { 0.0 };
    if x < 1.0 { f64::NAN } else { y }
}

/// sqrt(x^2 + y^2), the operands scaled by a power of two where their squares would leave the range.
#[inline(always)]
pub fn hypot<I: Isa>(x: f64, y: f64) -> f64 {
    const BIG: f64 = 1e150;
    const SMALL: f64 = 1e-145;
    // 2^600 and its inverse
    const UP: f64 = 4.149515568880993e180;
    const DOWN: f64 = 2.409919865102884e-181;
    let (a, b) = (x.abs(), y.abs());
    let most = if a > b { a } else { b };
    let scale = if most > BIG { DOWN } else { 1.0 };
    let scale = if most < SMALL { UP } else { scale };
    let back = if most > BIG { UP } else { 1.0 };
    let back = if most < SMALL { DOWN } else { back };
    let (p, q) = (a * scale, b * scale);
    let h = fma::<I>(p, p, q * q).sqrt() * back;
    if a == f64::INFINITY || b == f64::INFINITY { f64::INFINITY } else { h }
}

#[inline(always)]
pub fn atanh<I: Isa>(x: f64) -> f64 {
    let a = x.abs();
    let y = 0.5 * log1p::<I>(2.0 * a / (1.0 - a));
    (if a == 1.0 { f64::INFINITY } else { y }).copysign(x)
}
