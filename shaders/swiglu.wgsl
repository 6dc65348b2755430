// silu(gate) × up for any number of tokens, rounded for the `down` product. One invocation a block of 32 columns.
// `gate_up` holds for every token the gate's columns, then the up's.
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> shape: vec4<u32>;
@group(0) @binding(2) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> act: array<vec4<i32>>;
//#include quantize_block
//#include silu

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  // Columns of this share, in vec4.
  let columns = shape.x / 4u;
  if id.x * 8u >= columns {
    return;
  }
  let g = id.y * 2u * columns + id.x * 8u;
  let u = g + columns;
  store_block(
    id.y, id.x,
    silu(gate_up[g]) * gate_up[u],
    silu(gate_up[g + 1u]) * gate_up[u + 1u],
    silu(gate_up[g + 2u]) * gate_up[u + 2u],
    silu(gate_up[g + 3u]) * gate_up[u + 3u],
    silu(gate_up[g + 4u]) * gate_up[u + 4u],
    silu(gate_up[g + 5u]) * gate_up[u + 5u],
    silu(gate_up[g + 6u]) * gate_up[u + 6u],
    silu(gate_up[g + 7u]) * gate_up[u + 7u],
  );
}
