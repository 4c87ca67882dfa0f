// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 2 1 1
// params: 1003 0 1024
// binding: in float16 1003 0 4194304
// binding: out float16 1003 2048 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_inf() -> f32 { return rt_from_bits(0x7f800000u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_isnan_f32(x: f32) -> bool { return rt_mag(x) > 0x7f800000u; }
fn rt_with_sign(x: f32, s: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(s) & 0x80000000u));
}
fn rt_get_f16(w: u32, i: u32) -> f32 { return rt_f16_value(w >> ((i & 1u) * 16u)); }
fn rt_f16_value(h: u32) -> f32 {
  let s = (h & 0x8000u) << 16u;
  let e = (h >> 10u) & 31u;
  let m = h & 0x3ffu;
  if (e == 0u) { return rt_with_sign(f32(m) * 5.9604644775390625e-8, rt_from_bits(s)); }
  return rt_from_bits(s | (m << 13u) | select((e + 112u) << 23u, 0x7f800000u, e == 31u));
}
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
fn rt_round_f16(x: f32) -> f32 { return rt_f16_value(rt_f16_bits(x)); }
fn rt_ldexp(x: f32, n: i32) -> f32 {
  let h = clamp(n, -300, 300) / 2;
  let r = clamp(n, -300, 300) - h;
  return x * rt_pow2(h) * rt_pow2(r);
}
fn rt_pow2(n: i32) -> f32 { return rt_from_bits(u32(clamp(n, -126, 127) + 127) << 23u); }
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
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
let first = t * 2u;
if (first >= P.w[0].x) { return; }
let count = min(P.w[0].x - first, 2u);
var r0_0 = 0u;
for (var k = 0u; k < count; k = k + 1u) {
let i = first + k;
let a0 = P.w[0].y + (i);
let v0 = rt_get_f16(b0[a0 >> 1u], a0);
let v1 = v0;
let v2 = rt_exp_f32(v1);
let v3 = rt_round_f16(v2);
r0_0 = r0_0 | (rt_f16_bits(v3) << ((k % 2u) * 16u));
}
let o0_0 = P.w[0].z + (first);
{
let have = min(count, 2u);
if (have >= 2u) { b1[(o0_0 / 2u + 0u)] = r0_0; }
else if (have > 0u) {
let mask = (1u << ((have - 0u) * 16u)) - 1u;
b1[(o0_0 / 2u + 0u)] = (b1[(o0_0 / 2u + 0u)] & ~mask) | (r0_0 & mask);
}
}
}
