// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 2 1 1
// params: 40 50 33 1 33 1 1 2 1065353216 1065353216 0 1320 33 2688 1650 50
// params: 6016 2000 50
// binding: in float32 2x40x33 0 4194304
// binding: in float32 2x33x50 10752 4194304
// binding: out float32 2x40x50 24064 4194304
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
alias Deep = u32;
alias Column = u32;
fn deep_at(k: u32) -> Deep { return k; }
fn column_at(n: u32) -> Column { return n; }
fn raw_load_a(g0: u32, g1: u32, g2: u32) -> f32 {
let sa0 = P.w[2].z + (g0) * P.w[2].w + (g1) * P.w[3].x + (g2);
let sv0 = bitcast<f32>(b0[sa0]);
return sv0;
}
fn load_a(b: u32, m: u32, k: u32) -> f32 { return raw_load_a(b, m, k); }
fn raw_load_b(g0: u32, g1: u32, g2: u32) -> f32 {
let sa0 = P.w[3].y + (g0) * P.w[3].z + (g1) * P.w[3].w + (g2);
let sv0 = bitcast<f32>(b1[sa0]);
return sv0;
}
fn load_b(b: u32, k: u32, n: u32) -> f32 { return raw_load_b(b, k, n); }
fn store(g0: u32, g1: u32, g2: u32, v: f32) {
let at = P.w[4].x + (g0) * P.w[4].y + (g1) * P.w[4].z + (g2);
b2[at] = bitcast<u32>(v);
}
fn put(b: u32, part: u32, m: u32, n: u32, v: f32) { store(b, m, n, bitcast<f32>(P.w[2].x) * v); }
const BM = 64u;
const BN = 64u;
const BK = 16u;
const TM = 4u;
const TN = 4u;
const THREADS = 256u;
const WIDE = 16u;
const A_ROWS_FIRST = false;
const B_ROWS_FIRST = false;
const ROW_A = BM / 4u + 1u;
const ROW_B = BN / 4u + 1u;
var<workgroup> tile_a: array<vec4<f32>, BK * ROW_A>;
var<workgroup> tile_b: array<vec4<f32>, BK * ROW_B>;
fn fill_a(lid: u32, batch: u32, m0: u32, k0: u32, k_end: u32) {
  if (A_ROWS_FIRST) {
    let r = lid % BM;
    for (var c = lid / BM; c < BK; c = c + THREADS / BM) {
      var v = 0.0;
      if (m0 + r < P.w[0].x && k0 + c < k_end) { v = load_a(batch, m0 + r, deep_at(k0 + c)); }
      tile_a[c * ROW_A + r / 4u][r % 4u] = v;
    }
  } else {
    let c = lid % BK;
    let k = deep_at(k0 + c);
    for (var r = lid / BK; r < BM; r = r + THREADS / BK) {
      var v = 0.0;
      if (m0 + r < P.w[0].x && k0 + c < k_end) { v = load_a(batch, m0 + r, k); }
      tile_a[c * ROW_A + r / 4u][r % 4u] = v;
    }
  }
}
fn fill_b(lid: u32, batch: u32, n0: u32, k0: u32, k_end: u32, column: Column) {
  if (B_ROWS_FIRST) {
    let r = lid % BK;
    let k = deep_at(k0 + r);
    for (var c = lid / BK; c < BN; c = c + THREADS / BK) {
      var v = 0.0;
      if (n0 + c < P.w[0].y && k0 + r < k_end) { v = load_b(batch, k, column_at(n0 + c)); }
      tile_b[r * ROW_B + c / 4u][c % 4u] = v;
    }
  } else {
    let c = lid % BN;
    for (var r = lid / BN; r < BK; r = r + THREADS / BN) {
      var v = 0.0;
      if (n0 + c < P.w[0].y && k0 + r < k_end) { v = load_b(batch, deep_at(k0 + r), column); }
      tile_b[r * ROW_B + c / 4u][c % 4u] = v;
    }
  }
}
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let tile = group.x + group.y * 32768u;
  if (tile >= P.w[1].w) { return; }
  let n0 = (tile % P.w[1].y) * BN;
  let rest = tile / P.w[1].y;
  let m0 = (rest % P.w[1].z) * BM;
  let part = (rest / P.w[1].z) % P.w[0].w;
  let batch = rest / (P.w[1].z * P.w[0].w);
  let tx = lid % WIDE;
  let ty = lid / WIDE;
  let column = column_at(n0 + lid % BN);
  let k_end = min(P.w[0].z, (part + 1u) * P.w[1].x);
var c0_0_0 = vec4<f32>();
var c0_0_1 = vec4<f32>();
var c0_0_2 = vec4<f32>();
var c0_0_3 = vec4<f32>();
  for (var k0 = part * P.w[1].x; k0 < k_end; k0 = k0 + BK) {
    fill_a(lid, batch, m0, k0, k_end);
    fill_b(lid, batch, n0, k0, k_end, column);
    workgroupBarrier();
    for (var k = 0u; k < BK; k = k + 1u) {
let a0 = tile_a[k * ROW_A + ty + 0u];
let b0 = tile_b[k * ROW_B + tx + 0u];
c0_0_0 = c0_0_0 + a0.x * b0;
c0_0_1 = c0_0_1 + a0.y * b0;
c0_0_2 = c0_0_2 + a0.z * b0;
c0_0_3 = c0_0_3 + a0.w * b0;
    }
    workgroupBarrier();
  }
  var c: array<vec4<f32>, TM * TN / 4u>;
c[0] = c0_0_0;
c[1] = c0_0_1;
c[2] = c0_0_2;
c[3] = c0_0_3;
  let rows = min(TM, P.w[0].x);
  let columns = min(TN, P.w[0].y);
  for (var j = 0u; j < columns; j = j + 1u) {
    let n = n0 + 4u * (tx + (j / 4u) * WIDE) + j % 4u;
    if (n < P.w[0].y) {
      let place = column_at(n);
      for (var i = 0u; i < rows; i = i + 1u) {
        let m = m0 + 4u * (ty + (i / 4u) * (BM / TM)) + i % 4u;
        if (m < P.w[0].x) { put(batch, part, m, place, c[((i / 4u) * (TN / 4u) + j / 4u) * 4u + i % 4u][j % 4u]); }
      }
    }
  }
}
