// Reductions: LANES threads share one item, a part of one row; rows are the kept elements. Each thread folds every
// LANES-th value into a state, a tree in workgroup memory merges them. Host side: rust/gpu/src/reduce.rs.
// Parameters: w[0] = (rows, values per row, parts per row, values per part).

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 64u;
fn src(k: u32, r: u32) -> f32 { return bitcast<f32>(b0[k * P.w[0].y + r]); }
fn put(k: u32, part: u32, s: State) { b1[k * P.w[0].z + part] = bitcast<u32>(s); }
//@end
//@begin op
alias State = f32;
fn start() -> State { return 0.0; }
fn step(s: State, k: u32, r: u32) -> State { return s + src(k, r); }
fn merge(a: State, b: State) -> State { return a + b; }
//@end

var<workgroup> tree: array<State, 256>;

//@begin lanes
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
//@end
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
