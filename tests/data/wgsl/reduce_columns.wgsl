// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 1 1 1
// params: 64 200 1 200 0 0 64 12800
// binding: in float32 200x64 0 4194304
// binding: out float32 64 51200 4194304
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 1u;
fn src(g0: u32, g1: u32) -> f32 {
let sa0 = P.w[1].y + (g0) + (g1) * P.w[1].z;
let sv0 = bitcast<f32>(b0[sa0]);
return sv0;
}
fn put(k: u32, part: u32, s: State) {
let at0 = P.w[1].w + (k);
b1[at0] = bitcast<u32>(s);
}
alias State = f32;
fn start() -> State { return 0.0; }
fn merge(a: State, b: State) -> State { return a + b; }
fn step(s: State, k: u32, r: u32) -> State {
let v = src(k, r);
return merge(s, v);
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
