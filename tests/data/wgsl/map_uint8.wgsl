// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 1 1 1
// params: 1003 200 0 1024
// binding: in uint8 1003 0 4194304
// binding: out uint8 1003 1024 4194304
fn rt_add_i32(a: i32, b: i32) -> i32 { return a + b; }
fn rt_get_u8(w: u32, i: u32) -> i32 { return i32((w >> ((i & 3u) * 8u)) & 0xffu); }
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
let first = t * 4u;
if (first >= P.w[0].x) { return; }
let count = min(P.w[0].x - first, 4u);
var r0_0 = 0u;
for (var k = 0u; k < count; k = k + 1u) {
let i = first + k;
let a0 = P.w[0].z + (i);
let v0 = rt_get_u8(b0[a0 >> 2u], a0);
let v1 = v0;
let v2 = bitcast<i32>(P.w[0].y);
let v3 = rt_add_i32(v1, v2);
let v4 = (v3 & 0xff);
r0_0 = r0_0 | ((bitcast<u32>(v4) & 0xffu) << ((k % 4u) * 8u));
}
let o0_0 = P.w[0].w + (first);
{
let have = min(count, 4u);
if (have >= 4u) { b1[(o0_0 / 4u + 0u)] = r0_0; }
else if (have > 0u) {
let mask = (1u << ((have - 0u) * 8u)) - 1u;
b1[(o0_0 / 4u + 0u)] = (b1[(o0_0 / 4u + 0u)] & ~mask) | (r0_0 & mask);
}
}
}
