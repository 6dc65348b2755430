// Adds a bias to the partial sums of every token.
//#include step
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read_write> partial_sums: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x < step.count * (DIM / 4u) {
    partial_sums[id.x] += bias[id.x % (DIM / 4u)];
  }
}
