// SwiGLU for one token, fused: silu(gate · x) × (up · x), rounded for the `down` product. A bundle is one block of 32 columns.
//#include step
//#include activations
//#include weights_eight
//#include table
@group(0) @binding(4) var<storage, read_write> act: array<vec4<f32>>;
//#include weights
//#include row_product
//#include quantize_block
//#include silu

var<workgroup> gates: array<vec4<f32>, BUNDLE * SLICES>;
var<workgroup> ups: array<vec4<f32>, BUNDLE * SLICES>;

@compute @workgroup_size(BUNDLE, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  var gate = row_product(work.x, work.y, work.z + local.x, local.y);
  var up = row_product(rows.z, rows.w, work.z + local.x, local.y);
//#if SLICED
  gates[local.y * BUNDLE + local.x] = gate;
  ups[local.y * BUNDLE + local.x] = up;
  workgroupBarrier();
  if local.y == 0u {
    for (var i = 1u; i < SLICES; i++) {
      gate += gates[i * BUNDLE + local.x];
      up += ups[i * BUNDLE + local.x];
    }
    gates[local.x] = silu(gate) * up;
  }
//#else
  gates[local.x] = silu(gate) * up;
//#endif
  workgroupBarrier();
  if local.x == 0u && local.y == 0u {
    store_block(0u, work.w / 32u, gates[0], gates[1], gates[2], gates[3], gates[4], gates[5], gates[6], gates[7]);
  }
}
