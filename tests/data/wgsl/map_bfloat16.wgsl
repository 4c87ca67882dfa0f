// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 2 1 1
// params: 1003 1077936128 0 1024
// binding: in bfloat16 1003 0 4194304
// binding: out bfloat16 1003 2048 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
fn rt_get_bf16(w: u32, i: u32) -> f32 { return bitcast<f32>((w >> ((i & 1u) * 16u)) << 16u); }
fn rt_bf16_bits(x: f32) -> u32 {
  let u = bitcast<u32>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) { return (u >> 16u) | 0x40u; }
  return (u + 0x7fffu + ((u >> 16u) & 1u)) >> 16u;
}
fn rt_round_bf16(x: f32) -> f32 { return rt_from_bits(rt_bf16_bits(x) << 16u); }
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
let a0 = P.w[0].z + (i);
let v0 = rt_get_bf16(b0[a0 >> 1u], a0);
let v1 = v0;
let v2 = bitcast<f32>(P.w[0].y);
let v3 = rt_mul_f32(v1, v2);
let v4 = rt_round_bf16(v3);
r0_0 = r0_0 | (rt_bf16_bits(v4) << ((k % 2u) * 16u));
}
let o0_0 = P.w[0].w + (first);
{
let have = min(count, 2u);
if (have >= 2u) { b1[(o0_0 / 2u + 0u)] = r0_0; }
else if (have > 0u) {
let mask = (1u << ((have - 0u) * 16u)) - 1u;
b1[(o0_0 / 2u + 0u)] = (b1[(o0_0 / 2u + 0u)] & ~mask) | (r0_0 & mask);
}
}
}
