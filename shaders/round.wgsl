// Rounds attention outputs of heads that do not fill blocks of 32 by themselves. One invocation a block.
//#include activations
@group(0) @binding(0) var<storage, read> heads: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> act: array<vec4<i32>>;
//#include quantize_block

@compute @workgroup_size(ROW_THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if id.x >= heads[0].x * HEAD_DIM / 32u {
    return;
  }
  let at = id.y * ACT_ROW + id.x * 8u;
  store_block(
    id.y, id.x,
    bitcast<vec4<f32>>(act[at]), bitcast<vec4<f32>>(act[at + 1u]),
    bitcast<vec4<f32>>(act[at + 2u]), bitcast<vec4<f32>>(act[at + 3u]),
    bitcast<vec4<f32>>(act[at + 4u]), bitcast<vec4<f32>>(act[at + 5u]),
    bitcast<vec4<f32>>(act[at + 6u]), bitcast<vec4<f32>>(act[at + 7u]),
  );
}
