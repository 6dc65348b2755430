// Softmax attention of one q head and token over the cache, by chunks of positions with a running maximum.
// One workgroup a head and token. Ends with the values (and, where a head fills blocks of 32, their rounded form).
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> heads: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cache: array<vec2<i32>>;
@group(0) @binding(4) var<storage, read> cache_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> act: array<vec4<i32>>;
//#include quantize_block

// A head in vec4 of values, that is in vec2 words of the cache.
const QUARTERS: u32 = HEAD_DIM / 4u;

var<workgroup> query: array<vec4<f32>, QUARTERS>;
var<workgroup> weights: array<f32, CHUNK>;
var<workgroup> result: array<vec4<f32>, QUARTERS>;
var<workgroup> maxima: array<f32, HEAD_THREADS>;

fn unpack(word: vec2<i32>) -> vec4<f32> {
  return vec4<f32>(vec4<i32>((word << vec2<u32>(16u)) >> vec2<u32>(16u), word >> vec2<u32>(16u)).xzyw);
}

@compute @workgroup_size(HEAD_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let head = workgroup.x;
  let token = workgroup.y;
  let q_heads = heads[0].x;
  let kv_heads = heads[0].y;
  let kv_head = heads[1u + head / 4u][head % 4u];
  let positions = step.position + token + 1u;
  let k_row = kv_head * CONTEXT;
  let v_row = (kv_heads + kv_head) * CONTEXT;
  for (var i = thread; i < QUARTERS; i += HEAD_THREADS) {
    query[i] = queries[(token * q_heads + head) * QUARTERS + i];
    result[i] = vec4<f32>();
  }
  workgroupBarrier();
  var highest = -0x1p100f;
  var total = 0.0;
  for (var begin = 0u; begin < positions; begin += CHUNK) {
    let size = min(CHUNK, positions - begin);
    var own = -0x1p100f;
    for (var i = thread; i < size; i += HEAD_THREADS) {
      let row = k_row + begin + i;
      var score = vec4<f32>();
      for (var d = 0u; d < QUARTERS; d++) {
        score += query[d] * unpack(cache[row * QUARTERS + d]);
      }
      let s = dot(score, vec4<f32>(1.0)) * cache_scales[row];
      weights[i] = s;
      own = max(own, s);
    }
    maxima[thread] = own;
    workgroupBarrier();
    var now = highest;
    for (var i = 0u; i < HEAD_THREADS; i++) {
      now = max(now, maxima[i]);
    }
    let fade = exp(highest - now);
    highest = now;
    for (var i = thread; i < size; i += HEAD_THREADS) {
      weights[i] = exp(weights[i] - now);
    }
    workgroupBarrier();
    total *= fade;
    for (var i = 0u; i < size; i++) {
      total += weights[i];
    }
    for (var d = thread; d < QUARTERS; d += HEAD_THREADS) {
      var sum = result[d] * fade;
      for (var i = 0u; i < size; i++) {
        let row = v_row + begin + i;
        sum += unpack(cache[row * QUARTERS + d]) * (weights[i] * cache_scales[row]);
      }
      result[d] = sum;
    }
    workgroupBarrier();
  }
  for (var d = thread; d < QUARTERS; d += HEAD_THREADS) {
    result[d] /= total;
//#if !WHOLE_BLOCKS
    act[token * ACT_ROW + head * QUARTERS + d] = bitcast<vec4<i32>>(result[d]);
//#endif
  }
//#if WHOLE_BLOCKS
  workgroupBarrier();
  for (var b = thread; b < HEAD_DIM / 32u; b += HEAD_THREADS) {
    store_block(
      token, head * (HEAD_DIM / 32u) + b,
      result[b * 8u], result[b * 8u + 1u], result[b * 8u + 2u], result[b * 8u + 3u],
      result[b * 8u + 4u], result[b * 8u + 5u], result[b * 8u + 6u], result[b * 8u + 7u],
    );
  }
//#endif
}
