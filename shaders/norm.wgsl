// RMS norm of the residual stream, rounded for the products that follow; with ADD, the partial sums are added to
// the residual first. One workgroup a token; one invocation a block of 32 at a time.
//#include step
//#include activations
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read_write> residual: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> partial_sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> act: array<vec4<i32>>;
//#include quantize_block

var<workgroup> squares: array<f32, ROW_THREADS>;

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let base = (step.first + workgroup.x) * (DIM / 4u);
  var square = 0.0;
  for (var block = thread; block < DIM / 32u; block += ROW_THREADS) {
    for (var i = 0u; i < 8u; i++) {
      let at = base + block * 8u + i;
      var v = residual[at];
//#if ADD
      v += partial_sums[at];
      residual[at] = v;
//#endif
      square += dot(v, v);
    }
  }
  squares[thread] = square;
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < ROW_THREADS; i++) {
    total += squares[i];
  }
  let factor = 1.0 / sqrt(total / f32(DIM) + EPSILON);
  for (var block = thread; block < DIM / 32u; block += ROW_THREADS) {
    let w = block * 8u;
    let at = base + w;
    store_block(
      workgroup.x, block,
      residual[at] * factor * weight[w],
      residual[at + 1u] * factor * weight[w + 1u],
      residual[at + 2u] * factor * weight[w + 2u],
      residual[at + 3u] * factor * weight[w + 3u],
      residual[at + 4u] * factor * weight[w + 4u],
      residual[at + 5u] * factor * weight[w + 5u],
      residual[at + 6u] * factor * weight[w + 6u],
      residual[at + 7u] * factor * weight[w + 7u],
    );
  }
}
