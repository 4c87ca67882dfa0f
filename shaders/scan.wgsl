// Running sums, products, extremes along lines: LANES threads share a line and go through it chunk by chunk, each
// chunk scanned in workgroup memory and joined to what came before. Host side: rust/gpu/src/scan.rs.
// Parameters: w[0] = (lines, elements per line, ...).

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
const LANES = 256u;
fn src(k: u32, j: u32) -> f32 { return bitcast<f32>(b0[k * P.w[0].y + j]); }
fn write(k: u32, j: u32, s: State) { b1[k * P.w[0].y + j] = bitcast<u32>(s); }
//@end
//@begin op
alias State = f32;
fn start() -> State { return 0.0; }
fn one(k: u32, j: u32) -> State { return src(k, j); }
fn merge(a: State, b: State) -> State { return a + b; }
//@end

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
