// 64-bit integers where the adapter has them (SHADER_INT64): each function of int64.wgsl, which is their meaning, on
// the adapter's own type. The host takes this file or that one (rust/gpu/src/prelude.rs).

alias rt_i64 = i64;
fn rt_words(a: rt_i64) -> vec2<u32> {
  let u = bitcast<u64>(a);
  return vec2<u32>(u32(u & 0xfffffffflu), u32(u >> 32u));
}
fn rt_i64_make(low: u32, high: u32) -> rt_i64 { return bitcast<i64>((u64(high) << 32u) | u64(low)); }
fn rt_i64_of_i32(x: i32) -> rt_i64 { return i64(x); }
fn rt_i64_of_u32(x: u32) -> rt_i64 { return i64(x); }
fn rt_i64_of_bool(x: bool) -> rt_i64 { return select(0li, 1li, x); }
fn rt_i32_of_i64(a: rt_i64) -> i32 { return bitcast<i32>(rt_words(a).x); }
fn rt_bool_of_i64(a: rt_i64) -> bool { return a != 0li; }
fn rt_i64_of_f32(x: f32) -> rt_i64 {
  if (rt_mag(x) >= 0x5f000000u) { return rt_i64_make(0u, 0x80000000u); }
  return i64(x);
}
// Not f32(a): how a conversion rounds is the adapter's choice. The bits below the 32 that are converted stick to the
// lowest one, and those conversions are what the emulated type does too.
fn rt_f32_of_i64(a: rt_i64) -> f32 {
  let m = rt_words(rt_abs_i64(a));
  var f = f32(m.x);
  if (m.y != 0u) {
    let z = countLeadingZeros(m.y);
    let n = rt_words(bitcast<i64>(bitcast<u64>(rt_i64_make(m.x, m.y)) << z));
    f = f32(n.y | select(0u, 1u, n.x != 0u)) * rt_from_bits((127u + 32u - z) << 23u);
  }
  return select(f, -f, a < 0li);
}
fn rt_add_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a + b; }
fn rt_sub_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a - b; }
fn rt_neg_i64(a: rt_i64) -> rt_i64 { return 0li - a; }
fn rt_abs_i64(a: rt_i64) -> rt_i64 { return select(a, 0li - a, a < 0li); }
fn rt_sign_i64(a: rt_i64) -> rt_i64 { return select(0li, 1li, a > 0li) - select(0li, 1li, a < 0li); }
fn rt_mul_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a * b; }
fn rt_square_i64(a: rt_i64) -> rt_i64 { return a * a; }
// Division by zero answers 0; by -1 it is a change of sign, which the smallest number survives.
fn rt_trunc_div_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  if (b == -1li) { return 0li - a; }
  return select(a / select(b, 1li, b == 0li), 0li, b == 0li);
}
fn rt_fmod_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  return select(a - rt_trunc_div_i64(a, b) * b, 0li, b == 0li);
}
fn rt_floor_div_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let r = rt_fmod_i64(a, b);
  return rt_trunc_div_i64(a, b) - select(0li, 1li, r != 0li && ((r < 0li) != (b < 0li)));
}
fn rt_remainder_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let r = rt_fmod_i64(a, b);
  return r + select(0li, b, r != 0li && ((r < 0li) != (b < 0li)));
}
fn rt_pow_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  if (b < 0li) {
    if (a == 1li) { return a; }
    if (a == -1li) { return select(1li, a, (b & 1li) == 1li); }
    return 0li;
  }
  var r = 1li;
  var x = a;
  var e = b;
  for (var i = 0u; i < 64u && e != 0li; i = i + 1u) {
    if ((e & 1li) == 1li) { r = r * x; }
    x = x * x;
    e = e >> 1u;
  }
  return r;
}
fn rt_eq_i64(a: rt_i64, b: rt_i64) -> bool { return a == b; }
fn rt_ne_i64(a: rt_i64, b: rt_i64) -> bool { return a != b; }
fn rt_lt_i64(a: rt_i64, b: rt_i64) -> bool { return a < b; }
fn rt_le_i64(a: rt_i64, b: rt_i64) -> bool { return a <= b; }
fn rt_gt_i64(a: rt_i64, b: rt_i64) -> bool { return a > b; }
fn rt_ge_i64(a: rt_i64, b: rt_i64) -> bool { return a >= b; }
fn rt_max_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return max(a, b); }
fn rt_min_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return min(a, b); }
fn rt_fmax_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return max(a, b); }
fn rt_fmin_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return min(a, b); }
fn rt_bit_not_i64(a: rt_i64) -> rt_i64 { return ~a; }
fn rt_bit_and_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a & b; }
fn rt_bit_or_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a | b; }
fn rt_bit_xor_i64(a: rt_i64, b: rt_i64) -> rt_i64 { return a ^ b; }
fn rt_shl_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  return select(0li, a << (rt_words(b).x & 63u), b >= 0li && b < 64li);
}
fn rt_shr_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  return a >> select(63u, rt_words(b).x & 63u, b >= 0li && b < 64li);
}
fn rt_gcd_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  var x = bitcast<u64>(rt_abs_i64(a));
  var y = bitcast<u64>(rt_abs_i64(b));
  for (var i = 0u; i < 128u && y != 0lu; i = i + 1u) {
    let r = x % y;
    x = y;
    y = r;
  }
  return bitcast<i64>(x);
}
fn rt_where_i64(c: bool, a: rt_i64, b: rt_i64) -> rt_i64 { return select(b, a, c); }
