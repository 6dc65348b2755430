// residual[t] = a row of the embedding, from a tile in the layout of the products. One workgroup a token and tile.
//#include activations
//#include weights_eight
@group(0) @binding(0) var<storage, read> arena: array<vec4<i32>>;
// Two vectors an entry: (quants, scales, mins, row groups), (row in the tile, blocks, first block, token).
@group(0) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> residual: array<vec4<f32>>;
//#include weights

@compute @workgroup_size(4, ROW_THREADS / 4u)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let s = entries[2u * workgroup.x];
  let tile = Segment(s.x, s.y, s.z, s.w);
  let place = entries[2u * workgroup.x + 1u];
  let group = place.x / 4u;
  let lane = place.x % 4u;
  // A product with the unit vector of each column: the same dequantization as everywhere, no sum to round.
  for (var block = local.y; block < place.y; block += ROW_THREADS / 4u) {
    let k = scales(tile, group, block);
    let w = eight(tile, group, block, local.x);
    let none = vec4<f32>();
    let low = vec4<f32>(
      finish(k, w.a * WEIGHT_STEP.x, none, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane],
      finish(k, w.b * WEIGHT_STEP.y, none, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane],
      finish(k, w.c * WEIGHT_STEP.z, none, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane],
      finish(k, w.d * WEIGHT_STEP.w, none, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane],
    );
    let high = vec4<f32>(
      finish(k, none, w.e * WEIGHT_STEP.x, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
      finish(k, none, w.f * WEIGHT_STEP.y, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
      finish(k, none, w.g * WEIGHT_STEP.z, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
      finish(k, none, w.h * WEIGHT_STEP.w, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
    );
    let at = place.w * (DIM / 4u) + (place.z + block) * 8u + local.x;
    residual[at] = low;
    residual[at + 4u] = high;
  }
}
