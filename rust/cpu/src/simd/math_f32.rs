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

/// c[0] + c[1] x + ... by Estrin's scheme: pairs first, so that a few steps follow each other and not N. A kernel's
/// speed is set by how many elements the CPU can work on at once, and long chains fill its queues.
#[inline(always)]
fn poly<I: Isa, const N: usize>(x: f32, c: &[f32; N]) -> f32 {
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

#[inline(always)]
fn clamp(x: f32, lo: f32, hi: f32) -> f32 {
    let x = if x > hi { hi } else { x };
    if x < lo { lo } else { x }
}

/// (exp(r) - 1 - r) / r^2 for |r| <= ln(2)/2, 2^-28.
const EXP_Q: [f32; 5] =
    [0.4999999403953552, 0.1666652113199234, 0.04166838899254799, 0.00836874544620514, 0.001381455222144723];

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
    scale(fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r) + 1.0, t)
}

#[inline(always)]
pub fn expm1<I: Isa>(x: f32) -> f32 {
    let c = clamp(x, -20.0, 89.0);
    let t = fma::<I>(c, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, c);
    let r = fma::<I>(-n, LN2_LO, r);
    let p = fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r);
    // 2^n (1 + p) - 1 with half the scale, so that n = 128 does not overflow too early
    let k = t.to_bits().wrapping_sub(MAGIC.to_bits());
    let h = f32::from_bits(k.wrapping_add(126) << 23);
    let y = 2.0 * fma::<I>(h, p, h - 0.5);
    if x == 0.0 { x } else { y }
}

/// exp(-a) for a in [0, 87]: never denormal, one factor of scale.
#[inline(always)]
fn exp_neg<I: Isa>(a: f32) -> f32 {
    let t = fma::<I>(a, -std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, -a);
    let r = fma::<I>(-n, LN2_LO, r);
    let p = fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r) + 1.0;
    let k = t.to_bits().wrapping_sub(MAGIC.to_bits());
    f32::from_bits(p.to_bits().wrapping_add(k << 23))
}

#[inline(always)]
pub fn exp2<I: Isa>(x: f32) -> f32 {
    let x = clamp(x, -151.0, 129.0);
    let t = x + MAGIC;
    let r = (x - (t - MAGIC)) * std::f32::consts::LN_2;
    scale(fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r) + 1.0, t)
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

/// x = 2^e (1 + f) for x > 0, sqrt(1/2) <= 1 + f < sqrt(2): (e, f).
#[inline(always)]
fn log_parts(x: f32) -> (i32, f32) {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8388608.0 } else { x };
    let ix = scaled.to_bits().wrapping_sub(SQRT_HALF);
    let e = (ix as i32) >> 23;
    let f = f32::from_bits((ix & 0x007f_ffff).wrapping_add(SQRT_HALF)) - 1.0;
    (if tiny { e - 23 } else { e }, f)
}

/// log(1 + f) - f for the f of `log_parts`.
#[inline(always)]
fn log_rest<I: Isa>(f: f32) -> f32 {
    let z = f * f;
    fma::<I>(-0.5, z, f * z * poly::<I, 9>(f, &LOG_P))
}

/// What every logarithm says of 0, infinity, negative numbers and NaN. Bits are compared: of comparisons with special
/// floats LLVM makes class tests, which take longer than the logarithm.
#[inline(always)]
fn log_edges(x: f32, y: f32) -> f32 {
    let bits = x.to_bits();
    let edge = if (bits as i32) < 0 { f32::NAN } else { x };
    let edge = if bits << 1 == 0 { f32::NEG_INFINITY } else { edge };
    if bits.wrapping_sub(1) >= 0x7f7f_ffff { edge } else { y }
}

#[inline(always)]
pub fn log<I: Isa>(x: f32) -> f32 {
    let (e, f) = log_parts(x);
    let e = e as f32;
    let z = f * f;
    let y = fma::<I>(e, LN2_LO, f * z * poly::<I, 9>(f, &LOG_P));
    let y = f + fma::<I>(-0.5, z, y);
    log_edges(x, fma::<I>(e, LN2_HI, y))
}

#[inline(always)]
pub fn log2<I: Isa>(x: f32) -> f32 {
    // log2(e) in two parts: the first times f is exact enough with FMA, and nearly so without
    const HI: f32 = 1.4423828125;
    const LO: f32 = 0.00031222839606925845;
    let (e, f) = log_parts(x);
    let e = e as f32;
    let rest = log_rest::<I>(f);
    let y = fma::<I>(rest, HI, (f + rest) * LO);
    log_edges(x, fma::<I>(f, HI, y) + e)
}

#[inline(always)]
pub fn log10<I: Isa>(x: f32) -> f32 {
    // log10(2) and log10(e), the first part short enough that its product with e is exact
    const TWO_HI: f32 = 0.301025390625;
    const TWO_LO: f32 = 4.605039066518657e-06;
    const E_HI: f32 = 0.4342041015625;
    const E_LO: f32 = 9.038033749675378e-05;
    let (e, f) = log_parts(x);
    let e = e as f32;
    let rest = log_rest::<I>(f);
    let y = fma::<I>(e, TWO_LO, fma::<I>(f + rest, E_LO, rest * E_HI));
    log_edges(x, fma::<I>(e, TWO_HI, fma::<I>(f, E_HI, y)))
}

#[inline(always)]
pub fn log1p<I: Isa>(x: f32) -> f32 {
    let u = 1.0 + x;
    // what the sum lost goes back into f, at the scale of the mantissa
    let c = if x > 1.0 { 1.0 - (u - x) } else { x - (u - 1.0) };
    let (k, f) = log_parts(u);
    let e = k as f32;
    // (of the largest numbers nothing is lost that counts)
    let shrink = f32::from_bits(((127 - if k > 127 { 127 } else { k }) as u32) << 23);
    let f = fma::<I>(c, shrink, f);
    let z = f * f;
    let y = fma::<I>(e, LN2_LO, f * z * poly::<I, 9>(f, &LOG_P));
    let y = f + fma::<I>(-0.5, z, y);
    let y = log_edges(u, fma::<I>(e, LN2_HI, y));
    if x == 0.0 { x } else { y }
}

#[inline(always)]
pub fn atanh<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let y = 0.5 * log1p::<I>(2.0 * a / (1.0 - a));
    (if a == 1.0 { f32::INFINITY } else { y }).copysign(x)
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
    // exp(|x|) = 2^n (1 + p): with 2^n taken out of 1 / (1 + exp(|x|)) nothing is rounded twice
    let a = x.abs();
    let a = if a > 104.0 { 104.0 } else { a };
    let t = fma::<I>(a, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, a);
    let r = fma::<I>(-n, LN2_LO, r);
    let p = fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r);
    let k = (t.to_bits() as i32).wrapping_sub(MAGIC.to_bits() as i32);
    let pow2 = |k: i32| f32::from_bits((k.wrapping_add(127) as u32) << 23);
    let small = pow2(-(if k > 100 { 100 } else { k }));
    let one = 1.0 + small;
    let lost = small - (one - 1.0);
    let den = one + (p + lost);
    let half = k >> 1;
    let below = (1.0 / den) * pow2(-half) * pow2(half - k);
    let y = if x >= 0.0 { 1.0 - below } else { below };
    if x.is_nan() { x } else { y }
}

/// erf(x)/x - 1 in z = x^2, |x| <= 0.9, 2^-26.3.
const ERF_P: [f32; 6] = [
    0.12837915122509003,
    -0.3761253356933594,
    0.11282230168581009,
    -0.02678195759654045,
    0.00501622911542654,
    -0.0006111294496804476,
];
/// -log2(erfc(t)) for 0.9 <= t <= 4, 2^-29 of erf.
const ERF_G: [f32; 7] = [
    0.00023834577586967498,
    1.627074956893921,
    0.9189494848251343,
    0.15021558105945587,
    -0.032199542969465256,
    0.004423957318067551,
    -0.0002861132088582963,
];
/// (2^f - 1) / f for |f| <= 1/2, 2^-28.9 of 2^f.
const EXP2_P: [f32; 6] = [
    0.6931471824645996,
    0.24022647738456726,
    0.05550331994891167,
    0.00961843878030777,
    0.0013399003073573112,
    0.00015353258640971035,
];

#[inline(always)]
pub fn erf<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = fma::<I>(a, poly::<I, 6>(z, &ERF_P), a);
    // 1 - 2^-g; 1 to the last bit from 3.92 on
    let g = poly::<I, 7>(if a > 4.0 { 4.0 } else { a }, &ERF_G);
    let t = MAGIC - g;
    let f = (MAGIC - t) - g;
    let p = fma::<I>(f, poly::<I, 6>(f, &EXP2_P), 1.0);
    let k = t.to_bits().wrapping_sub(MAGIC.to_bits());
    let large = 1.0 - f32::from_bits(p.to_bits().wrapping_add(k << 23));
    (if a > 0.9 { large } else { small }).copysign(x)
}

/// erfc(x) exp(x^2) (1 + 2x) in (x - 3) / (x + 3), 0 <= x <= 11, 2^-34.
const ERFC_P: [f64; 13] = [
    1.2530080582783008,
    -0.13562110720402779,
    -0.047562295798774336,
    0.12964521375638796,
    -0.11927360058401845,
    0.06830724616777245,
    -0.023771577911415046,
    0.002533765637386245,
    0.0018963694014074788,
    -0.0007888521204494543,
    -0.00012927772164838343,
    0.00012339351570348544,
    3.1984039597330044e-05,
];

#[inline(always)]
pub fn erfc<I: Isa>(x: f32) -> f32 {
    let a = (x as f64).abs();
    // 0 from 10.06 on
    let a = if a > 11.0 { 11.0 } else { a };
    let p = math_f64::poly::<I, 13>((a - 3.0) / (a + 3.0), &ERFC_P);
    let y = p * math_f64::exp_single::<I>(-a * a) / (1.0 + 2.0 * a);
    (if x < 0.0 { 2.0 - y } else { y }) as f32
}

/// (sinh(x)/x - 1) / x^2 in z = x^2, |x| <= 1, 2^-34.
const SINH_P: [f32; 4] = [0.1666666716337204, 0.008333350531756878, 0.0001983606634894386, 2.8174395083624404e-06];

/// exp(a) / 2 for a >= 0, infinite only where half of exp is.
#[inline(always)]
fn exp_half<I: Isa>(a: f32) -> f32 {
    let a = clamp(a, 0.0, 90.0);
    let t = fma::<I>(a, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = fma::<I>(-n, LN2_HI, a);
    let r = fma::<I>(-n, LN2_LO, r);
    scale(fma::<I>(r * r, poly::<I, 5>(r, &EXP_Q), r) + 1.0, t - 1.0)
}

#[inline(always)]
pub fn sinh<I: Isa>(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let small = fma::<I>(a * z, poly::<I, 4>(z, &SINH_P), a);
    let e = exp_half::<I>(a);
    (if a > 1.0 { e - 0.25 / e } else { small }).copysign(x)
}

#[inline(always)]
pub fn cosh<I: Isa>(x: f32) -> f32 {
    let e = exp_half::<I>(x.abs());
    e + 0.25 / e
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
    let y = math_f64::exp_single::<I>(b as f64 * math_f64::log_single::<I>(m as f64)) as f32;
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
