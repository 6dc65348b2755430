// Product of one row group with one row of activations, over the blocks of this invocation's slice.
fn part_low(w: Eight, x: vec4<f32>) -> vec4<f32> {
  return w.a * x.x + w.b * x.y + w.c * x.z + w.d * x.w;
}

fn part_high(w: Eight, x: vec4<f32>) -> vec4<f32> {
  return w.e * x.x + w.f * x.y + w.g * x.z + w.h * x.w;
}

fn row_product(first: u32, segments: u32, row_group: u32, slice: u32) -> vec4<f32> {
  var y = vec4<f32>();
  for (var i = 0u; i < segments; i++) {
    let s = segment(first + 2u * i);
    let extent = table[first + 2u * i + 1u];
    let group = min(row_group, s.row_groups - 1u);
    for (var b = slice; b < extent.x; b += SLICES) {
      let at = ACT_FROM + (extent.y + b) * 8u;
      let w0 = eight(s, group, b, 0u);
      var low = part_low(w0, act_in[at] * WEIGHT_STEP);
      var high = part_high(w0, act_in[at + 4u] * WEIGHT_STEP);
      let w1 = eight(s, group, b, 1u);
      low += part_low(w1, act_in[at + 1u] * WEIGHT_STEP);
      high += part_high(w1, act_in[at + 5u] * WEIGHT_STEP);
      let w2 = eight(s, group, b, 2u);
      low += part_low(w2, act_in[at + 2u] * WEIGHT_STEP);
      high += part_high(w2, act_in[at + 6u] * WEIGHT_STEP);
      let w3 = eight(s, group, b, 3u);
      low += part_low(w3, act_in[at + 3u] * WEIGHT_STEP);
      high += part_high(w3, act_in[at + 7u] * WEIGHT_STEP);
      y += finish(scales(s, group, b), low, high, act_in[ACT_SUMS + extent.y + b]);
    }
  }
  return y;
}
