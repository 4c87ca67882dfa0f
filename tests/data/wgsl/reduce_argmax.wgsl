// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 2 1 1
// params: 9 50 1 50 0 0 50 256
// binding: in float32 9x50 0 4194304
// binding: out int64 9 2048 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_isnan_f32(x: f32) -> bool { return rt_mag(x) > 0x7f800000u; }
fn rt_gt_f32(a: f32, b: f32) -> bool { return a > b; }
alias rt_i64 = vec2<u32>;
fn rt_words(a: rt_i64) -> vec2<u32> { return a; }
fn rt_i64_of_u32(x: u32) -> rt_i64 { return vec2<u32>(x, 0u); }
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 32u;
fn src(g0: u32, g1: u32) -> f32 {
let sa0 = P.w[1].y + (g0) * P.w[1].z + (g1);
let sv0 = bitcast<f32>(b0[sa0]);
return sv0;
}
fn put(k: u32, part: u32, s: State) {
let at0 = P.w[1].w + (k);
{ let w = rt_words(rt_i64_of_u32(s.i)); b1[2u * at0] = w.x; b1[2u * at0 + 1u] = w.y; }
}
struct State { v: f32, i: u32 }
fn start() -> State { return State(rt_from_bits(0xff800000u), 0xffffffffu); }
fn beats(a: f32, b: f32) -> bool { return (rt_isnan_f32(a) && !rt_isnan_f32(b)) || rt_gt_f32(a, b); }
fn merge(a: State, b: State) -> State {
if (b.i == 0xffffffffu) { return a; }
if (a.i == 0xffffffffu || beats(b.v, a.v)) { return b; }
if (b.i < a.i && !beats(a.v, b.v)) { return b; }
return a;
}
fn step(s: State, k: u32, r: u32) -> State {
let v = src(k, r);
return merge(s, State(v, r));
}
var<workgroup> tree: array<State, 256>;
fn fold_lanes(lid: u32, lane: u32, mine: State) -> State {
  tree[lid] = mine;
  for (var half = LANES / 2u; half > 0u; half = half / 2u) {
    workgroupBarrier();
    if (lane < half) {
      tree[lid] = merge(tree[lid], tree[lid + half]);
    }
  }
  return tree[lid];
}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let item = (group.x + group.y * 32768u) * (256u / LANES) + lid / LANES;
  let parts = P.w[0].z;
  let row = item / parts;
  let part = item - row * parts;
  let valid = row < P.w[0].x;
  var s = start();
  if (valid) {
    let end = min(P.w[0].y, (part + 1u) * P.w[0].w);
    for (var r = part * P.w[0].w + lane; r < end; r = r + LANES) {
      s = step(s, row, r);
    }
  }
  if (LANES > 1u) {
    s = fold_lanes(lid, lane, s);
  }
  if (valid && lane == 0u) {
    put(row, part, s);
  }
}
