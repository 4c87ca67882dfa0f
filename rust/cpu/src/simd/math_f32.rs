//! Transcendental functions of one f32 that are worth their own fast version: at most 2 ulp over the whole range,
//! branch-free so that loops over them vectorise. Polynomials are minimax fits (Remez exchange in 50 digits).
//! Not here: the functions that go through f64 (`real` calls `math_f64`).

use super::lane::Isa;
use super::math_f64;

const LN2_HI: f32 = 0.693359375;
const LN2_LO: f32 = -2.12194440e-4;
/// Adding it to a number below 2^22 rounds to an integer, which then stands in the low bits.
const MAGIC: f32 = 12582912.0;

#[inline(always)]
fn fma<I: Isa>(a: f32, b: f32, c: f32) -> f32 {
    if I::FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn poly<I: Isa, const N: usize>(x: f32, c: &[f32; N]) -> f32 {
    let mut p = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        p = fma::<I>(p, x, c[i]);
    }
    p
}

#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, 2^-34.
const EXP_Q: [f32; 6] =
    [0.5, 0.1666666567325592, 0.04166629537940025, 0.008333497680723667, 0.0013944701058790088, 0.00019790147780440748];

/// y 2^k for the k in the low bits of `t`, in two steps: the result may be denormal or overflow, the factors not.
#[inline(always)]
fn scale(y: f32, t: f32) -> f32 {
    let k = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let half = k >> 1;
    let pow2 = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
    y * pow2(half) * pow2(k.wrapping_sub(half))
}

#[inline(always)]
pub fn exp<I: Isa>(x: f32) -> f32 {
    let x = clamp(x, -104.0, 89.0);
    let t = fma::<I>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, x);
    let r = fma::<I>(-n, LN2_LO, r);
    scale(fma::<I>(r * r, poly::<I, 6>(r, &EXP_Q), r) + 1.0, t)
}

/// exp(-a) for a in [0, 87]: never denormal, one factor of scale.
#[inline(always)]
fn exp_neg<I: Isa>(a: f32) -> f32 {
    let t = fma::<I>(a, -std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, -a);
    let r = fma::<I>(-n, LN2_LO, r);
    let p = fma::<I>(r * r, poly::<I, 6>(r, &EXP_Q), r) + 1.0;
    let k = t.to_bits().wrapping_sub(MAGIC.to_bits());
    f32::from_bits(p.to_bits().wrapping_add(k << 23))
}

#[inline(always)]
pub fn exp2<I: Isa>(x: f32) -> f32 {
    let x = clamp(x, -151.0, 129.0);
    let t = x + MAGIC;
    let r = (x - (t - MAGIC)) * std::f32::consts::LN_2;
    scale(fma::<I>(r * r, poly::<I, 6>(r, &EXP_Q), r) + 1.0, t)
}

/// (log1p(f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2), 2^-30.
const LOG_P: [f32; 9] = [
    0.3333331346511841,
    -0.25000008940696716,
    0.2000211775302887,
    -0.16667994856834412,
    0.14219559729099274,
    -0.12405604124069214,
    0.11888125538825989,
    -0.11675558984279633,
    0.0674661323428154,
];

#[inline(always)]
pub fn log<I: Isa>(x: f32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8388608.0 } else { x };
    let ix = scaled.to_bits().wrapping_sub(SQRT_HALF);
    let e = ((ix as i32) >> 23) as f32;
    let e = if tiny { e - 23.0 } else { e };
    let f = f32::from_bits((ix & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    let z = f * f;
    let y = fma::<I>(e, LN2_LO, f * z * poly::<I, 9>(f, &LOG_P));
    let y = f + fma::<I>(-0.5, z, y);
    let y = fma::<I>(e, LN2_HI, y);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 || x.is_nan() { f32::NAN } else { y }
}

/// (tanh(x)/x - 1) / x^2 in z = x^2, |x| <= 0.625, 2^-32.6.
const TANH_P: [f32; 6] = [
    -0.3333333134651184,
    0.13333210349082947,
    -0.05394720286130905,
    0.021702967584133148,
    -0.008182674646377563,
    0.0021475376561284065,
];

#[inline(always)]
pub fn tanh<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = fma::<I>(a * z, poly::<I, 6>(z, &TANH_P), a);
    // (1 - e) / (1 + e), e = exp(-2a); 1 to the last bit from 9.02 on
    let e = exp_neg::<I>(if a > 10.0 { 20.0 } else { 2.0 * a });
    let large = (1.0 - e) / (1.0 + e);
    (if a > 0.625 { large } else { small }).copysign(x)
}

#[inline(always)]
pub fn sigmoid<I: Isa>(x: f32) -> f32 {
    let z = exp::<I>(-x.abs());
    (if x >= 0.0 { 1.0 } else { z }) / (1.0 + z)
}

/// erf(x)/x - 1 in z = x^2, |x| <= 0.9, 2^-31.7.
const ERF_P: [f32; 7] = [
    0.12837916612625122,
    -0.37612634897232056,
    0.11283719539642334,
    -0.026860753074288368,
    0.005204436369240284,
    -0.0008181928424165463,
    8.538844849681482e-05,
];
/// -log(erfc(t)) for 0.9 <= t <= 4, 2^-33.9 of erf.
const ERF_G: [f32; 8] = [
    -0.00016895165026653558,
    1.129487156867981,
    0.6334033608436584,
    0.10821757465600967,
    -0.025078779086470604,
    0.00415555015206337,
    -0.0004312469100113958,
    2.0815838070120662e-05,
];

#[inline(always)]
pub fn erf<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = fma::<I>(a, poly::<I, 7>(z, &ERF_P), a);
    // 1 to the last bit from 3.92 on
    let t = if a > 4.0 { 4.0 } else { a };
    let large = 1.0 - exp_neg::<I>(poly::<I, 8>(t, &ERF_G));
    (if a > 0.9 { large } else { small }).copysign(x)
}

/// (sin(r)/r - 1) / r^2 and (cos(r) - 1 + r^2/2) / r^4 in z = r^2, |r| <= pi/4, 2^-37 and 2^-43.
const SIN_P: [f32; 4] = [-0.1666666716337204, 0.008333329111337662, -0.00019839327433146536, 2.71823728326126e-06];
const COS_P: [f32; 4] = [0.0416666679084301, -0.0013888883404433727, 2.479951217537746e-05, -2.7209580366616137e-07];

/// Sine (`QUARTER` 0) or cosine (1) for |x| <= `math_f64::BIG_ANGLE`: the angle is reduced in f64.
#[inline(always)]
pub fn sin_quarter<I: Isa, const QUARTER: u64>(x: f32) -> f32 {
    let (t, r) = math_f64::reduce_angle::<I>(x as f64);
    let r = r as f32;
    let q = (t.to_bits() + QUARTER) as u32;
    let z = r * r;
    let s = fma::<I>(r * z, poly::<I, 4>(z, &SIN_P), r);
    let c = fma::<I>(z * z, poly::<I, 4>(z, &COS_P), fma::<I>(-0.5, z, 1.0));
    let y = if q & 1 == 0 { s } else { c };
    let y = f32::from_bits(y.to_bits() ^ ((q & 2) << 30));
    if QUARTER == 0 && x == 0.0 { x } else { y }
}

/// a^b: exp(b log|a|) in f64, and C's rules for signs, zeros, infinities and NaN.
#[inline(always)]
pub fn pow<I: Isa>(a: f32, b: f32) -> f32 {
    let m = a.abs();
    let y = math_f64::exp::<I>(b as f64 * math_f64::log::<I>(m as f64)) as f32;
    // beyond 2^24 every float is even
    let magnitude = b.abs();
    let whole = magnitude >= 8388608.0 || (magnitude + 8388608.0) - 8388608.0 == magnitude;
    let half = magnitude * 0.5;
    let even = magnitude >= 16777216.0 || (half + 8388608.0) - 8388608.0 == half;
    let odd = whole && !even;
    // -0.0 and -inf keep their sign for odd powers, and are no error for other ones
    let y = if odd { y.copysign(a) } else { y };
    let y = if a < 0.0 && m < f32::INFINITY && !whole { f32::NAN } else { y };
    let y = if m == 1.0 && magnitude == f32::INFINITY { 1.0 } else { y };
    if b == 0.0 || a == 1.0 { 1.0 } else { y }
}
