// 64-bit integers as pairs of words (low, high): WGSL has none, and an adapter's are optional. Two's complement.

alias rt_i64 = vec2<u32>;
fn rt_words(a: rt_i64) -> vec2<u32> { return a; }
fn rt_i64_make(low: u32, high: u32) -> rt_i64 { return vec2<u32>(low, high); }
fn rt_i64_of_i32(x: i32) -> rt_i64 { return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u)); }
fn rt_i64_of_u32(x: u32) -> rt_i64 { return vec2<u32>(x, 0u); }
fn rt_i64_of_bool(x: bool) -> rt_i64 { return vec2<u32>(select(0u, 1u, x), 0u); }
fn rt_i32_of_i64(a: rt_i64) -> i32 { return bitcast<i32>(a.x); }
fn rt_bool_of_i64(a: rt_i64) -> bool { return (a.x | a.y) != 0u; }
fn rt_i64_of_f32(x: f32) -> rt_i64 {
  let u = rt_mag(x);
  if (u >= 0x5f000000u) { return vec2<u32>(0u, 0x80000000u); }
  if (u < 0x3f800000u) { return vec2<u32>(0u, 0u); }
  let m = (u & 0x7fffffu) | 0x800000u;
  let e = i32(u >> 23u) - 150;
  var r = vec2<u32>(m, 0u);
  if (e < 0) { r.x = m >> u32(-e); } else { r = rt_shl_words(r, u32(e)); }
  if (rt_signbit_f32(x)) { return rt_neg_i64(r); }
  return r;
}
// Rounded once: the bits below the 32 that are converted stick to the lowest one.
fn rt_f32_of_i64(a: rt_i64) -> f32 {
  let m = rt_abs_i64(a);
  var f = f32(m.x);
  if (m.y != 0u) {
    let z = countLeadingZeros(m.y);
    let n = rt_shl_words(m, z);
    f = f32(n.y | select(0u, 1u, n.x != 0u)) * rt_from_bits((127u + 32u - z) << 23u);
  }
  return select(f, -f, (a.y >> 31u) == 1u);
}
fn rt_shl_words(a: vec2<u32>, n: u32) -> vec2<u32> {
  if (n == 0u) { return a; }
  if (n >= 32u) { return vec2<u32>(0u, a.x << (n - 32u)); }
  return vec2<u32>(a.x << n, (a.y << n) | (a.x >> (32u - n)));
}
fn rt_add_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn rt_sub_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}
fn rt_neg_i64(a: rt_i64) -> rt_i64 { return vec2<u32>(~a.x + 1u, ~a.y + select(0u, 1u, a.x == 0u)); }
fn rt_abs_i64(a: rt_i64) -> rt_i64 {
  if ((a.y >> 31u) == 1u) { return rt_neg_i64(a); }
  return a;
}
fn rt_sign_i64(a: rt_i64) -> rt_i64 {
  return select(vec2<u32>(select(0u, 1u, (a.x | a.y) != 0u), 0u), vec2<u32>(0xffffffffu), (a.y >> 31u) == 1u);
}
fn rt_mul_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let p = rt_mul_wide(a.x, b.x);
  return vec2<u32>(p.x, p.y + a.x * b.y + a.y * b.x);
}
fn rt_square_i64(a: rt_i64) -> rt_i64 { return rt_mul_i64(a, a); }
fn rt_ult_words(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }
// Quotient (xy) and rest (zw) of magnitudes; a shift and subtract per bit where words do not suffice.
fn rt_udiv_words(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
  if ((b.x | b.y) == 0u) { return vec4<u32>(0u); }
  if ((a.y | b.y) == 0u) { return vec4<u32>(a.x / b.x, 0u, a.x % b.x, 0u); }
  var q = vec2<u32>(0u);
  var r = vec2<u32>(0u);
  for (var i = 63u; i < 64u; i = i - 1u) {
    let bit = (select(a.x >> (i & 31u), a.y >> (i & 31u), i >= 32u)) & 1u;
    let over = r.y >> 31u;
    r = vec2<u32>((r.x << 1u) | bit, (r.y << 1u) | (r.x >> 31u));
    q = vec2<u32>(q.x << 1u, (q.y << 1u) | (q.x >> 31u));
    if (over == 1u || !rt_ult_words(r, b)) {
      r = rt_sub_i64(r, b);
      q.x = q.x | 1u;
    }
  }
  return vec4<u32>(q, r);
}
fn rt_trunc_div_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let q = rt_udiv_words(rt_abs_i64(a), rt_abs_i64(b)).xy;
  if (((a.y ^ b.y) >> 31u) == 1u) { return rt_neg_i64(q); }
  return q;
}
fn rt_fmod_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let r = rt_udiv_words(rt_abs_i64(a), rt_abs_i64(b)).zw;
  if ((a.y >> 31u) == 1u) { return rt_neg_i64(r); }
  return r;
}
fn rt_floor_div_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let d = rt_udiv_words(rt_abs_i64(a), rt_abs_i64(b));
  if (((a.y ^ b.y) >> 31u) == 0u) { return d.xy; }
  let q = rt_neg_i64(d.xy);
  if ((d.z | d.w) != 0u) { return rt_sub_i64(q, vec2<u32>(1u, 0u)); }
  return q;
}
fn rt_remainder_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let r = rt_fmod_i64(a, b);
  if ((r.x | r.y) != 0u && (((r.y ^ b.y) >> 31u) == 1u)) { return rt_add_i64(r, b); }
  return r;
}
fn rt_pow_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  if ((b.y >> 31u) == 1u) {
    if (a.x == 1u && a.y == 0u) { return a; }
    if (a.x == 0xffffffffu && a.y == a.x) { return select(vec2<u32>(1u, 0u), a, (b.x & 1u) == 1u); }
    return vec2<u32>(0u, 0u);
  }
  var r = vec2<u32>(1u, 0u);
  var x = a;
  var e = b;
  for (var i = 0u; i < 64u && (e.x | e.y) != 0u; i = i + 1u) {
    if ((e.x & 1u) == 1u) { r = rt_mul_i64(r, x); }
    x = rt_mul_i64(x, x);
    e = vec2<u32>((e.x >> 1u) | (e.y << 31u), e.y >> 1u);
  }
  return r;
}
fn rt_eq_i64(a: rt_i64, b: rt_i64) -> bool { return a.x == b.x && a.y == b.y; }
fn rt_ne_i64(a: rt_i64, b: rt_i64) -> bool { return a.x != b.x || a.y != b.y; }
fn rt_lt_i64(a: rt_i64, b: rt_i64) -> bool {
  return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}
fn rt_le_i64(a: rt_i64, b: rt_i64) -> bool { return !rt_lt_i64(b, a); }
fn rt_gt_i64(a: rt_i64, b: rt_i64) -> bool { return rt_lt_i64(b, a); }
fn rt_ge_i64(a: rt_i64, b: rt_i64) -> bool { return !rt_lt_i64(a, b); }
fn rt_max_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return select(a, b, rt_lt_i64(a, b)); }
fn rt_min_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return select(a, b, rt_lt_i64(b, a)); }
fn rt_fmax_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return rt_max_i64(a, b); }
fn rt_fmin_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return rt_min_i64(a, b); }
fn rt_bit_not_i64(a: rt_i64) -> rt_i64 { return ~a; }
fn rt_bit_and_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a & b; }
fn rt_bit_or_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a | b; }
fn rt_bit_xor_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a ^ b; }
fn rt_shl_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  if (b.y != 0u || b.x >= 64u) { return vec2<u32>(0u, 0u); }
  return rt_shl_words(a, b.x);
}
fn rt_shr_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let s = bitcast<u32>(bitcast<i32>(a.y) >> 31u);
  if (b.y != 0u || b.x >= 64u) { return vec2<u32>(s, s); }
  let n = b.x;
  if (n == 0u) { return a; }
  if (n >= 32u) { return vec2<u32>(bitcast<u32>(bitcast<i32>(a.y) >> (n - 32u)), s); }
  return vec2<u32>((a.x >> n) | (a.y << (32u - n)), bitcast<u32>(bitcast<i32>(a.y) >> n));
}
fn rt_gcd_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  var x = rt_abs_i64(a);
  var y = rt_abs_i64(b);
  for (var i = 0u; i < 128u && (y.x | y.y) != 0u; i = i + 1u) {
    let r = rt_udiv_words(x, y).zw;
    x = y;
    y = r;
  }
  return x;
}
fn rt_where_i64(c: bool, a: rt_i64, b: rt_i64) -> rt_i64 { return select(b, a, c); }
