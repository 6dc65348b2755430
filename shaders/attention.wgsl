// Softmax attention of one q head and token over the cache, by chunks of positions with a running maximum.
// One workgroup a head and token. Ends with the values (and, where a head fills blocks of 32, their rounded form).
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> heads: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cache: array<vec4<i32>>;
@group(0) @binding(4) var<storage, read> cache_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> act: array<vec4<i32>>;
//#include quantize_block

// A head in eights of values, that is in vec4 words of the cache.
const EIGHTS: u32 = HEAD_DIM / 8u;
// Invocations that sum the values of one chunk side by side.
const SHARES: u32 = HEAD_THREADS / EIGHTS;
const LOWEST: f32 = -0x1p100f;

// Even and odd values of every eight of the query.
var<workgroup> query: array<vec4<f32>, 2u * EIGHTS>;
// Of four positions each: scores, then what the values are multiplied with.
var<workgroup> weights: array<vec4<f32>, CHUNK / 4u>;
var<workgroup> reduced: array<f32, HEAD_THREADS>;
var<workgroup> sums: array<vec4<f32>, 2u * SHARES * EIGHTS>;

// Eight 16-bit integers times 2^16; without shifts, which are slow for vectors on processors.
fn evens(words: vec4<i32>) -> vec4<f32> {
  return vec4<f32>(words * 0x10000);
}

fn odds(words: vec4<i32>) -> vec4<f32> {
  return vec4<f32>(words & vec4<i32>(-0x10000));
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
  for (var i = thread; i < EIGHTS; i += HEAD_THREADS) {
    let at = ((token * q_heads + head) * EIGHTS + i) * 2u;
    let a = queries[at];
    let b = queries[at + 1u];
    query[2u * i] = vec4<f32>(a.x, a.z, b.x, b.z);
    query[2u * i + 1u] = vec4<f32>(a.y, a.w, b.y, b.w);
  }
  workgroupBarrier();
  let eight = thread % EIGHTS;
  let share = thread / EIGHTS;
  var even = vec4<f32>();
  var odd = vec4<f32>();
  var highest = LOWEST;
  var total = 0.0;
  for (var begin = 0u; begin < positions; begin += CHUNK) {
    let size = min(CHUNK, positions - begin);
    var own = LOWEST;
    // Scores of four positions at a time; those behind the last one count for nothing.
    for (var i = thread; i * 4u < size; i += HEAD_THREADS) {
      let first = begin + i * 4u;
      let last = positions - 1u;
//#repeat p FOUR
      let row$p = k_row + min(first + $pu, last);
      var score$p = vec4<f32>();
//#end
      for (var d = 0u; d < EIGHTS; d++) {
        let q_even = query[2u * d];
        let q_odd = query[2u * d + 1u];
//#repeat p FOUR
        let k$p = cache[row$p * EIGHTS + d];
        score$p += q_even * evens(k$p) + q_odd * odds(k$p);
//#end
      }
      let one = vec4<f32>(0x1p-16f);
      let all = vec4<f32>(dot(score0, one), dot(score1, one), dot(score2, one), dot(score3, one));
      let scales = vec4<f32>(cache_scales[row0], cache_scales[row1], cache_scales[row2], cache_scales[row3]);
      let scores = select(vec4<f32>(LOWEST), all * scales, vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last));
      weights[i] = scores;
      own = max(own, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    }
    reduced[thread] = own;
    workgroupBarrier();
    var now = highest;
    for (var i = 0u; i < HEAD_THREADS; i++) {
      now = max(now, reduced[i]);
    }
    workgroupBarrier();
    let fade = exp(highest - now);
    highest = now;
    var own_total = 0.0;
    for (var i = thread; i * 4u < size; i += HEAD_THREADS) {
      let w = exp(weights[i] - vec4<f32>(now));
      own_total += dot(w, vec4<f32>(1.0));
      let row = v_row + begin + i * 4u;
      let end = v_row + positions - 1u;
      weights[i] = w * vec4<f32>(
        cache_scales[row], cache_scales[min(row + 1u, end)], cache_scales[min(row + 2u, end)], cache_scales[min(row + 3u, end)],
      );
    }
    reduced[thread] = own_total;
    workgroupBarrier();
    total *= fade;
    for (var i = 0u; i < HEAD_THREADS; i++) {
      total += reduced[i];
    }
    even *= fade;
    odd *= fade;
    if share < SHARES {
      for (var i = share; i * 4u < size; i += SHARES) {
        let w = weights[i];
        let row = v_row + begin + i * 4u;
        let end = v_row + positions - 1u;
//#repeat p FOUR
        let v$p = cache[min(row + $pu, end) * EIGHTS + eight];
        even += w[$p] * evens(v$p);
        odd += w[$p] * odds(v$p);
//#end
      }
    }
    workgroupBarrier();
  }
  if share < SHARES {
    sums[2u * thread] = even;
    sums[2u * thread + 1u] = odd;
  }
  workgroupBarrier();
  let factor = 0x1p-16f / total;
  for (var i = thread; i < EIGHTS; i += HEAD_THREADS) {
    var e = sums[2u * i];
    var o = sums[2u * i + 1u];
    for (var s = 1u; s < SHARES; s++) {
      e += sums[2u * (s * EIGHTS + i)];
      o += sums[2u * (s * EIGHTS + i) + 1u];
    }
    e *= factor;
    o *= factor;
//#if WHOLE_BLOCKS
    query[2u * i] = vec4<f32>(e.x, o.x, e.y, o.y);
    query[2u * i + 1u] = vec4<f32>(e.z, o.z, e.w, o.w);
//#else
    let to = token * ACT_ROW + (head * EIGHTS + i) * 2u;
    act[to] = bitcast<vec4<i32>>(vec4<f32>(e.x, o.x, e.y, o.y));
    act[to + 1u] = bitcast<vec4<i32>>(vec4<f32>(e.z, o.z, e.w, o.w));
//#endif
  }
//#if WHOLE_BLOCKS
  workgroupBarrier();
  for (var b = thread; b < HEAD_DIM / 32u; b += HEAD_THREADS) {
    let at = b * 8u;
    store_block(
      token, head * (HEAD_DIM / 32u) + b,
      query[at], query[at + 1u], query[at + 2u], query[at + 3u],
      query[at + 4u], query[at + 5u], query[at + 6u], query[at + 7u],
    );
  }
//#endif
}
