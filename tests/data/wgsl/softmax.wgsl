// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 1 1 1
// params: 6 70 0 0 0 70 448 70
// binding: in float32 6x70 0 4194304
// binding: out float32 6x70 1792 4194304
fn rt_from_bits(u: u32) -> f32 { return bitcast<f32>(u); }
fn rt_inf() -> f32 { return rt_from_bits(0x7f800000u); }
fn rt_mag(x: f32) -> u32 { return bitcast<u32>(x) & 0x7fffffffu; }
fn rt_isnan_f32(x: f32) -> bool { return rt_mag(x) > 0x7f800000u; }
fn rt_ldexp(x: f32, n: i32) -> f32 {
  let h = clamp(n, -300, 300) / 2;
  let r = clamp(n, -300, 300) - h;
  return x * rt_pow2(h) * rt_pow2(r);
}
fn rt_pow2(n: i32) -> f32 { return rt_from_bits(u32(clamp(n, -126, 127) + 127) << 23u); }
fn rt_exp_tail(r: f32) -> f32 {
  let p = 0.16666667 + r * (0.041666668 + r * (0.008333334 + r * (0.0013888889 + r * 0.0001984127)));
  return r + r * r * (0.5 + r * p);
}
fn rt_exp_f32(x: f32) -> f32 {
  if (rt_isnan_f32(x)) { return x; }
  if (x > 88.8) { return rt_inf(); }
  if (x < -104.0) { return 0.0; }
  let n = round(x * 1.44269504);
  let r = (x - n * 0.693359375) + n * 2.12194440e-4;
  return rt_ldexp(1.0 + rt_exp_tail(r), i32(n));
}
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 32u;
fn raw_s0(g0: u32, g1: u32) -> f32 {
let sa0 = P.w[1].x + (g0) * P.w[1].y + (g1);
let sv0 = bitcast<f32>(b0[sa0]);
return sv0;
}
fn s0(g0: u32, g1: u32) -> f32 { return raw_s0(g0, g1); }
fn out(g0: u32, g1: u32, v: f32) {
let at = P.w[1].z + (g0) * P.w[1].w + (g1);
b1[at] = bitcast<u32>(v);
}
alias State = vec2<f32>;
fn start() -> State { return vec2<f32>(-3.4028234e38, 0.0); }
fn step(s: State, k: u32, j: u32) -> State {
let v = s0(k, j);
if (v > s.x) { return vec2<f32>(v, s.y * rt_exp_f32(s.x - v) + 1.0); }
return vec2<f32>(s.x, s.y + rt_exp_f32(v - s.x));
}
fn merge(a: State, b: State) -> State {
let m = max(a.x, b.x);
return vec2<f32>(m, a.y * rt_exp_f32(a.x - m) + b.y * rt_exp_f32(b.x - m));
}
fn finish(k: u32, s: State) -> State { return s; }
fn note(k: u32, s: State) {  }
fn write(k: u32, j: u32, s: State) { out(k, j, rt_exp_f32(s0(k, j) - s.x) / s.y); }
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
