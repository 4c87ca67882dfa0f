// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 1 1 1
// params: 1003 0 1024 8192
// binding: in float32 1003 0 4194304
// binding: in float32 1003 4096 4194304
// binding: out bool 1003 8192 4194304
fn rt_lt_f32(a: f32, b: f32) -> bool { return a < b; }
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
let first = t * 4u;
if (first >= P.w[0].x) { return; }
let count = min(P.w[0].x - first, 4u);
var r0_0 = 0u;
for (var k = 0u; k < count; k = k + 1u) {
let i = first + k;
let a0 = P.w[0].y + (i);
let a1 = P.w[0].z + (i);
let v0 = bitcast<f32>(b0[a0]);
let v1 = bitcast<f32>(b1[a1]);
let v2 = rt_lt_f32(v0, v1);
r0_0 = r0_0 | (select(0u, 1u, v2) << ((k % 4u) * 8u));
}
let o0_0 = P.w[0].w + (first);
{
let have = min(count, 4u);
if (have >= 4u) { b2[(o0_0 / 4u + 0u)] = r0_0; }
else if (have > 0u) {
let mask = (1u << ((have - 0u) * 8u)) - 1u;
b2[(o0_0 / 4u + 0u)] = (b2[(o0_0 / 4u + 0u)] & ~mask) | (r0_0 & mask);
}
}
}
