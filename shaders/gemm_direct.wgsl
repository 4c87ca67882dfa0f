// C = A B for adapters that are CPUs (they have no workgroup memory to gain from, and barriers are dear): each thread
// makes TM elements of a column of C in registers. Eight threads of a subgroup load eight elements of a column of A at
// once and tell each other. Workgroups count tiles along N, then M, then parts of K, then batches, as in
// gemm.wgsl, whose holes these are. Host side: rust/gpu/src/gemm.rs.
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
const TM = 8u;
//@end

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32,
  @builtin(subgroup_invocation_id) lane: u32) {
  let tile = group.x + group.y * 32768u;
  if (tile >= P.w[1].w) { return; }
  let n = (tile % P.w[1].y) * 64u + lid;
  let rest = tile / P.w[1].y;
  let m0 = (rest % P.w[1].z) * TM;
  let part = (rest / P.w[1].z) % P.w[0].w;
  let batch = rest / (P.w[1].z * P.w[0].w);
  let last = P.w[0].x - 1u;
  let column = column_at(min(n, P.w[0].y - 1u));
  let k_end = min(P.w[0].z, (part + 1u) * P.w[1].x);
  //@begin sums
  var c0 = 0.0;
  var c1 = 0.0;
  var c2 = 0.0;
  var c3 = 0.0;
  var c4 = 0.0;
  var c5 = 0.0;
  var c6 = 0.0;
  var c7 = 0.0;
  //@end
  for (var k0 = part * P.w[1].x; k0 < k_end; k0 = k0 + 1u) {
    let k = deep_at(k0);
    let b = load_b(batch, k, column);
    //@begin multiply
    let a0 = load_a(batch, min(m0 + lane % 8u, last), k);
    c0 = c0 + subgroupBroadcast(a0, 0u) * b;
    c1 = c1 + subgroupBroadcast(a0, 1u) * b;
    c2 = c2 + subgroupBroadcast(a0, 2u) * b;
    c3 = c3 + subgroupBroadcast(a0, 3u) * b;
    c4 = c4 + subgroupBroadcast(a0, 4u) * b;
    c5 = c5 + subgroupBroadcast(a0, 5u) * b;
    c6 = c6 + subgroupBroadcast(a0, 6u) * b;
    c7 = c7 + subgroupBroadcast(a0, 7u) * b;
    //@end
  }
  if (n < P.w[0].y) {
    //@begin results
    if (m0 + 0u <= last) { put(batch, part, m0 + 0u, column, c0); }
    if (m0 + 1u <= last) { put(batch, part, m0 + 1u, column, c1); }
    if (m0 + 2u <= last) { put(batch, part, m0 + 2u, column, c2); }
    if (m0 + 3u <= last) { put(batch, part, m0 + 3u, column, c3); }
    if (m0 + 4u <= last) { put(batch, part, m0 + 4u, column, c4); }
    if (m0 + 5u <= last) { put(batch, part, m0 + 5u, column, c5); }
    if (m0 + 6u <= last) { put(batch, part, m0 + 6u, column, c6); }
    if (m0 + 7u <= last) { put(batch, part, m0 + 7u, column, c7); }
    //@end
  }
}
