// C = A B, tiled: a workgroup makes a BM x BN tile of C in registers (blocks of 4 x 4 per thread) from BK-deep
// slices of
// A and B in workgroup memory. What A, B and C are (matrices, windows of images ...) is in the holes; what a place
// along K or a column needs (an image, a pixel) is worked out once per thread where it can be. Workgroups count tiles
// along N, then M, then parts of K, then batches. Host side: rust/gpu/src/gemm.rs (matmul.rs, conv.rs).
// Parameters: w[0] = (M, N, K, parts of K), w[1] = (values per part, tiles along N, tiles along M, all tiles).

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
alias Deep = u32; // a place along K
alias Column = u32;
fn deep_at(k: u32) -> Deep { return k; }
fn column_at(n: u32) -> Column { return n; }
fn load_a(b: u32, m: u32, k: Deep) -> f32 { return bitcast<f32>(b0[(b * P.w[0].x + m) * P.w[0].z + k]); }
fn load_b(b: u32, k: Deep, n: Column) -> f32 { return bitcast<f32>(b1[(b * P.w[0].z + k) * P.w[0].y + n]); }
fn put(b: u32, part: u32, m: u32, n: Column, v: f32) { b2[(b * P.w[0].x + m) * P.w[0].y + n] = bitcast<u32>(v); }
//@end
//@begin tile
const BM = 64u;
const BN = 64u;
const BK = 16u;
const THREADS = 256u; // a multiple of BM, BN and BK
const WIDE = 16u; // threads along N
const TM = 4u;
const TN = 4u;
const A_ROWS_FIRST = false; // consecutive threads read consecutive rows of A (else columns)
const B_ROWS_FIRST = false;
//@end
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
  //@begin sums
  var c0 = vec4<f32>();
  var c1 = vec4<f32>();
  var c2 = vec4<f32>();
  var c3 = vec4<f32>();
  //@end
  for (var k0 = part * P.w[1].x; k0 < k_end; k0 = k0 + BK) {
    fill_a(lid, batch, m0, k0, k_end);
    fill_b(lid, batch, n0, k0, k_end, column);
    workgroupBarrier();
    for (var k = 0u; k < BK; k = k + 1u) {
      //@begin multiply
      let a0 = tile_a[k * ROW_A + ty];
      let b0 = tile_b[k * ROW_B + tx];
      c0 = c0 + a0.x * b0;
      c1 = c1 + a0.y * b0;
      c2 = c2 + a0.z * b0;
      c3 = c3 + a0.w * b0;
      //@end
    }
    workgroupBarrier();
  }
  var c: array<vec4<f32>, TM * TN / 4u>;
  //@begin results
  c[0] = c0;
  c[1] = c1;
  c[2] = c2;
  c[3] = c3;
  //@end
  // limits that are not constants: unrolled, this would be most of the kernel's text
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
