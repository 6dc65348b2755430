// RMS norm of the residual stream; with ADD, the partial sums are added to the residual first. One workgroup a token.
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> partial_sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> act: array<vec4<f32>>;

var<workgroup> squares: array<vec4<f32>, ROW_THREADS / 4u>;

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let base = (step.first + workgroup.x) * (DIM / 4u);
  var square = vec4<f32>();
  for (var i = thread; i < DIM / 4u; i += ROW_THREADS) {
    var v = residual[base + i];
//#if ADD
    v += partial_sums[base + i];
    residual[base + i] = v;
//#endif
    square += v * v;
  }
  squares[thread / 4u][thread % 4u] = dot(square, vec4<f32>(1.0));
  workgroupBarrier();
  var total = vec4<f32>();
  for (var i = 0u; i < ROW_THREADS / 4u; i++) {
    total += squares[i];
  }
  let factor = 1.0 / sqrt(dot(total, vec4<f32>(1.0)) / f32(DIM) + EPSILON);
  for (var i = thread; i < DIM / 4u; i += ROW_THREADS) {
    act[workgroup.x * ACT_ROW + i] = residual[base + i] * factor * weight[i];
  }
}
