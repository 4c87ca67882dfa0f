// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 0 256 1280
// binding: in bool 1003 0 4194304
// binding: in float32 1003 1024 4194304
// binding: out float32 1003 5120 4194304
fn rt_neg_f32(a: f32) -> f32 { return bitcast<f32>(bitcast<u32>(a) ^ 0x80000000u); }
fn rt_where_f32(c: bool, a: f32, b: f32) -> f32 { return select(b, a, c); }
fn rt_get_bool(w: u32, i: u32) -> bool { return ((w >> ((i & 3u) * 8u)) & 0xffu) != 0u; }
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
let a1 = P.w[0].z + (i);
let v0 = rt_get_bool(b0[a0 >> 2u], a0);
let v1 = bitcast<f32>(b1[a1]);
let v2 = rt_neg_f32(v1);
let v3 = rt_where_f32(v0, v1, v2);
let o0 = P.w[0].w + (i);
b2[o0] = bitcast<u32>(v3);
}
