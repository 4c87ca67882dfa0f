// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 1056964608 0 0
// binding: out float32 1003 0 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
alias rt_i64 = vec2<u32>;
fn rt_i64_of_u32(x: u32) -> rt_i64 { return vec2<u32>(x, 0u); }
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
fn rt_neg_i64(a: rt_i64) -> rt_i64 { return vec2<u32>(~a.x + 1u, ~a.y + select(0u, 1u, a.x == 0u)); }
fn rt_abs_i64(a: rt_i64) -> rt_i64 {
  if ((a.y >> 31u) == 1u) { return rt_neg_i64(a); }
  return a;
}
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
if (t >= P.w[0].x) { return; }
let i = t;
let index = P.w[0].w + (i);
let v0 = rt_i64_of_u32(index);
let v1 = rt_f32_of_i64(v0);
let v2 = bitcast<f32>(P.w[0].y);
let v3 = rt_mul_f32(v1, v2);
let o0 = P.w[0].z + (i);
b0[o0] = bitcast<u32>(v3);
}
