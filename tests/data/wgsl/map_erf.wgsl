// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 0 1024
// binding: in float32 1003 0 4194304
// binding: out float32 1003 4096 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_inf() -> f32 { return rt_from_bits(0x7f800000u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_isnan_f32(x: f32) -> bool { return rt_mag(x) > 0x7f800000u; }
fn rt_with_sign(x: f32, s: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(s) & 0x80000000u));
}
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
fn rt_erfc_tail(a: f32) -> f32 {
  let t = 1.0 / (1.0 + 0.5 * a);
  let p = 0.749659598 + t * (-1.85743805 + t * (2.16460669 + t * (-1.17478712 + t * 0.249383181)));
  let e = -1.26553378 + t * (1.00064949 + t * (0.366545267 + t * (0.146103371 + t * (-0.37916384 + t * p))));
  let h = rt_from_bits(bitcast<u32>(a) & 0xfffff000u);
  return t * rt_exp_f32(-h * h) * rt_exp_f32((h - a) * (h + a) + e);
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
let a0 = P.w[0].y + (i);
let v0 = bitcast<f32>(b0[a0]);
let v1 = rt_erf_f32(v0);
let o0 = P.w[0].z + (i);
b1[o0] = bitcast<u32>(v1);
}
