// Special functions on f32, and random bits. Sources: Abramowitz & Stegun (recurrences, asymptotic series), Winitzki
// (2008) for the start of erfinv, Salmon et al. (2011) for Philox; fits by Chebyshev interpolation (see docs).

fn rt_erf_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  let a = rt_abs_f32(x);
  if (a < 1.0) {
    let z = x * x;
    let q = -1.4925650e-5 + z * (1.6462114e-6 - z * 1.6e-7);
    let p = 0.0052239776 + z * (-8.5483270e-4 + z * (1.2055333e-4 + z * q));
    return x * (1.1283792 + z * (-0.37612638 + z * (0.11283792 + z * (-0.026866170 + z * p))));
  }
  if (a > 4.0) { return rt_with_sign(1.0, x); }
  return rt_with_sign(1.0 - rt_erfc_tail(a), x);
}
// erfc for a >= 1/2: exp(-a*a) times a fitted factor, a split so that its square is exact
fn rt_erfc_tail(a: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.5 * a);
  let p = 0.749659598 + t * (-1.85743805 + t * (2.16460669 + t * (-1.17478712 + t * 0.249383181)));
  let e = -1.26553378 + t * (1.00064949 + t * (0.366545267 + t * (0.146103371 + t * (-0.37916384 + t * p))));
  let h = rt_from_bits(bitcast<u32>(a) & 0xfffff000u);
  return t * rt_exp_f32(-h * h) * rt_exp_f32((h - a) * (h + a) + e);
}
fn rt_erfc_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (rt_abs_f32(x) < 0.5) { return 1.0 - rt_erf_f32(x); }
  if (rt_abs_f32(x) > 11.0) { return select(0.0, 2.0, x < 0.0); }
  let t = rt_erfc_tail(rt_abs_f32(x));
  return select(t, 2.0 - t, x < 0.0);
}
fn rt_erfinv_f32(y: f32) -> f32 {
  let u = rt_mag(y);
  if (u > 0x3f800000u) { return rt_nan(); }
  if (u == 0x3f800000u) { return rt_with_sign(rt_inf(), y); }
  if (u < 0x38000000u) { return y * 0.88622693; }
  let a = rt_abs_f32(y);
  let w = -(rt_log1p_f32(-a) + rt_log1p_f32(a));
  let t = 4.3307468 - w * 0.5;
  var x = sqrt(sqrt(t * t + w * 6.8027211) - t);
  for (var i = 0; i < 3; i = i + 1) {
    var e = (1.0 - a) - rt_erfc_tail(x);
    if (x < 1.0) { e = rt_erf_f32(x) - a; }
    let step = e / (1.1283792 * rt_exp_f32(-x * x));
    x = x - step / (1.0 + x * step);
  }
  return rt_with_sign(x, y);
}

// log|gamma| for x >= 1/2 ... 3: a fit of lgamma(2 + z) / z; larger: Stirling
fn rt_lgamma_near(z: f32) -> f32 {
  let p = -0.00738541201 + z * (0.0028881347 + z * (-0.00119166714 + z * (0.000519765928 + z * (-0.000236030025
    + z * (9.07814729e-05 - z * 1.84486603e-05)))));
  return z * (0.422784335 + z * (0.322467029 + z * (-0.0673523159 + z * (0.020581008 + z * p))));
}
fn rt_lgamma_positive(x: f32) -> f32 {
  if (x < 0.5) { return rt_lgamma_near(x) - rt_log_f32(x) - rt_log1p_f32(x); }
  if (x < 1.5) { return rt_lgamma_near(x - 1.0) - rt_log_f32(x); }
  if (x < 3.0) { return rt_lgamma_near(x - 2.0); }
  var y = x;
  var product = 1.0;
  for (var i = 0; i < 6 && y < 8.0; i = i + 1) {
    product = product * y;
    y = y + 1.0;
  }
  let z = 1.0 / (y * y);
  let s = (0.083333333 + z * (-0.0027777778 + z * 7.9365079e-4)) / y;
  return ((y - 0.5) * (rt_log_f32(y) - 1.0) - 0.5 + 0.918938533) + s - rt_log_f32(product);
}
// sin(pi x), exact at integers
fn rt_sin_pi(x: f32) -> f32 {
  let r = x - 2.0 * round(x * 0.5);
  if (abs(r) <= 0.25) { return rt_sin_tail(r * 3.14159265); }
  let h = 0.5 - abs(r);
  if (abs(h) <= 0.25) { return rt_with_sign(rt_cos_tail(h * 3.14159265), r); }
  return rt_with_sign(rt_sin_tail((1.0 - abs(r)) * 3.14159265), r);
}
fn rt_lgamma_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (rt_isinf_f32(x)) { return rt_inf(); }
  if (rt_mag(x) < 0x20000000u) { return -rt_log_f32(rt_abs_f32(x)); }
  if (x > 1.0e36) { return x * (rt_log_f32(x) - 1.0); }
  if (x > 0.0) { return rt_lgamma_positive(x); }
  if (trunc(x) == x) { return rt_inf(); }
  return 1.14472989 - rt_log_f32(abs(x * rt_sin_pi(x))) - rt_lgamma_positive(-x);
}
fn rt_digamma_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (rt_mag(x) == 0u) { return rt_with_sign(rt_inf(), -x); }
  if (rt_isinf_f32(x)) { return select(x, rt_nan(), x < 0.0); }
  var y = x;
  var sum = 0.0;
  if (x < 0.0) {
    if (trunc(x) == x) { return rt_nan(); }
    // reflection: pi / tan(pi x)
    sum = -3.14159265 * rt_sin_pi(x + 0.5) / rt_sin_pi(x);
    y = 1.0 - x;
  }
  for (var i = 0; i < 10 && y < 10.0; i = i + 1) {
    sum = sum - 1.0 / y;
    y = y + 1.0;
  }
  let z = 1.0 / (y * y);
  return sum + (rt_log_f32(y) - 0.5 / y - z * (0.083333333 - z * (0.0083333333 - z * 0.003968254)));
}
fn rt_trigamma_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (rt_mag(x) == 0x7f800000u) { return select(0.0, rt_nan(), x < 0.0); }
  var y = x;
  var sum = 0.0;
  var sign = 1.0;
  if (x < 0.5) {
    let s = rt_sin_pi(x);
    sum = 9.8696044 / (s * s);
    sign = -1.0;
    y = 1.0 - x;
  }
  for (var i = 0; i < 10 && y < 10.0; i = i + 1) {
    sum = sum + sign / (y * y);
    y = y + 1.0;
  }
  let z = 1.0 / (y * y);
  let series = 0.16666667 - z * (0.033333333 - z * (0.023809524 - z * 0.033333333));
  return sum + sign * (1.0 / y + z * 0.5 + series * z / y);
}

// ---- Philox4x32-10: block `counter` of the key, both 64-bit (low, high)
fn rt_philox(key: vec2<u32>, counter: vec2<u32>) -> vec4<u32> {
  var k = key;
  var c = vec4<u32>(counter, 0u, 0u);
  for (var i = 0; i < 10; i = i + 1) {
    let a = rt_mul_wide(0xD2511F53u, c.x);
    let b = rt_mul_wide(0xCD9E8D57u, c.z);
    c = vec4<u32>(b.y ^ c.y ^ k.x, b.x, a.y ^ c.w ^ k.y, a.x);
    k = k + vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}
fn rt_philox_block(seed: vec2<u32>, i: vec2<u32>) -> vec4<u32> {
  return rt_philox(seed, vec2<u32>((i.x >> 2u) | (i.y << 30u), i.y >> 2u));
}
fn rt_philox_uniform_i64(seed: rt_i64, i: rt_i64) -> f32 {
  let n = rt_words(i);
  let w = rt_philox_block(rt_words(seed), n)[n.x & 3u];
  return f32(w >> 8u) * 5.9604644775390625e-8;
}
// Box and Muller on the words 2k and 2k + 1: the cosine for even counters, the sine for odd ones
fn rt_philox_normal_i64(seed: rt_i64, i: rt_i64) -> f32 {
  let n = rt_words(i);
  let b = rt_philox_block(rt_words(seed), n);
  let w = select(b.xy, b.zw, (n.x & 2u) == 2u);
  let r = sqrt(-2.0 * rt_log_f32((f32(w.x >> 8u) + 1.0) * 5.9604644775390625e-8));
  // the angle in quarter turns, so that no reduction is needed
  let t = f32(w.y >> 8u) * 2.384185791015625e-7;
  let q = round(t);
  let a = (t - q) * 1.57079633;
  let k = (u32(q) + select(0u, 3u, (n.x & 1u) == 1u)) & 3u;
  let v = select(rt_cos_tail(a), rt_sin_tail(a), (k & 1u) == 1u);
  return r * select(v, -v, k == 1u || k == 2u);
}
