// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 1148846080 0 1024
// binding: in float32 1003 0 4194304
// binding: out float32 1003 4096 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_nan() -> f32 { return rt_from_bits(0x7fc00000u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_signbit_f32(x: f32) -> bool { return (bitcast<u32>(x) >> 31u) == 1u; }
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
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
fn rt_pow2(n: i32) -> f32 { return rt_from_bits(u32(clamp(n, -126, 127) + 127) << 23u); }
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
fn rt_pi_bits(at: u32) -> u32 {
  let w = at >> 5u;
  let s = at & 31u;
  let hi = rt_two_over_pi(w);
  if (s == 0u) { return hi; }
  return (hi << s) | (rt_two_over_pi(w + 1u) >> (32u - s));
}
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
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
if (t >= P.w[0].x) { return; }
let i = t;
let a0 = P.w[0].z + (i);
let v0 = bitcast<f32>(b0[a0]);
let v1 = bitcast<f32>(P.w[0].y);
let v2 = rt_mul_f32(v0, v1);
let v3 = rt_sin_f32(v2);
let o0 = P.w[0].w + (i);
b1[o0] = bitcast<u32>(v3);
}
