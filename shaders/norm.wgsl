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
  // Other invocations of this workgroup read the sums that this one has stored.
  storageBarrier();
  workgroupBarrier();
  var total = vec4<f32>();
  for (var i = 0u; i < ROW_THREADS / 4u; i++) {
    total += squares[i];
  }
  let factor = 1.0 / sqrt(dot(total, vec4<f32>(1.0)) / f32(DIM) + EPSILON);
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
