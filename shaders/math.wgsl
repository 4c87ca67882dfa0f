// Elementary functions on f32, each within a few ulp, since WGSL's own promise little (exp, log, tanh, sin ...).
// Sources: Cody & Waite's argument reductions, Payne & Hanek (1983) for large angles, Taylor and atanh series.

fn rt_ldexp(x: f32, n: i32) -> f32 {
  let h = clamp(n, -300, 300) / 2;
  let r = clamp(n, -300, 300) - h;
  return x * rt_pow2(h) * rt_pow2(r);
}
fn rt_pow2(n: i32) -> f32 { return rt_from_bits(u32(clamp(n, -126, 127) + 127) << 23u); }

// exp(r) - 1 for |r| < 0.36
fn rt_exp_tail(r: f32) -> f32 {
  let p = 0.16666667 + r * (0.041666668 + r * (0.008333334 + r * (0.0013888889 + r * 0.0001984127)));
  return r + r * r * (0.5 + r * p);
}
fn rt_exp_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (x > 88.8) { return rt_inf(); }
  if (x < -104.0) { return 0.0; }
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4;
  return rt_ldexp(1.0 + rt_exp_tail(r), i32(n));
}
fn rt_exp2_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (x >= 128.0) { return rt_inf(); }
  if (x < -150.0) { return 0.0; }
  let n = round(x);
  return rt_ldexp(1.0 + rt_exp_tail((x - n) * 0.69314718), i32(n));
}
fn rt_expm1_f32(x: f32) -> f32 {
  if (rt_mag(x) < 0x3eb33333u) {
    if (rt_mag(x) < 0x33000000u) { return x; }
    return rt_exp_tail(x);
  }
  return rt_exp_f32(x) - 1.0;
}

// Mantissa in [sqrt(1/2), sqrt(2)) and exponent of a positive finite number.
struct rt_Parts { m: f32, e: f32 }
fn rt_parts(x: f32) -> rt_Parts {
  var u = bitcast<u32>(x);
  var e = -127;
  if (u < 0x800000u) {
    u = bitcast<u32>(f32(u));
    e = e - 149;
  }
  e = e + i32(u >> 23u);
  var m = rt_from_bits((u & 0x7fffffu) | 0x3f800000u);
  if (m > 1.41421354) {
    m = m * 0.5;
    e = e + 1;
  }
  return rt_Parts(m, f32(e));
}
// log((1 + s) / (1 - s)) - 2 s, over s
fn rt_atanh_tail(z: f32) -> f32 {
  return z * (0.66666667 + z * (0.4 + z * (0.28571429 + z * (0.22222222 + z * (0.18181818 + z * 0.15384615)))));
}
fn rt_log_special(x: f32) -> f32 {
  if (rt_mag(x) == 0u) { return rt_neg_f32(rt_inf()); }
  if (rt_isnan_f32(x) || rt_signbit_f32(x)) { return rt_nan(); }
  return x;
}
fn rt_log_finite(x: f32) -> bool { return bitcast<u32>(x) - 1u < 0x7f7fffffu; }
fn rt_log_f32(x: f32) -> f32 {
  if (!rt_log_finite(x)) { return rt_log_special(x); }
  let p = rt_parts(x);
  let f = p.m - 1.0;
  let s = f / (2.0 + f);
  return p.e * 0.693359375 + (2.0 * s + (s * rt_atanh_tail(s * s) - p.e * 2.12194440e-4));
}
fn rt_log2_f32(x: f32) -> f32 {
  if (!rt_log_finite(x)) { return rt_log_special(x); }
  let p = rt_parts(x);
  let f = p.m - 1.0;
  let s = f / (2.0 + f);
  return p.e + (2.0 * s + s * rt_atanh_tail(s * s)) * 1.44269504;
}
fn rt_log10_f32(x: f32) -> f32 {
  if (!rt_log_finite(x)) { return rt_log_special(x); }
  let p = rt_parts(x);
  let f = p.m - 1.0;
  let s = f / (2.0 + f);
  return p.e * 0.301025391 + (p.e * 4.60503907e-6 + (2.0 * s + s * rt_atanh_tail(s * s)) * 0.434294482);
}
fn rt_log1p_f32(x: f32) -> f32 {
  if (rt_mag(x) < 0x3ecccccdu) {
    if (rt_mag(x) < 0x33000000u) { return x; }
    let s = x / (2.0 + x);
    return 2.0 * s + s * rt_atanh_tail(s * s);
  }
  return rt_log_f32(1.0 + x);
}
fn rt_sqrt_f32(x: f32) -> f32 {
  if (rt_mag(x) == 0u) { return x; }
  if (rt_signbit_f32(x)) { return rt_nan(); }
  return sqrt(x);
}
fn rt_rsqrt_f32(x: f32) -> f32 { return 1.0 / rt_sqrt_f32(x); }

// The base-2 logarithm of |x| as a sum of two floats, for pow.
fn rt_log2_two(x: f32) -> vec2<f32> {
  let p = rt_parts(x);
  let f = p.m - 1.0;
  let d = 2.0 + f;
  let s = f / d;
  // what the quotient lost: f - s * d, with d = 2 + f rounded
  let sh = rt_from_bits(bitcast<u32>(s) & 0xfffff000u);
  let sl = s - sh;
  let dh = rt_from_bits(bitcast<u32>(d) & 0xfffff000u);
  let dl = (f - (dh - 2.0));
  let lost = ((f - sh * dh) - sh * dl - sl * (dh + dl)) / d;
  // 2 / ln 2 in two pieces
  let c = 2.8853901;
  let ch = 2.88525390625;
  let cl = 1.3617545e-4;
  let hi = sh * ch;
  let lo = sl * c + sh * cl + (lost * c + s * rt_atanh_tail(s * s) * 1.44269504);
  let top = p.e + hi;
  return vec2<f32>(top, (hi - (top - p.e)) + lo);
}
fn rt_pow_f32(x: f32, y: f32) -> f32 {
  let uy = rt_mag(y);
  let ux = rt_mag(x);
  if (uy == 0u || bitcast<u32>(x) == 0x3f800000u) { return 1.0; }
  if (ux > 0x7f800000u || uy > 0x7f800000u) { return rt_nan(); }
  if (uy == 0x7f800000u) {
    if (ux == 0x3f800000u) { return 1.0; }
    return select(0.0, rt_inf(), (ux > 0x3f800000u) == (y > 0.0));
  }
  let whole = uy >= 0x4b800000u || trunc(y) == y;
  let odd = whole && uy < 0x4b800000u && (i32(y) & 1) != 0;
  let sign = select(0u, 0x80000000u, odd && rt_signbit_f32(x));
  if (ux == 0u) { return rt_from_bits(sign | select(0x7f800000u, 0u, y > 0.0)); }
  if (ux == 0x7f800000u) { return rt_from_bits(sign | select(0u, 0x7f800000u, y > 0.0)); }
  if (rt_signbit_f32(x) && !whole) { return rt_nan(); }
  let l = rt_log2_two(rt_from_bits(ux));
  if (uy > 0x4f000000u && l.x + l.y == 0.0) { return rt_from_bits(sign | 0x3f800000u); }
  let yc = clamp(y, -1.0e30, 1.0e30);
  let yh = rt_from_bits(bitcast<u32>(yc) & 0xfffff000u);
  let yl = yc - yh;
  let lh = rt_from_bits(bitcast<u32>(l.x) & 0xfffff000u);
  let ll = (l.x - lh) + l.y;
  let hi = yh * lh;
  let lo = yh * ll + yl * lh + yl * ll;
  let t = hi + lo;
  if (t >= 128.5) { return rt_from_bits(sign | 0x7f800000u); }
  if (t < -151.0) { return rt_from_bits(sign); }
  let n = round(t);
  let r = ((hi - n) + lo) * 0.69314718;
  return rt_from_bits(sign | bitcast<u32>(rt_ldexp(1.0 + rt_exp_tail(r), i32(n))));
}

// ---- angles: x = quadrant * pi/2 + rest, |rest| <= pi/4
struct rt_Angle { r: f32, q: u32 }
fn rt_two_over_pi(i: u32) -> u32 {
  switch (i) {
    case 1u: { return 0xA2F9836Eu; }
    case 2u: { return 0x4E441529u; }
    case 3u: { return 0xFC2757D1u; }
    case 4u: { return 0xF534DDC0u; }
    case 5u: { return 0xDB629599u; }
    case 6u: { return 0x3C439041u; }
    case 7u: { return 0xFE5163ABu; }
    default: { return 0u; }
  }
}
// 32 bits of 0.2/pi... from bit `at` of the words above
fn rt_pi_bits(at: u32) -> u32 {
  let w = at >> 5u;
  let s = at & 31u;
  let hi = rt_two_over_pi(w);
  if (s == 0u) { return hi; }
  return (hi << s) | (rt_two_over_pi(w + 1u) >> (32u - s));
}
// Payne and Hanek: the fraction of x * 2/pi from 96 bits of 2/pi that matter.
fn rt_angle_large(x: f32) -> rt_Angle {
  let u = rt_mag(x);
  let e = i32(u >> 23u) - 150;
  let m = (u & 0x7fffffu) | 0x800000u;
  let at = u32(e - 2 + 32);
  let p2 = rt_mul_wide(m, rt_pi_bits(at + 64u));
  let p1 = rt_mul_wide(m, rt_pi_bits(at + 32u));
  let p0 = m * rt_pi_bits(at);
  let mid = p1.x + p2.y;
  let top = p0 + p1.y + select(0u, 1u, mid < p1.x);
  var q = top >> 30u;
  var hi = (top << 2u) | (mid >> 30u);
  var lo = (mid << 2u) | (p2.x >> 30u);
  var negative = rt_signbit_f32(x);
  var turned = false;
  if (hi >= 0x80000000u) {
    q = q + 1u;
    lo = ~lo + 1u;
    hi = ~hi + select(0u, 1u, lo == 0u);
    turned = true;
  }
  var z = 0u;
  if (hi == 0u) { hi = lo; lo = 0u; z = 32u; }
  let k = countLeadingZeros(hi);
  if (k > 0u && k < 32u) { hi = (hi << k) | (lo >> (32u - k)); }
  var r = f32(hi) * rt_pow2(-32 - i32(z) - i32(min(k, 31u))) * 1.57079633;
  if (turned) { r = -r; }
  if (negative) {
    r = -r;
    q = ~q + 1u;
  }
  return rt_Angle(r, q & 3u);
}
fn rt_angle(x: f32) -> rt_Angle {
  if (rt_mag(x) >= 0x46000000u) { return rt_angle_large(x); }
  let n = round(x * 0.636619772);
  let r = ((x - n * 1.5703125) - n * 4.83751297e-4) - n * 7.54978995e-8;
  return rt_Angle(r, bitcast<u32>(i32(n)) & 3u);
}
fn rt_sin_tail(r: f32) -> f32 {
  let z = r * r;
  return r + r * z * (-0.16666667 + z * (0.008333333 + z * (-1.9841270e-4 + z * 2.7557319e-6)));
}
fn rt_cos_tail(r: f32) -> f32 {
  let z = r * r;
  return 1.0 + z * (-0.5 + z * (0.041666667 + z * (-0.0013888889 + z * (2.4801587e-5 - z * 2.7557319e-7))));
}
fn rt_sin_f32(x: f32) -> f32 {
  if (rt_mag(x) >= 0x7f800000u) { return rt_nan(); }
  if (rt_mag(x) < 0x39000000u) { return x; }
  let a = rt_angle(x);
  let v = select(rt_sin_tail(a.r), rt_cos_tail(a.r), (a.q & 1u) == 1u);
  return select(v, -v, a.q >= 2u);
}
fn rt_cos_f32(x: f32) -> f32 {
  if (rt_mag(x) >= 0x7f800000u) { return rt_nan(); }
  let a = rt_angle(x);
  let v = select(rt_cos_tail(a.r), rt_sin_tail(a.r), (a.q & 1u) == 1u);
  return select(v, -v, a.q == 1u || a.q == 2u);
}
fn rt_tan_f32(x: f32) -> f32 {
  if (rt_mag(x) >= 0x7f800000u) { return rt_nan(); }
  if (rt_mag(x) < 0x39000000u) { return x; }
  let a = rt_angle(x);
  let s = rt_sin_tail(a.r);
  let c = rt_cos_tail(a.r);
  if ((a.q & 1u) == 1u) { return -c / s; }
  return s / c;
}
// asin(x) for |x| <= 1/2: Taylor
fn rt_asin_tail(x: f32) -> f32 {
  let z = x * x;
  let p = 0.022372159 + z * (0.017352764 + z * (0.01396484 + z * (0.01155180 + z * (0.0097616095 + z * 0.02))));
  return x + x * z * (0.16666667 + z * (0.075 + z * (0.044642857 + z * (0.030381944 + z * p))));
}
fn rt_asin_f32(x: f32) -> f32 {
  let u = rt_mag(x);
  if (u > 0x3f800000u) { return rt_nan(); }
  if (u <= 0x3f000000u) { return rt_asin_tail(x); }
  return rt_with_sign(1.57079633 - 2.0 * rt_asin_tail(sqrt((1.0 - abs(x)) * 0.5)), x);
}
fn rt_acos_f32(x: f32) -> f32 {
  let u = rt_mag(x);
  if (u > 0x3f800000u) { return rt_nan(); }
  if (u <= 0x3f000000u) { return 1.57079633 - rt_asin_tail(x); }
  let h = 2.0 * rt_asin_tail(sqrt((1.0 - abs(x)) * 0.5));
  return select(h, 3.14159265 - h, rt_signbit_f32(x));
}
fn rt_atan_f32(x: f32) -> f32 {
  let u = rt_mag(x);
  if (u > 0x7f800000u) { return x; }
  var a = rt_from_bits(u);
  var base = 0.0;
  if (u > 0x401a827au) {
    base = 1.57079633;
    a = -1.0 / a;
    if (u >= 0x7f000000u) { a = 0.0; }
  } else if (u > 0x3ed413cdu) {
    base = 0.785398163;
    a = (a - 1.0) / (a + 1.0);
  }
  let z = a * a;
  let p = -0.09090909 + z * (0.07692308 + z * (-0.06666667 + z * (0.05882353 - z * 0.04)));
  let t = a + a * z * (-0.33333333 + z * (0.2 + z * (-0.14285714 + z * (0.11111111 + z * p))));
  return rt_with_sign(base + t, x);
}
fn rt_atan2_f32(y: f32, x: f32) -> f32 {
  if (rt_isnan_f32(x) || rt_isnan_f32(y)) { return rt_nan(); }
  let ux = rt_mag(x);
  let uy = rt_mag(y);
  var r = 0.0;
  if (uy == 0u) {
    r = 0.0;
  } else if (ux == 0u || (uy == 0x7f800000u && ux != uy)) {
    return rt_with_sign(1.57079633, y);
  } else if (ux == 0x7f800000u) {
    r = select(0.0, 0.785398163, uy == ux);
  } else if (uy > ux && uy - ux > 0x0d000000u) {
    return rt_with_sign(1.57079633, y);
  } else {
    r = rt_atan_f32(abs(y) / abs(x));
  }
  return rt_with_sign(select(r, 3.14159265 - r, rt_signbit_f32(x)), y);
}

// ---- hyperbolic
fn rt_sinh_f32(x: f32) -> f32 {
  let a = rt_abs_f32(x);
  if (a > 9.0) {
    let h = rt_exp_f32(a * 0.5);
    return rt_with_sign((0.5 * h) * h, x);
  }
  let t = rt_expm1_f32(a);
  return rt_with_sign(0.5 * (t + t / (t + 1.0)), x);
}
fn rt_cosh_f32(x: f32) -> f32 {
  let h = rt_exp_f32(rt_abs_f32(x) * 0.5);
  if (rt_abs_f32(x) > 9.0) { return (0.5 * h) * h; }
  let e = h * h;
  return 0.5 * (e + 1.0 / e);
}
fn rt_tanh_f32(x: f32) -> f32 {
  let a = rt_abs_f32(x);
  if (a > 10.0) { return rt_with_sign(1.0, x); }
  let t = rt_expm1_f32(2.0 * a);
  return rt_with_sign(t / (t + 2.0), x);
}
fn rt_asinh_f32(x: f32) -> f32 {
  let a = rt_abs_f32(x);
  if (a > 1.0e9) { return rt_with_sign(rt_log_f32(a) + 0.69314718, x); }
  return rt_with_sign(rt_log1p_f32(a + a * a / (1.0 + sqrt(1.0 + a * a))), x);
}
fn rt_acosh_f32(x: f32) -> f32 {
  if (x < 1.0) { return rt_nan(); }
  if (x > 1.0e9) { return rt_log_f32(x) + 0.69314718; }
  let t = x - 1.0;
  return rt_log1p_f32(t + sqrt(2.0 * t + t * t));
}
fn rt_atanh_f32(x: f32) -> f32 {
  let a = rt_abs_f32(x);
  return rt_with_sign(0.5 * rt_log1p_f32(2.0 * a / (1.0 - a)), x);
}
fn rt_hypot_f32(x: f32, y: f32) -> f32 {
  let a = rt_abs_f32(x);
  let b = rt_abs_f32(y);
  if (rt_isinf_f32(a) || rt_isinf_f32(b)) { return rt_inf(); }
  if (rt_isnan_f32(a) || rt_isnan_f32(b)) { return rt_nan(); }
  let m = max(a, b);
  if (m == 0.0) { return 0.0; }
  let s = min(a, b) / m;
  return m * sqrt(1.0 + s * s);
}
fn rt_sigmoid_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  let e = rt_exp_f32(-rt_abs_f32(x));
  return select(1.0, e, rt_signbit_f32(x)) / (1.0 + e);
}
