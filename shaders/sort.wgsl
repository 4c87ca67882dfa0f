// Bitonic sort of (key, position) pairs in rows padded to a power of two. A pass compares pairs `gap` apart inside runs
// of `run`; passes whose pairs lie within 1024 elements run together in workgroup memory. Positions break ties, so the
// order is stable. Host side: rust/gpu/src/sort.rs.
// Parameters: w[0] = (elements, row length, first run, last run), w[1].x = gap of the first pass.

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
const WIDE = false; // keys of two words
fn load(i: u32) -> vec3<u32> { return vec3<u32>(b0[2u * i], 0u, b0[2u * i + 1u]); }
fn save(i: u32, v: vec3<u32>) { b0[2u * i] = v.x; b0[2u * i + 1u] = v.z; }
//@end

fn after(a: vec3<u32>, b: vec3<u32>) -> bool {
  if (a.x != b.x) { return a.x > b.x; }
  if (a.y != b.y) { return a.y > b.y; }
  return a.z > b.z;
}

//@begin main
var<workgroup> block: array<vec3<u32>, 1024>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let base = (group.x + group.y * 32768u) * 1024u;
  for (var i = lid; i < 1024u; i = i + 256u) {
    if (base + i < P.w[0].x) { block[i] = load(base + i); }
  }
  workgroupBarrier();
  var gap = P.w[1].x;
  for (var run = P.w[0].z; run <= P.w[0].w; run = run * 2u) {
    for (; gap > 0u; gap = gap / 2u) {
      for (var t = lid; t < 512u; t = t + 256u) {
        let i = (t / gap) * gap * 2u + t % gap;
        let up = (((base + i) % P.w[0].y) & run) == 0u;
        let a = block[i];
        let b = block[i + gap];
        if (after(a, b) == up) {
          block[i] = b;
          block[i + gap] = a;
        }
      }
      workgroupBarrier();
    }
    gap = run;
  }
  for (var i = lid; i < 1024u; i = i + 256u) {
    if (base + i < P.w[0].x) { save(base + i, block[i]); }
  }
}
//@end
