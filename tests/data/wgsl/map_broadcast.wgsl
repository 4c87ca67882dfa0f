// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 1 1 1
// params: 20 0 64 0 5 1 128
// binding: in float32 4x5 0 4194304
// binding: in float32 5 256 4194304
// binding: out float32 4x5 512 4194304
fn rt_mul_f32(a: f32, b: f32) -> f32 { return a * b; }
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
let t = gid.x + gid.y * 8388608u;
if (t >= P.w[0].x) { return; }
let i = t;
let a0 = P.w[0].y + (i);
let a1_3_1 = (i) / P.w[1].x;
let a1 = P.w[0].z + ((i) - a1_3_1 * P.w[1].x) * P.w[1].y + a1_3_1 * P.w[0].w;
let v0 = bitcast<f32>(b0[a0]);
let v1 = bitcast<f32>(b1[a1]);
let v2 = rt_mul_f32(v0, v1);
let o0 = P.w[1].z + (i);
b2[o0] = bitcast<u32>(v2);
}
