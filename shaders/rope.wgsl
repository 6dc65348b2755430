// After the q, k, v products: biases, norms of heads, rotation; q is scaled for the scores, k and v go to the cache as
// 16-bit integers with one scale a vector. One workgroup a head and token: first the q heads, then k's, then v's.
//#include step
@group(0) @binding(0) var<uniform> step: Step;
// (q heads, KV heads, -, -), then the KV head of every q head.
@group(0) @binding(1) var<storage, read> heads: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> projected: array<f32>;
// Cosine and sine of every position and pair.
@group(0) @binding(3) var<storage, read> rotations: array<vec2<f32>>;
// q norm and k norm (HEAD_DIM each, where QK_NORM), then the biases of all rows (where BIAS).
@group(0) @binding(4) var<storage, read> vectors: array<f32>;
@group(0) @binding(5) var<storage, read_write> queries: array<f32>;
// Per KV head CONTEXT positions of HEAD_DIM values, two a word: all of k, then all of v.
@group(0) @binding(6) var<storage, read_write> cache: array<u32>;
@group(0) @binding(7) var<storage, read_write> cache_scales: array<f32>;

var<workgroup> values: array<f32, HEAD_DIM>;
var<workgroup> rotated: array<f32, HEAD_DIM>;

fn rotate(i: u32, position: u32) -> f32 {
  if i >= ROPE_DIMS {
    return values[i];
  }
//#if PAIRS
  let r = rotations[position * (ROPE_DIMS / 2u) + i / 2u];
  let first = (i & 1u) == 0u;
  let other = values[i ^ 1u];
//#else
  let half = ROPE_DIMS / 2u;
  let first = i < half;
  let r = rotations[position * half + select(i - half, i, first)];
  let other = values[select(i - half, i + half, first)];
//#endif
  return values[i] * r.x + select(other, -other, first) * r.y;
}

@compute @workgroup_size(HEAD_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let q_heads = heads[0].x;
  let kv_heads = heads[0].y;
  let head = workgroup.x;
  let token = workgroup.y;
  let position = step.position + token;
  let is_q = head < q_heads;
  let is_v = head >= q_heads + kv_heads;
  let base = (token * (q_heads + 2u * kv_heads) + head) * HEAD_DIM;
  for (var i = thread; i < HEAD_DIM; i += HEAD_THREADS) {
    var v = projected[base + i];
//#if BIAS
    v += vectors[BIAS_AT + head * HEAD_DIM + i];
//#endif
    values[i] = v;
  }
  workgroupBarrier();
//#if QK_NORM
  var square = 0.0;
  for (var i = 0u; i < HEAD_DIM; i++) {
    square += values[i] * values[i];
  }
  let factor = 1.0 / sqrt(square / f32(HEAD_DIM) + EPSILON);
  workgroupBarrier();
  if !is_v {
    for (var i = thread; i < HEAD_DIM; i += HEAD_THREADS) {
      values[i] = values[i] * factor * vectors[select(HEAD_DIM, 0u, is_q) + i];
    }
  }
  workgroupBarrier();
//#endif
  for (var i = thread; i < HEAD_DIM; i += HEAD_THREADS) {
    if is_v {
      rotated[i] = values[i];
    } else if is_q {
      queries[(token * q_heads + head) * HEAD_DIM + i] = rotate(i, position) * QUERY_SCALE;
    } else {
      rotated[i] = rotate(i, position);
    }
  }
  workgroupBarrier();
  if is_q {
    return;
  }
  var largest = 0.0;
  for (var i = 0u; i < HEAD_DIM; i++) {
    largest = max(largest, abs(rotated[i]));
  }
  let inverse = select(32767.0 / largest, 0.0, largest == 0.0);
  // k of all heads, then v of all heads.
  let row = (head - q_heads) * CONTEXT + position;
  for (var i = thread; i < HEAD_DIM / 2u; i += HEAD_THREADS) {
    let pair = vec2<i32>(clamp(round(vec2<f32>(rotated[2u * i], rotated[2u * i + 1u]) * inverse), vec2<f32>(-32767.0), vec2<f32>(32767.0)));
    cache[row * (HEAD_DIM / 2u) + i] = bitcast<u32>((pair.x & 0xffff) | (pair.y << 16u));
  }
  if thread == 0u {
    cache_scales[row] = largest / 32767.0;
  }
}
