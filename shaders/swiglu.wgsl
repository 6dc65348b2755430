// silu(gate) × up for any number of tokens. One invocation for four columns.
// `gate_up` holds for every token the gate's columns, then the up's.
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> shape: vec4<u32>;
@group(0) @binding(2) var<storage, read> gate_up: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> act: array<vec4<f32>>;
//#include silu

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  // Columns of this share, in vec4.
  let columns = shape.x / 4u;
  if id.x >= columns {
    return;
  }
  let gate = id.y * 2u * columns + id.x;
  act[id.y * ACT_ROW + id.x] = silu(gate_up[gate]) * gate_up[gate + columns];
}
