// After the q, k, v products: biases, norms of heads, rotation; q is scaled for the scores, k and v go to the cache as
// 16-bit integers with one scale a vector. One workgroup a head and token: first the q heads, then k's, then v's.
// An invocation takes pairs of values; for k and q, those that rotate together.
//#include step
@group(0) @binding(0) var<uniform> step: Step;
// (q heads, KV heads, -, -), then what attention.wgsl needs.
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

const PAIRS_OF_HEAD: u32 = HEAD_DIM / 2u;
const ROPE_PAIRS: u32 = ROPE_DIMS / 2u;

var<workgroup> values: array<f32, HEAD_DIM>;
var<workgroup> reduced: array<f32, HEAD_THREADS>;

// Places of the two values of a pair: the rotated pairs first, then the values that pass through.
fn places(pair: u32) -> vec2<u32> {
//#if !ADJACENT
  if pair < ROPE_PAIRS {
    return vec2<u32>(pair, pair + ROPE_PAIRS);
  }
//#endif
  return vec2<u32>(2u * pair, 2u * pair + 1u);
}

fn load(head: u32, base: u32, at: vec2<u32>) -> vec2<f32> {
  var v = vec2<f32>(projected[base + at.x], projected[base + at.y]);
//#if BIAS
  let bias = BIAS_AT + head * HEAD_DIM;
  v += vec2<f32>(vectors[bias + at.x], vectors[bias + at.y]);
//#endif
  return v;
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
//#if QK_NORM
  var square = 0.0;
  for (var pair = thread; pair < PAIRS_OF_HEAD; pair += HEAD_THREADS) {
    let v = load(head, base, places(pair));
    square += dot(v, v);
  }
  reduced[thread] = square;
  workgroupBarrier();
  square = 0.0;
  for (var i = 0u; i < HEAD_THREADS; i++) {
    square += reduced[i];
  }
  let factor = 1.0 / sqrt(square / f32(HEAD_DIM) + EPSILON);
  let weight = select(HEAD_DIM, 0u, is_q);
  workgroupBarrier();
//#endif
  var largest = 0.0;
  for (var pair = thread; pair < PAIRS_OF_HEAD; pair += HEAD_THREADS) {
    let at = places(pair);
    var v = load(head, base, at);
    if !is_v {
//#if QK_NORM
      v *= factor * vec2<f32>(vectors[weight + at.x], vectors[weight + at.y]);
//#endif
      if pair < ROPE_PAIRS {
        let r = rotations[position * ROPE_PAIRS + pair];
        v = vec2<f32>(v.x * r.x - v.y * r.y, v.y * r.x + v.x * r.y);
      }
    }
    values[at.x] = v.x;
    values[at.y] = v.y;
    largest = max(largest, max(abs(v.x), abs(v.y)));
  }
  reduced[thread] = largest;
  workgroupBarrier();
  if is_q {
    let to = (token * q_heads + head) * HEAD_DIM;
    for (var i = thread; i < HEAD_DIM; i += HEAD_THREADS) {
      queries[to + i] = values[i] * QUERY_SCALE;
    }
    return;
  }
  for (var i = 0u; i < HEAD_THREADS; i++) {
    largest = max(largest, reduced[i]);
  }
  let inverse = select(32767.0 / largest, 0.0, largest == 0.0);
  // k of all heads, then v of all heads.
  let row = (head - q_heads) * CONTEXT + position;
  for (var i = thread; i < PAIRS_OF_HEAD; i += HEAD_THREADS) {
    let scaled = round(vec2<f32>(values[2u * i], values[2u * i + 1u]) * inverse);
    let pair = vec2<i32>(clamp(scaled, vec2<f32>(-32767.0), vec2<f32>(32767.0)));
    cache[row * PAIRS_OF_HEAD + i] = bitcast<u32>((pair.x & 0xffff) | (pair.y * 0x10000));
  }
  if thread == 0u {
    cache_scales[row] = largest / 32767.0;
  }
}
