// residual[t] = a row of the embedding, from a tile in the layout of the products. One workgroup a token and tile.
//#include weights
@group(0) @binding(0) var<storage, read> arena: array<vec4<i32>>;
// Two vectors an entry: (quants, scales, mins, row groups), (row in the tile, blocks, first block, token).
@group(0) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> residual: array<vec4<f32>>;
//#include kind

// A weight as the product with an input that is one in its column and else zero: the same dequantization as in products,
// and no sum to round.
fn low_value(k: Scales, weight: f32, column: vec4<f32>) -> vec4<f32> {
  return finish(k, vec4<f32>(weight), vec4<f32>(), InputSums(column, vec4<f32>()));
}

fn high_value(k: Scales, weight: f32, column: vec4<f32>) -> vec4<f32> {
  return finish(k, vec4<f32>(), vec4<f32>(weight), InputSums(vec4<f32>(), column));
}

fn columns(part: Part, lane: u32) -> Columns {
  switch lane {
    case 0u: { return columns0(part); }
    case 1u: { return columns1(part); }
    case 2u: { return columns2(part); }
    default: { return columns3(part); }
  }
}

@compute @workgroup_size(4, ROW_THREADS / 4u)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let s = entries[2u * workgroup.x];
  let tile = Segment(s.x, s.y, s.z, s.w);
  let place = entries[2u * workgroup.x + 1u];
  let group = place.x / 4u;
  let lane = place.x % 4u;
  for (var block = local.y; block < place.y; block += ROW_THREADS / 4u) {
    let k = scales(tile, group, block);
    let words = tile.quants + (block * BLOCK_WORDS + local.x * PART_WORDS) * tile.row_groups + group;
    let w = columns(load_part(words, tile.row_groups), lane);
    let low = w.low * LOW_STEP;
    let high = w.high * HIGH_STEP;
    let at = place.w * (DIM / 4u) + (place.z + block) * 8u + local.x;
    residual[at] = vec4<f32>(
      low_value(k, low.x, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane], low_value(k, low.y, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
      low_value(k, low.z, vec4<f32>(0.0, 0.0, 1.0, 0.0))[lane], low_value(k, low.w, vec4<f32>(0.0, 0.0, 0.0, 1.0))[lane],
    );
    residual[at + 4u] = vec4<f32>(
      high_value(k, high.x, vec4<f32>(1.0, 0.0, 0.0, 0.0))[lane], high_value(k, high.y, vec4<f32>(0.0, 1.0, 0.0, 0.0))[lane],
      high_value(k, high.z, vec4<f32>(0.0, 0.0, 1.0, 0.0))[lane], high_value(k, high.w, vec4<f32>(0.0, 0.0, 0.0, 1.0))[lane],
    );
  }
}
