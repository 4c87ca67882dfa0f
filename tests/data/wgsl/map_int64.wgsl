// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 1003 0 1024 2048
// binding: in int64 1003 0 4194304
// binding: in int64 1003 8192 4194304
// binding: out int64 1003 16384 4194304
alias rt_i64 = vec2<u32>;
fn rt_words(a: rt_i64) -> vec2<u32> { return a; }
fn rt_i64_make(low: u32, high: u32) -> rt_i64 { return vec2<u32>(low, high); }
fn rt_sub_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  return vec2<u32>(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}
fn rt_neg_i64(a: rt_i64) -> rt_i64 { return vec2<u32>(~a.x + 1u, ~a.y + select(0u, 1u, a.x == 0u)); }
fn rt_abs_i64(a: rt_i64) -> rt_i64 {
  if ((a.y >> 31u) == 1u) { return rt_neg_i64(a); }
  return a;
}
fn rt_ult_words(a: vec2<u32>, b: vec2<u32>) -> bool { return a.y < b.y || (a.y == b.y && a.x < b.x); }
fn rt_udiv_words(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
  if ((b.x | b.y) == 0u) { return vec4<u32>(0u); }
  if ((a.y | b.y) == 0u) { return vec4<u32>(a.x / b.x, 0u, a.x % b.x, 0u); }
  var q = vec2<u32>(0u);
  var r = vec2<u32>(0u);
  for (var i = 63u; i < 64u; i = i - 1u) {
    let bit = (select(a.x >> (i & 31u), a.y >> (i & 31u), i >= 32u)) & 1u;
    let over = r.y >> 31u;
    r = vec2<u32>((r.x << 1u) | bit, (r.y << 1u) | (r.x >> 31u));
    q = vec2<u32>(q.x << 1u, (q.y << 1u) | (q.x >> 31u));
    if (over == 1u || !rt_ult_words(r, b)) {
      r = rt_sub_i64(r, b);
      q.x = q.x | 1u;
    }
  }
  return vec4<u32>(q, r);
}
fn rt_floor_div_i64(a: rt_i64, b: rt_i64) -> rt_i64 {
  let d = rt_udiv_words(rt_abs_i64(a), rt_abs_i64(b));
  if (((a.y ^ b.y) >> 31u) == 0u) { return d.xy; }
  let q = rt_neg_i64(d.xy);
  if ((d.z | d.w) != 0u) { return rt_sub_i64(q, vec2<u32>(1u, 0u)); }
  return q;
}
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
let v0 = rt_i64_make(b0[2u * a0], b0[2u * a0 + 1u]);
let v1 = rt_i64_make(b1[2u * a1], b1[2u * a1 + 1u]);
let v2 = rt_floor_div_i64(v0, v1);
let o0 = P.w[0].w + (i);
{ let w = rt_words(v2); b2[2u * o0] = w.x; b2[2u * o0 + 1u] = w.y; }
}
