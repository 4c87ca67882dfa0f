// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 4 1 1
// params: 3 126 72 1 72 4 1 4 8 3 1 1 1 9 9 1
// params: 1 1 7 7 0 72 9 3 256 504 63 7 1280 189 63 7
// binding: in float32 3x8x3x3 0 4194304
// binding: in float32 2x8x9x7 1024 4194304
// binding: out float32 2x3x9x7 5120 4194304
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
fn load_a(b: u32, m: u32, k: u32) -> f32 {
var inner = k;
let k1 = inner % 3u;
inner = inner / 3u;
let k0 = inner % 3u;
inner = inner / 3u;
let ch = inner;
let at = P.w[5].x + (b * P.w[2].y + m) * P.w[5].y + (ch) * P.w[5].z + (k0) * P.w[5].w + (k1);
return bitcast<f32>(b0[at]);
}
fn load_b(b: u32, k: u32, n: u32) -> f32 {
var inner = k;
let k1 = inner % 3u;
inner = inner / 3u;
let k0 = inner % 3u;
inner = inner / 3u;
let ch = inner;
var rest = n;
let p1 = rest % P.w[4].w;
rest = rest / P.w[4].w;
let p0 = rest % P.w[3].z;
rest = rest / P.w[3].z;
let img = rest;
let q0 = p0 * P.w[2].z + k0 * P.w[3].x - P.w[2].w;
if (q0 >= P.w[3].y) { return 0.0; }
let q1 = p1 * P.w[3].w + k1 * P.w[4].y - P.w[4].x;
if (q1 >= P.w[4].z) { return 0.0; }
let at = P.w[6].x + (img) * P.w[6].y + (b * P.w[2].x + ch) * P.w[6].z + (q0) * P.w[6].w + (q1);
return bitcast<f32>(b1[at]);
}
fn store(g0: u32, g1: u32, g2: u32, g3: u32, v: f32) {
let at = P.w[7].x + (g0) * P.w[7].y + (g1) * P.w[7].z + (g2) * P.w[7].w + (g3);
b2[at] = bitcast<u32>(v);
}
fn put(b: u32, part: u32, m: u32, n: u32, v: f32) {
var rest = n;
let p1 = rest % P.w[4].w;
rest = rest / P.w[4].w;
let p0 = rest % P.w[3].z;
rest = rest / P.w[3].z;
let img = rest;
store(img, b * P.w[2].y + m, p0, p1, v);
}
const BM = 32u;
const BN = 32u;
const BK = 16u;
const TM = 4u;
const TN = 4u;
const THREADS = 64u;
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
