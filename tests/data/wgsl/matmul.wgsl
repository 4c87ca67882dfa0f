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
const A_ROWS_FIRST = false;
const B_ROWS_FIRST = false;
var<workgroup> tile_a: array<f32, BK * (BM + 1u)>;
var<workgroup> tile_b: array<f32, BK * (BN + 1u)>;
@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let tile = group.x + group.y * 32768u;
  if (tile >= P.w[1].w) { return; }
  let n0 = (tile % P.w[1].y) * BN;
  let rest = tile / P.w[1].y;
  let m0 = (rest % P.w[1].z) * BM;
  let part = (rest / P.w[1].z) % P.w[0].w;
  let batch = rest / (P.w[1].z * P.w[0].w);
  let tx = lid % (BN / TN);
  let ty = lid / (BN / TN);
  let k_end = min(P.w[0].z, (part + 1u) * P.w[1].x);
  var sum: array<f32, TM * TN>;
  for (var i = 0u; i < TM * TN; i = i + 1u) { sum[i] = 0.0; }
  for (var k0 = part * P.w[1].x; k0 < k_end; k0 = k0 + BK) {
    for (var i = lid; i < BM * BK; i = i + THREADS) {
      let r = select(i / BK, i % BM, A_ROWS_FIRST);
      let c = select(i % BK, i / BM, A_ROWS_FIRST);
      var v = 0.0;
      if (m0 + r < P.w[0].x && k0 + c < k_end) { v = load_a(batch, m0 + r, k0 + c); }
      tile_a[c * (BM + 1u) + r] = v;
    }
    for (var i = lid; i < BN * BK; i = i + THREADS) {
      let r = select(i / BN, i % BK, B_ROWS_FIRST);
      let c = select(i % BN, i / BK, B_ROWS_FIRST);
      var v = 0.0;
      if (n0 + c < P.w[0].y && k0 + r < k_end) { v = load_b(batch, k0 + r, n0 + c); }
      tile_b[r * (BN + 1u) + c] = v;
    }
    workgroupBarrier();
    for (var k = 0u; k < BK; k = k + 1u) {
      var a: array<f32, TM>;
      var b: array<f32, TN>;
      for (var i = 0u; i < TM; i = i + 1u) { a[i] = tile_a[k * (BM + 1u) + ty + i * (BM / TM)]; }
      for (var j = 0u; j < TN; j = j + 1u) { b[j] = tile_b[k * (BN + 1u) + tx + j * (BN / TN)]; }
      for (var i = 0u; i < TM; i = i + 1u) {
        for (var j = 0u; j < TN; j = j + 1u) {
          sum[i * TN + j] = sum[i * TN + j] + a[i] * b[j];
        }
      }
    }
    workgroupBarrier();
  }
  for (var i = 0u; i < TM; i = i + 1u) {
    for (var j = 0u; j < TN; j = j + 1u) {
      let m = m0 + ty + i * (BM / TM);
      let n = n0 + tx + j * (BN / TN);
      if (m < P.w[0].x && n < P.w[0].y) { put(batch, part, m, n, sum[i * TN + j]); }
    }
  }
}
