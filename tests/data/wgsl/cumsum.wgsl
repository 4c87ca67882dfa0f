// Printed by rtorch-gpu for tests/test_shaders.py (cargo test, RTORCH_UPDATE=1).
// groups: 3 1 1
// params: 3 700 0 700 2112 700
// binding: in float32 3x700 0 4194304
// binding: out float32 3x700 8448 4194304
struct Params { w: array<vec4<u32>, 64> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 256u;
fn src(g0: u32, g1: u32) -> f32 {
let sa0 = P.w[0].z + (g0) * P.w[0].w + (g1);
let sv0 = bitcast<f32>(b0[sa0]);
return sv0;
}
fn write(k: u32, j: u32, s: State) {
let at0 = P.w[1].x + (k) * P.w[1].y + (j);
b1[at0] = bitcast<u32>(s);
}
alias State = f32;
fn start() -> State { return 0.0; }
fn one(k: u32, j: u32) -> State { return src(k, j); }
fn merge(a: State, b: State) -> State { return a + b; }
var<workgroup> chunk: array<State, 256>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let lane = lid % LANES;
  let line = (group.x + group.y * 32768u) * (256u / LANES) + lid / LANES;
  let n = P.w[0].y;
  let valid = line < P.w[0].x;
  var carry = start();
  for (var first = 0u; first < n; first = first + LANES) {
    let j = first + lane;
    var s = start();
    if (valid && j < n) { s = one(line, j); }
    if (LANES > 1u) {
      chunk[lid] = s;
      for (var d = 1u; d < LANES; d = d * 2u) {
        workgroupBarrier();
        if (lane >= d) { s = merge(chunk[lid - d], s); }
        workgroupBarrier();
        chunk[lid] = s;
      }
      workgroupBarrier();
    }
    let all = merge(carry, s);
    if (valid && j < n) { write(line, j, all); }
    if (LANES > 1u) {
      carry = merge(carry, chunk[lid - lane + LANES - 1u]);
      workgroupBarrier();
    } else {
      carry = all;
    }
  }
}
