// Softmax attention of one token's q heads over the cache, by chunks of positions with a running maximum. One workgroup a
// token and team: up to HEADS q heads of the same KV head, which share its loads.
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
// (q heads, KV heads, -, -), then for every team (KV head, first q head, q heads, -).
@group(0) @binding(1) var<storage, read> heads: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cache: array<vec4<i32>>;
@group(0) @binding(4) var<storage, read> cache_scales: array<f32>;
@group(0) @binding(5) var<storage, read_write> act: array<vec4<f32>>;

// A head in eights of values, that is in vec4 words of the cache.
const EIGHTS: u32 = HEAD_DIM / 8u;
// Invocations that sum the values of one chunk side by side.
const SHARES: u32 = HEAD_THREADS / EIGHTS;
const LOWEST: f32 = -0x1p100f;

// Even and odd values of every eight of a query.
var<workgroup> query: array<vec4<f32>, HEADS * 2u * EIGHTS>;
// Of four positions each: scores, then what the values are multiplied with.
var<workgroup> weights: array<vec4<f32>, HEADS * CHUNK / 4u>;
var<workgroup> reduced: array<f32, HEADS * HEAD_THREADS>;
var<workgroup> sums: array<vec4<f32>, HEADS * 2u * SHARES * EIGHTS>;

// Eight 16-bit integers times 2^16; without shifts, which are slow for vectors on processors.
fn evens(words: vec4<i32>) -> vec4<f32> {
  return vec4<f32>(words * 0x10000);
}

fn odds(words: vec4<i32>) -> vec4<f32> {
  return vec4<f32>(words & vec4<i32>(-0x10000));
}

fn max4(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

@compute @workgroup_size(HEAD_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let token = workgroup.y;
  let q_heads = heads[0].x;
  let kv_heads = heads[0].y;
  let team = heads[1u + workgroup.x];
  let positions = step.position + token + 1u;
  let last = positions - 1u;
  let k_row = team.x * CONTEXT;
  let v_row = (kv_heads + team.x) * CONTEXT;
  for (var i = thread; i < HEADS * EIGHTS; i += HEAD_THREADS) {
    // A team that is not full computes its last head more than once.
    let head = team.y + min(i / EIGHTS, team.z - 1u);
    let at = ((token * q_heads + head) * EIGHTS + i % EIGHTS) * 2u;
    let a = queries[at];
    let b = queries[at + 1u];
    query[2u * i] = vec4<f32>(a.x, a.z, b.x, b.z);
    query[2u * i + 1u] = vec4<f32>(a.y, a.w, b.y, b.w);
  }
  workgroupBarrier();
  let eight = thread % EIGHTS;
  let share = thread / EIGHTS;
//#repeat h HEADS
  var even$h = vec4<f32>();
  var odd$h = vec4<f32>();
//#end
  var highest: array<f32, HEADS>;
  var total: array<f32, HEADS>;
  for (var h = 0u; h < HEADS; h++) {
    highest[h] = LOWEST;
  }
  for (var begin = 0u; begin < positions; begin += CHUNK) {
    let size = min(CHUNK, positions - begin);
//#repeat h HEADS
    var own$h = LOWEST;
//#end
    // Scores of four positions at a time; those behind the last one count for nothing.
    for (var i = thread; i * 4u < size; i += HEAD_THREADS) {
      let first = begin + i * 4u;
//#repeat p FOUR
      let row$p = k_row + min(first + $pu, last);
//#repeat h HEADS
      var score$h$p = vec4<f32>();
//#end
//#end
      for (var d = 0u; d < EIGHTS; d++) {
//#repeat h HEADS
        let q_even$h = query[2u * ($hu * EIGHTS + d)];
        let q_odd$h = query[2u * ($hu * EIGHTS + d) + 1u];
//#end
//#repeat p FOUR
        let k$p = cache[row$p * EIGHTS + d];
        let k_even$p = evens(k$p);
        let k_odd$p = odds(k$p);
//#repeat h HEADS
        score$h$p += q_even$h * k_even$p + q_odd$h * k_odd$p;
//#end
//#end
      }
      let one = vec4<f32>(0x1p-16f);
      let scales = vec4<f32>(cache_scales[row0], cache_scales[row1], cache_scales[row2], cache_scales[row3]);
      let counts = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) <= vec4<u32>(last);
//#repeat h HEADS
      let all$h = vec4<f32>(dot(score$h0, one), dot(score$h1, one), dot(score$h2, one), dot(score$h3, one));
      let scores$h = select(vec4<f32>(LOWEST), all$h * scales, counts);
      weights[$hu * CHUNK / 4u + i] = scores$h;
      own$h = max(own$h, max4(scores$h));
//#end
    }
//#repeat h HEADS
    reduced[$hu * HEAD_THREADS + thread] = own$h;
//#end
    workgroupBarrier();
    // Not unrolled: little work, and compilers take their time.
    var fade: array<f32, HEADS>;
    var own_total: array<f32, HEADS>;
    for (var h = 0u; h < HEADS; h++) {
      var now = highest[h];
      for (var i = 0u; i < HEAD_THREADS; i++) {
        now = max(now, reduced[h * HEAD_THREADS + i]);
      }
      fade[h] = exp(highest[h] - now);
      highest[h] = now;
      // Not left to the declaration: in a loop, Chromium on SwiftShader keeps an array's last values.
      own_total[h] = 0.0;
    }
    workgroupBarrier();
    for (var i = thread; i * 4u < size; i += HEAD_THREADS) {
      let row = v_row + begin + i * 4u;
      let end = v_row + last;
      let scales = vec4<f32>(
        cache_scales[row], cache_scales[min(row + 1u, end)], cache_scales[min(row + 2u, end)], cache_scales[min(row + 3u, end)],
      );
      for (var h = 0u; h < HEADS; h++) {
        let w = exp(weights[h * CHUNK / 4u + i] - vec4<f32>(highest[h]));
        own_total[h] += dot(w, vec4<f32>(1.0));
        weights[h * CHUNK / 4u + i] = w * scales;
      }
    }
    for (var h = 0u; h < HEADS; h++) {
      reduced[h * HEAD_THREADS + thread] = own_total[h];
    }
    workgroupBarrier();
    for (var h = 0u; h < HEADS; h++) {
      total[h] *= fade[h];
      for (var i = 0u; i < HEAD_THREADS; i++) {
        total[h] += reduced[h * HEAD_THREADS + i];
      }
    }
//#repeat h HEADS
    even$h *= fade[$h];
    odd$h *= fade[$h];
//#end
    if share < SHARES {
      for (var i = share; i * 4u < size; i += SHARES) {
        let row = v_row + begin + i * 4u;
        let end = v_row + last;
//#repeat h HEADS
        let w$h = weights[$hu * CHUNK / 4u + i];
//#end
//#repeat p FOUR
        let v$p = cache[min(row + $pu, end) * EIGHTS + eight];
        let v_even$p = evens(v$p);
        let v_odd$p = odds(v$p);
//#repeat h HEADS
        even$h += w$h[$p] * v_even$p;
        odd$h += w$h[$p] * v_odd$p;
//#end
//#end
      }
    }
    workgroupBarrier();
  }
  if share < SHARES {
//#repeat h HEADS
    sums[2u * ($hu * SHARES * EIGHTS + thread)] = even$h;
    sums[2u * ($hu * SHARES * EIGHTS + thread) + 1u] = odd$h;
//#end
  }
  workgroupBarrier();
  for (var i = thread; i < team.z * EIGHTS; i += HEAD_THREADS) {
    let head = i / EIGHTS;
    var e = vec4<f32>();
    var o = vec4<f32>();
    for (var s = 0u; s < SHARES; s++) {
      let at = 2u * ((head * SHARES + s) * EIGHTS + i % EIGHTS);
      e += sums[at];
      o += sums[at + 1u];
    }
    e *= 0x1p-16f / total[head];
    o *= 0x1p-16f / total[head];
    let to = token * ACT_ROW + (team.y * EIGHTS + i) * 2u;
    act[to] = vec4<f32>(e.x, o.x, e.y, o.y);
    act[to + 1u] = vec4<f32>(e.z, o.z, e.w, o.w);
  }
}
