// Y (+)= W · X for several tokens: weights are unpacked once for TOKENS of them.
// One workgroup: a bundle of rows by TEAMS × TOKENS tokens.
//#include step
//#include activations
//#include weights_eight
//#include table
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
//#include weights

fn part_low(w: Eight, x: vec4<f32>) -> vec4<f32> {
  return w.a * x.x + w.b * x.y + w.c * x.z + w.d * x.w;
}

fn part_high(w: Eight, x: vec4<f32>) -> vec4<f32> {
  return w.e * x.x + w.f * x.y + w.g * x.z + w.h * x.w;
}

fn store(work: vec4<u32>, rows: vec4<u32>, group: u32, token: u32, sum: vec4<f32>) {
  if token >= step.count {
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    let row = group * 4u + i;
    if row < rows.x {
      let at = token * table[0].x + work.w + row;
      y[at] = select(0.0, y[at], rows.y == 1u) + sum[i];
    }
  }
}

@compute @workgroup_size(BUNDLE, TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  let token = (workgroup.y * TEAMS + local.y) * 4u;
  if token >= step.count {
    return;
  }
  let last = step.count - 1u;
  let t1 = min(token + 1u, last);
  let t2 = min(token + 2u, last);
  let t3 = min(token + 3u, last);
  var y0 = vec4<f32>();
  var y1 = vec4<f32>();
  var y2 = vec4<f32>();
  var y3 = vec4<f32>();
  for (var i = 0u; i < work.y; i++) {
    let s = segment(work.x + 2u * i);
    let extent = table[work.x + 2u * i + 1u];
    let group = min(work.z + local.x, s.row_groups - 1u);
    for (var b = 0u; b < extent.x; b++) {
      let block = extent.y + b;
      let x0 = ACT_FROM + token * ACT_ROW + block * 8u;
      let x1 = ACT_FROM + t1 * ACT_ROW + block * 8u;
      let x2 = ACT_FROM + t2 * ACT_ROW + block * 8u;
      let x3 = ACT_FROM + t3 * ACT_ROW + block * 8u;
      var low0 = vec4<f32>();
      var low1 = vec4<f32>();
      var low2 = vec4<f32>();
      var low3 = vec4<f32>();
      var high0 = vec4<f32>();
      var high1 = vec4<f32>();
      var high2 = vec4<f32>();
      var high3 = vec4<f32>();
      for (var p = 0u; p < 4u; p++) {
        let w = eight(s, group, b, p);
        low0 += part_low(w, act_in[x0 + p] * WEIGHT_STEP);
        high0 += part_high(w, act_in[x0 + p + 4u] * WEIGHT_STEP);
        low1 += part_low(w, act_in[x1 + p] * WEIGHT_STEP);
        high1 += part_high(w, act_in[x1 + p + 4u] * WEIGHT_STEP);
        low2 += part_low(w, act_in[x2 + p] * WEIGHT_STEP);
        high2 += part_high(w, act_in[x2 + p + 4u] * WEIGHT_STEP);
        low3 += part_low(w, act_in[x3 + p] * WEIGHT_STEP);
        high3 += part_high(w, act_in[x3 + p + 4u] * WEIGHT_STEP);
      }
      let k = scales(s, group, b);
      y0 += finish(k, low0, high0, act_in[ACT_SUMS + token * ACT_SUMS_ROW + block]);
      y1 += finish(k, low1, high1, act_in[ACT_SUMS + t1 * ACT_SUMS_ROW + block]);
      y2 += finish(k, low2, high2, act_in[ACT_SUMS + t2 * ACT_SUMS_ROW + block]);
      y3 += finish(k, low3, high3, act_in[ACT_SUMS + t3 * ACT_SUMS_ROW + block]);
    }
  }
  store(work, rows, local.x, token, y0);
  store(work, rows, local.x, token + 1u, y1);
  store(work, rows, local.x, token + 2u, y2);
  store(work, rows, local.x, token + 3u, y3);
}
