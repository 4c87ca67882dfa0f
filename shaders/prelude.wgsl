// Helpers of the scalar-op table on f32, i32 and bool, and of packed storage. A kernel gets the functions it uses.
// Each is named as the table's column says, with the type it computes in. Not here: transcendental functions
// (math.wgsl), special functions (special.wgsl), 64-bit integers (int64.wgsl).
//
// Nothing relies on what WGSL leaves open: NaN and infinity are found by their bits, never by x != x; they are made
// from bits at run time, since constant expressions may not hold them.

fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_nan() -> f32 { return rt_from_bits(0x7fc00000u); }
fn rt_inf() -> f32 { return rt_from_bits(0x7f800000u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_isnan_f32(x: f32) -> bool { return rt_mag(x) > 0x7f800000u; }
fn rt_isinf_f32(x: f32) -> bool { return rt_mag(x) == 0x7f800000u; }
fn rt_signbit_f32(x: f32) -> bool { return (bitcast<u32>(x) >> 31u) == 1u; }
fn rt_with_sign(x: f32, s: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(s) & 0x80000000u));
}

// ---- arithmetic on f32
// Drivers may simplify sums as if numbers were real (x - x to 0, (x + y) - x to y): what is not finite goes by bits.
fn rt_sum_of(a: f32, b: f32, r: f32) -> f32 {
  let m = max(rt_mag(a), rt_mag(b));
  if (m < 0x7f800000u) { return r; }
  if (m > 0x7f800000u || (bitcast<u32>(a) ^ bitcast<u32>(b)) == 0x80000000u) { return rt_nan(); }
  return select(b, a, rt_isinf_f32(a));
}
fn rt_add_f32(a: f32, b: f32) -> f32 { return rt_sum_of(a, b, a + b); }
fn rt_sub_f32(a: f32, b: f32) -> f32 { return rt_sum_of(a, rt_neg_f32(b), a - b); }
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
fn rt_div_f32(a: f32, b: f32) -> f32 { return a / b; }
fn rt_neg_f32(a: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a) ^ 0x80000000u); }
fn rt_abs_f32(a: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a) & 0x7fffffffu); }
fn rt_sign_f32(a: f32) -> f32 { return select(0.0, 1.0, a > 0.0) - select(0.0, 1.0, a < 0.0); }
fn rt_square_f32(a: f32) -> f32 { return a * a; }
fn rt_recip_f32(a: f32) -> f32 { return 1.0 / a; }
fn rt_max_f32(a: f32, b: f32) -> f32 {
  if (rt_isnan_f32(a)) { return a; }
  if (rt_isnan_f32(b)) { return b; }
  return select(b, a, a > b);
}
fn rt_min_f32(a: f32, b: f32) -> f32 {
  if (rt_isnan_f32(a)) { return a; }
  if (rt_isnan_f32(b)) { return b; }
  return select(b, a, a < b);
}
fn rt_fmax_f32(a: f32, b: f32) -> f32 {
  if (rt_isnan_f32(a)) { return b; }
  return select(b, a, rt_isnan_f32(b) || a > b);
}
fn rt_fmin_f32(a: f32, b: f32) -> f32 {
  if (rt_isnan_f32(a)) { return b; }
  return select(b, a, rt_isnan_f32(b) || a < b);
}
// The remainder of the dividend's sign, exact: shift and subtract on the mantissas.
fn rt_fmod_f32(a: f32, b: f32) -> f32 {
  let ua = rt_mag(a);
  let ub = rt_mag(b);
  if (ub == 0u || ua >= 0x7f800000u || ub > 0x7f800000u) { return rt_nan(); }
  if (ua < ub) { return a; }
  var ea = i32(ua >> 23u);
  var eb = i32(ub >> 23u);
  var ma = ua & 0x7fffffu;
  var mb = ub & 0x7fffffu;
  if (ea == 0) { let z = countLeadingZeros(ma) - 8u; ma = ma << z; ea = 1 - i32(z); } else { ma = ma | 0x800000u; }
  if (eb == 0) { let z = countLeadingZeros(mb) - 8u; mb = mb << z; eb = 1 - i32(z); } else { mb = mb | 0x800000u; }
  for (var i = ea - eb; i > 0; i = i - 1) {
    if (ma >= mb) { ma = ma - mb; }
    ma = ma << 1u;
  }
  if (ma >= mb) { ma = ma - mb; }
  if (ma == 0u) { return rt_with_sign(0.0, a); }
  let z = countLeadingZeros(ma) - 8u;
  ma = ma << z;
  let e = eb - i32(z);
  if (e <= 0) { return rt_with_sign(bitcast<f32>(ma >> u32(1 - e)), a); }
  return rt_with_sign(bitcast<f32>((ma & 0x7fffffu) | (u32(e) << 23u)), a);
}
fn rt_remainder_f32(a: f32, b: f32) -> f32 {
  let m = rt_fmod_f32(a, b);
  if (rt_mag(m) != 0u && ((b < 0.0) != (m < 0.0))) { return m + b; }
  return m;
}
fn rt_trunc_div_f32(a: f32, b: f32) -> f32 { return trunc(a / b); }
// c10's div_floor: the remainder is taken off first, so that the quotient is that of Python.
fn rt_floor_div_f32(a: f32, b: f32) -> f32 {
  if (rt_mag(b) == 0u) { return a / b; }
  let m = rt_fmod_f32(a, b);
  var d = (a - m) / b;
  if (rt_mag(m) != 0u && ((b < 0.0) != (m < 0.0))) { d = d - 1.0; }
  if (rt_mag(d) == 0u) { return rt_with_sign(0.0, a / b); }
  let f = floor(d);
  return select(f, f + 1.0, d - f > 0.5);
}
fn rt_floor_f32(a: f32) -> f32 { return rt_with_sign(floor(a), a); }
fn rt_ceil_f32(a: f32) -> f32 { return rt_with_sign(ceil(a), a); }
fn rt_round_f32(a: f32) -> f32 { return rt_with_sign(round(a), a); }
fn rt_trunc_f32(a: f32) -> f32 { return rt_with_sign(trunc(a), a); }
fn rt_copysign_f32(a: f32, b: f32) -> f32 { return rt_with_sign(a, b); }
fn rt_nextafter_f32(a: f32, b: f32) -> f32 {
  if (rt_isnan_f32(a)) { return a; }
  if (rt_isnan_f32(b) || a == b) { return b; }
  let u = bitcast<u32>(a);
  if (rt_mag(a) == 0u) { return rt_from_bits((bitcast<u32>(b) & 0x80000000u) | 1u); }
  return rt_from_bits(select(u - 1u, u + 1u, (a < b) == (a > 0.0)));
}
fn rt_eq_f32(a: f32, b: f32) -> bool { return a == b; }
fn rt_ne_f32(a: f32, b: f32) -> bool { return !(a == b); }
fn rt_lt_f32(a: f32, b: f32) -> bool { return a < b; }
fn rt_le_f32(a: f32, b: f32) -> bool { return a <= b; }
fn rt_gt_f32(a: f32, b: f32) -> bool { return a > b; }
fn rt_ge_f32(a: f32, b: f32) -> bool { return a >= b; }
fn rt_where_f32(c: bool, a: f32, b: f32) -> f32 { return select(b, a, c); }

// ---- arithmetic on i32; division by zero answers 0, as the oracle does
fn rt_add_i32(a: i32, b: i32) -> i32 { return a + b; }
fn rt_sub_i32(a: i32, b: i32) -> i32 { return a - b; }
fn rt_mul_i32(a: i32, b: i32) -> i32 { return a * b; }
fn rt_neg_i32(a: i32) -> i32 { return bitcast<i32>(~bitcast<u32>(a) + 1u); }
fn rt_abs_i32(a: i32) -> i32 { return select(a, rt_neg_i32(a), a < 0); }
fn rt_sign_i32(a: i32) -> i32 { return select(0, 1, a > 0) - select(0, 1, a < 0); }
fn rt_square_i32(a: i32) -> i32 { return a * a; }
fn rt_udiv_i32(a: i32, b: i32) -> u32 {
  let m = bitcast<u32>(rt_abs_i32(b));
  return bitcast<u32>(rt_abs_i32(a)) / select(m, 1u, m == 0u);
}
fn rt_trunc_div_i32(a: i32, b: i32) -> i32 {
  let q = bitcast<i32>(rt_udiv_i32(a, b));
  return select(select(q, rt_neg_i32(q), (a < 0) != (b < 0)), 0, b == 0);
}
fn rt_fmod_i32(a: i32, b: i32) -> i32 { return select(a - rt_trunc_div_i32(a, b) * b, 0, b == 0); }
fn rt_floor_div_i32(a: i32, b: i32) -> i32 {
  let r = rt_fmod_i32(a, b);
  return rt_trunc_div_i32(a, b) - select(0, 1, r != 0 && ((r < 0) != (b < 0)));
}
fn rt_remainder_i32(a: i32, b: i32) -> i32 {
  let r = rt_fmod_i32(a, b);
  return r + select(0, b, r != 0 && ((r < 0) != (b < 0)));
}
fn rt_max_i32(a: i32, b: i32) -> i32 { return max(a, b); }
fn rt_min_i32(a: i32, b: i32) -> i32 { return min(a, b); }
fn rt_fmax_i32(a: i32, b: i32) -> i32 { return max(a, b); }
fn rt_fmin_i32(a: i32, b: i32) -> i32 { return min(a, b); }
fn rt_pow_i32(a: i32, b: i32) -> i32 {
  if (b < 0) {
    if (a == 1) { return 1; }
    return select(0, select(1, -1, (b & 1) == 1), a == -1);
  }
  var r = 1;
  var x = a;
  for (var e = bitcast<u32>(b); e != 0u; e = e >> 1u) {
    if ((e & 1u) == 1u) { r = r * x; }
    x = x * x;
  }
  return r;
}
fn rt_eq_i32(a: i32, b: i32) -> bool { return a == b; }
fn rt_ne_i32(a: i32, b: i32) -> bool { return a != b; }
fn rt_lt_i32(a: i32, b: i32) -> bool { return a < b; }
fn rt_le_i32(a: i32, b: i32) -> bool { return a <= b; }
fn rt_gt_i32(a: i32, b: i32) -> bool { return a > b; }
fn rt_ge_i32(a: i32, b: i32) -> bool { return a >= b; }
fn rt_bit_not_i32(a: i32) -> i32 { return ~a; }
fn rt_bit_and_i32(a: i32, b: i32) -> i32 { return a & b; }
fn rt_bit_or_i32(a: i32, b: i32) -> i32 { return a | b; }
fn rt_bit_xor_i32(a: i32, b: i32) -> i32 { return a ^ b; }
fn rt_shl_i32(a: i32, b: i32) -> i32 { return select(0, a << (u32(b) & 31u), b >= 0 && b < 32); }
fn rt_shr_i32(a: i32, b: i32) -> i32 { return a >> select(31u, u32(b) & 31u, b >= 0 && b < 32); }
fn rt_gcd_i32(a: i32, b: i32) -> i32 {
  var x = bitcast<u32>(rt_abs_i32(a));
  var y = bitcast<u32>(rt_abs_i32(b));
  for (var i = 0u; i < 64u && y != 0u; i = i + 1u) {
    let r = x % y;
    x = y;
    y = r;
  }
  return bitcast<i32>(x);
}
fn rt_where_i32(c: bool, a: i32, b: i32) -> i32 { return select(b, a, c); }

// ---- bool
fn rt_not_bool(a: bool) -> bool { return !a; }
fn rt_and_bool(a: bool, b: bool) -> bool { return a && b; }
fn rt_or_bool(a: bool, b: bool) -> bool { return a || b; }
fn rt_xor_bool(a: bool, b: bool) -> bool { return a != b; }
fn rt_where_bool(c: bool, a: bool, b: bool) -> bool { return select(b, a, c); }

// ---- storage: from the word that holds element i
fn rt_get_u8(w: u32, i: u32) -> i32 { return i32((w >> ((i & 3u) * 8u)) & 0xffu); }
fn rt_get_i8(w: u32, i: u32) -> i32 { return (bitcast<i32>(w) << ((3u - (i & 3u)) * 8u)) >> 24u; }
fn rt_get_i16(w: u32, i: u32) -> i32 { return (bitcast<i32>(w) << ((1u - (i & 1u)) * 16u)) >> 16u; }
fn rt_get_bool(w: u32, i: u32) -> bool { return ((w >> ((i & 3u) * 8u)) & 0xffu) != 0u; }
fn rt_get_bf16(w: u32, i: u32) -> f32 { return bitcast<f32>((w >> ((i & 1u) * 16u)) << 16u); }
fn rt_get_f16(w: u32, i: u32) -> f32 { return rt_f16_value(w >> ((i & 1u) * 16u)); }
fn rt_f16_value(h: u32) -> f32 {
  let s = (h & 0x8000u) << 16u;
  let e = (h >> 10u) & 31u;
  let m = h & 0x3ffu;
  if (e == 0u) { return rt_with_sign(f32(m) * 5.9604644775390625e-8, rt_from_bits(s)); }
  return rt_from_bits(s | (m << 13u) | select((e + 112u) << 23u, 0x7f800000u, e == 31u));
}
// Rounded to nearest, ties to even; beyond the range is infinity.
fn rt_f16_bits(x: f32) -> u32 {
  let u = bitcast<u32>(x);
  let s = (u >> 16u) & 0x8000u;
  let a = u & 0x7fffffffu;
  if (a > 0x7f800000u) { return s | 0x7e00u; }
  if (a >= 0x477ff000u) { return s | 0x7c00u; }
  if (a >= 0x38800000u) { return s | ((a + 0xfffu + ((a >> 13u) & 1u) - 0x38000000u) >> 13u); }
  if (a < 0x33000000u) { return s; }
  let shift = 126u - (a >> 23u);
  let m = (a & 0x7fffffu) | 0x800000u;
  let k = m >> shift;
  let rest = m & ((1u << shift) - 1u);
  let half = 1u << (shift - 1u);
  return s | (k + select(0u, 1u, rest > half || (rest == half && (k & 1u) == 1u)));
}
fn rt_bf16_bits(x: f32) -> u32 {
  let u = bitcast<u32>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) { return (u >> 16u) | 0x40u; }
  return (u + 0x7fffu + ((u >> 16u) & 1u)) >> 16u;
}
fn rt_round_f16(x: f32) -> f32 { return rt_f16_value(rt_f16_bits(x)); }
fn rt_round_bf16(x: f32) -> f32 { return rt_from_bits(rt_bf16_bits(x) << 16u); }

// ---- conversions between compute types: as x86 and PyTorch do, floats out of range give the smallest integer
fn rt_i32_of_f32(x: f32) -> i32 {
  if (rt_mag(x) < 0x4f000000u) { return i32(x); }
  return bitcast<i32>(0x80000000u);
}
fn rt_f32_of_i32(x: i32) -> f32 { return f32(x); }
fn rt_bool_of_f32(x: f32) -> bool { return rt_mag(x) != 0u; }
fn rt_bool_of_i32(x: i32) -> bool { return x != 0; }
fn rt_f32_of_bool(x: bool) -> f32 { return select(0.0, 1.0, x); }
fn rt_i32_of_bool(x: bool) -> i32 { return select(0, 1, x); }

// ---- 32 x 32 -> 64 bits, in 16-bit halves: WGSL has no high product. Answers (low, high).
fn rt_mul_wide(a: u32, b: u32) -> vec2<u32> {
  let al = a & 0xffffu;
  let ah = a >> 16u;
  let bl = b & 0xffffu;
  let bh = b >> 16u;
  let ll = al * bl;
  let lh = al * bh;
  let hl = ah * bl;
  let mid = (ll >> 16u) + (lh & 0xffffu) + (hl & 0xffffu);
  return vec2<u32>(a * b, ah * bh + (lh >> 16u) + (hl >> 16u) + (mid >> 16u));
}
