// SwiGLU for one token, fused: silu(gate · x) × (up · x), rounded for the `down` product. Work is shared out as in
// matvec.wgsl; a bundle is BUNDLE / 8 blocks of 32 columns.
//#include step
//#include activations
//#include weights
//#include table
@group(0) @binding(4) var<storage, read_write> act: array<vec4<i32>>;
//#include kind
//#include tile_product
//#include quantize_block
//#include silu

var<workgroup> gates: array<vec4<f32>, SLICES * BUNDLE>;
//#if SLICED
var<workgroup> ups: array<vec4<f32>, SLICES * BUNDLE>;
//#endif

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  var gate = tile_product(work.x, work.y, work.z + local.x, local.y, 0u);
  var up = tile_product(rows.z, rows.w, work.z + local.x, local.y, 0u);
//#if SLICED
//#repeat g GROUPS
  gates[local.y * BUNDLE + local.x + $gu * LANES] = gate.y$g0;
  ups[local.y * BUNDLE + local.x + $gu * LANES] = up.y$g0;
//#end
  workgroupBarrier();
  if local.y == 0u {
    for (var i = 1u; i < SLICES; i++) {
//#repeat g GROUPS
      gate.y$g0 += gates[i * BUNDLE + local.x + $gu * LANES];
      up.y$g0 += ups[i * BUNDLE + local.x + $gu * LANES];
//#end
    }
//#repeat g GROUPS
    gates[local.x + $gu * LANES] = silu(gate.y$g0) * up.y$g0;
//#end
  }
//#else
//#repeat g GROUPS
  gates[local.x + $gu * LANES] = silu(gate.y$g0) * up.y$g0;
//#end
//#endif
  workgroupBarrier();
  // Rows of a share come in whole blocks, bundles need not.
  if local.y == 0u {
    for (var block = local.x; block < rows.x / 32u; block += LANES) {
      let at = block * 8u;
      store_block(
        0u, work.w / 32u + block,
        gates[at], gates[at + 1u], gates[at + 2u], gates[at + 3u],
        gates[at + 4u], gates[at + 5u], gates[at + 6u], gates[at + 7u],
      );
    }
  }
}
