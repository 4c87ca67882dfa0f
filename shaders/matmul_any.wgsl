// The product of integer matrices, one thread per element. Host side: rust/gpu/src/matmul.rs.
// Parameters: w[0] = (M, N, K, elements of the result).

//@begin io
struct Params { w: array<vec4<u32>, 8> }
@group(1) @binding(0) var<uniform> P: Params;
@group(0) @binding(0) var<storage, read_write> b0: array<u32>;
@group(0) @binding(1) var<storage, read_write> b1: array<u32>;
@group(0) @binding(2) var<storage, read_write> b2: array<u32>;
alias Value = i32;
fn zero() -> Value { return 0; }
fn madd(s: Value, a: Value, b: Value) -> Value { return s + a * b; }
fn load_a(b: u32, m: u32, k: u32) -> Value { return bitcast<i32>(b0[(b * P.w[0].x + m) * P.w[0].z + k]); }
fn load_b(b: u32, k: u32, n: u32) -> Value { return bitcast<i32>(b1[(b * P.w[0].z + k) * P.w[0].y + n]); }
fn put(b: u32, m: u32, n: u32, v: Value) { b2[(b * P.w[0].x + m) * P.w[0].y + n] = bitcast<u32>(v); }
//@end

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) gid: vec3<u32>) {
  let t = gid.x + gid.y * 8388608u;
  if (t >= P.w[0].w) { return; }
  let n = t % P.w[0].y;
  let row = t / P.w[0].y;
  let m = row % P.w[0].x;
  let b = row / P.w[0].x;
  var s = zero();
  for (var k = 0u; k < P.w[0].z; k = k + 1u) {
    s = madd(s, load_a(b, m, k), load_b(b, k, n));
  }
  put(b, m, n, s);
}
