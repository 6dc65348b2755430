// SwiGLU for one token, fused: silu(gate · x) × (up · x). Work is shared out as in matvec.wgsl.
//#include step
//#include activations
//#include weights
//#include table
@group(0) @binding(4) var<storage, read_write> act: array<vec4<f32>>;
//#include kind
//#include vector_product
//#include silu

//#if SLICED
var<workgroup> gates: array<vec4<f32>, SLICES * BUNDLE>;
var<workgroup> ups: array<vec4<f32>, SLICES * BUNDLE>;
//#endif

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  var gate = vector_product(work.x, work.y, work.z + local.x, local.y);
  var up = vector_product(rows.z, rows.w, work.z + local.x, local.y);
//#if SLICED
//#repeat g GROUPS
  gates[local.y * BUNDLE + local.x + $gu * LANES] = gate.y$g;
  ups[local.y * BUNDLE + local.x + $gu * LANES] = up.y$g;
//#end
  workgroupBarrier();
  if local.y > 0u {
    return;
  }
  for (var i = 1u; i < SLICES; i++) {
//#repeat g GROUPS
    gate.y$g += gates[i * BUNDLE + local.x + $gu * LANES];
    up.y$g += ups[i * BUNDLE + local.x + $gu * LANES];
//#end
  }
//#endif
  // Rows of a share come in whole groups, bundles need not.
//#repeat g GROUPS
  if local.x + $gu * LANES < rows.x / 4u {
    act[work.w / 4u + local.x + $gu * LANES] = silu(gate.y$g) * up.y$g;
  }
//#end
}
