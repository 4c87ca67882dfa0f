// Kernels that fold a row into a state and then write each of its elements: softmax, layer norm, their gradients.
// LANES threads share a row. Host side: rust/gpu/src/rows.rs. Parameters: w[0] = (rows, elements per row, ...).

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 64u;
fn src(k: u32, j: u32) -> f32 { return bitcast<f32>(b0[k * P.w[0].y + j]); }
fn out(k: u32, j: u32, v: f32) { b1[k * P.w[0].y + j] = bitcast<u32>(v); }
//@end
//@begin op
alias State = vec2<f32>; // the largest value so far, the sum of exp(value - largest)
fn start() -> State { return vec2<f32>(-3.4028234e38, 0.0); }
fn step(s: State, k: u32, j: u32) -> State {
  let v = src(k, j);
  if (v > s.x) { return vec2<f32>(v, s.y * rt_exp_f32(s.x - v) + 1.0); }
  return vec2<f32>(s.x, s.y + rt_exp_f32(v - s.x));
}
fn merge(a: State, b: State) -> State {
  let m = max(a.x, b.x);
  return vec2<f32>(m, a.y * rt_exp_f32(a.x - m) + b.y * rt_exp_f32(b.x - m));
}
fn finish(k: u32, s: State) -> State { return s; }
fn note(k: u32, s: State) {}
fn write(k: u32, j: u32, s: State) { out(k, j, rt_exp_f32(src(k, j) - s.x) / s.y); }
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
  let row = (group.x + group.y * 32768u) * (256u / LANES) + lid / LANES;
  let n = P.w[0].y;
  let valid = row < P.w[0].x;
  var s = start();
  if (valid) {
    for (var j = lane; j < n; j = j + LANES) {
      s = step(s, row, j);
    }
  }
  if (LANES > 1u) {
    s = fold_lanes(lid, lane, s);
    if (lane == 0u) {
      tree[lid] = s;
    }
    workgroupBarrier();
    s = tree[lid - lane];
  }
  if (valid) {
    s = finish(row, s);
    if (lane == 0u) {
      note(row, s);
    }
    for (var j = lane; j < n; j = j + LANES) {
      write(row, j, s);
    }
  }
}
