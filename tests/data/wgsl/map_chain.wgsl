// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 1056964608 0 1024
// binding: in float32 1003 0 4194304
// binding: out float32 1003 4096 4194304
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
fn rt_sum_of(a: f32, b: f32, r: f32) -> f32 {
  let m = max(rt_mag(a), rt_mag(b));
  if (m < 0x7f800000u) { return r; }
  if (m > 0x7f800000u || (bitcast<u32>(a) ^ bitcast<u32>(b)) == 0x80000000u) { return rt_nan(); }
  return select(b, a, rt_isinf_f32(a));
}
fn rt_add_f32(a: f32, b: f32) -> f32 { return rt_sum_of(a, b, a + b); }
fn rt_sub_f32(a: f32, b: f32) -> f32 { return rt_sum_of(a, rt_neg_f32(b), a - b); }
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
fn rt_neg_f32(a: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a) ^ 0x80000000u); }
fn rt_abs_f32(a: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a) & 0x7fffffffu); }
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
fn rt_expm1_f32(x: f32) -> f32 {
  if (rt_mag(x) < 0x3eb33333u) {
    if (rt_mag(x) < 0x33000000u) { return x; }
    return rt_exp_tail(x);
  }
  return rt_exp_f32(x) - 1.0;
}
fn rt_sqrt_f32(x: f32) -> f32 {
  if (rt_mag(x) == 0u) { return x; }
  if (rt_signbit_f32(x)) { return rt_nan(); }
  return sqrt(x);
}
fn rt_tanh_f32(x: f32) -> f32 {
  let a = rt_abs_f32(x);
  if (a > 10.0) { return rt_with_sign(1.0, x); }
  let t = rt_expm1_f32(2.0 * a);
  return rt_with_sign(t / (t + 2.0), x);
}
fn rt_sigmoid_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  let e = rt_exp_f32(-rt_abs_f32(x));
  return select(1.0, e, rt_signbit_f32(x)) / (1.0 + e);
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
let v1 = rt_sigmoid_f32(v0);
let v2 = rt_mul_f32(v0, v1);
let v3 = rt_tanh_f32(v0);
let v4 = bitcast<f32>(P.w[0].y);
let v5 = rt_mul_f32(v3, v4);
let v6 = rt_add_f32(v2, v5);
let v7 = rt_abs_f32(v0);
let v8 = rt_sqrt_f32(v7);
let v9 = rt_sub_f32(v6, v8);
let o0 = P.w[0].w + (i);
b1[o0] = bitcast<u32>(v9);
}
