// Attention without a matrix of scores: each thread owns a row (a query, or a key in the gradients of keys and values)
// and goes along the rows of the other side, ROWS of which lie in workgroup memory at a time: `xs` is what scores are
// made with, `ys` what is weighted. Forward it keeps a running maximum and sum (online softmax; FlashAttention, Dao et
// al. 2022). Host side: rust/gpu/src/flash.rs. Parameters: w[0] = (matrices, own rows, other rows, tiles of own rows),
// w[1].x = scale.

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
@group(0) @binding(3) var<storage, read_write> b3: array<u32>;
const XQ = 1u; // vectors of four in a row of xs, of ys
const YQ = 1u;
const ROWS = 16u;
const CAUSAL = false; // other rows are seen up to (or, as OWN_KEYS, from) the own row's number on
const OWN_KEYS = false;
fn at(m: u32, row: u32, n: u32) -> u32 { return (m * n + row) * 4u; }
fn quad_x(m: u32, row: u32, c: u32) -> vec4<f32> {
  let i = at(m, row, P.w[0].z);
  return vec4<f32>(bitcast<f32>(b1[i]), bitcast<f32>(b1[i + 1u]), bitcast<f32>(b1[i + 2u]), bitcast<f32>(b1[i + 3u]));
}
fn quad_y(m: u32, row: u32, c: u32) -> vec4<f32> {
  let i = at(m, row, P.w[0].z);
  return vec4<f32>(bitcast<f32>(b2[i]), bitcast<f32>(b2[i + 1u]), bitcast<f32>(b2[i + 2u]), bitcast<f32>(b2[i + 3u]));
}
fn quad_q(m: u32, row: u32) -> vec4<f32> {
  let i = at(m, row, P.w[0].y);
  return vec4<f32>(bitcast<f32>(b0[i]), bitcast<f32>(b0[i + 1u]), bitcast<f32>(b0[i + 2u]), bitcast<f32>(b0[i + 3u]));
}
//@end

var<workgroup> xs: array<vec4<f32>, ROWS * XQ>;
var<workgroup> ys: array<vec4<f32>, ROWS * YQ>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
  let number = group.x + group.y * 32768u;
  let m = number / P.w[0].w;
  if (m >= P.w[0].x) { return; }
  let first = (number % P.w[0].w) * 64u;
  let mine = first + lid < P.w[0].y;
  let row = min(first + lid, P.w[0].y - 1u);
  let scale = bitcast<f32>(P.w[1].x);
  var low = 0u;
  var high = P.w[0].z;
  if (CAUSAL && OWN_KEYS) { low = first; }
  if (CAUSAL && !OWN_KEYS) { high = min(high, first + 64u); }
  //@begin open
  let q0 = quad_q(m, row) * scale;
  var o0 = vec4<f32>();
  var top = -3.4028234e38;
  var sum = 0.0;
  //@end
  for (var j0 = low; j0 < high; j0 = j0 + ROWS) {
    workgroupBarrier();
    for (var t = lid; t < ROWS * XQ; t = t + 64u) {
      let j = j0 + t / XQ;
      var v = vec4<f32>();
      if (j < P.w[0].z) { v = quad_x(m, j, t % XQ); }
      xs[t] = v;
    }
    for (var t = lid; t < ROWS * YQ; t = t + 64u) {
      let j = j0 + t / YQ;
      var v = vec4<f32>();
      if (j < P.w[0].z) { v = quad_y(m, j, t % YQ); }
      ys[t] = v;
    }
    workgroupBarrier();
    for (var r = 0u; r < ROWS; r = r + 4u) {
      //@begin step
      for (var u = r; u < r + 4u; u = u + 1u) {
        if (j0 + u < high) {
          let s = dot(q0, xs[u]);
          let next = max(top, s);
          let change = rt_exp_f32(top - next);
          let p = rt_exp_f32(s - next);
          sum = sum * change + p;
          o0 = o0 * change + p * ys[u];
          top = next;
        }
      }
      //@end
    }
  }
  if (mine) {
    //@begin close
    let i = at(m, row, P.w[0].y);
    b3[i] = bitcast<u32>(o0.x / sum);
    b3[i + 1u] = bitcast<u32>(o0.y / sum);
    b3[i + 2u] = bitcast<u32>(o0.z / sum);
    b3[i + 3u] = bitcast<u32>(o0.w / sum);
    //@end
  }
}
