// y (+)= W · x for one token. A workgroup computes one bundle of BUNDLE row groups: LANES invocations with
// BUNDLE / LANES = GROUPS row groups each, times SLICES slices of the columns.
//#include step
//#include activations
//#include weights
//#include table
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
//#include kind
//#include vector_product
//#include store_rows

//#if SLICED
var<workgroup> slices: array<vec4<f32>, SLICES * BUNDLE>;
//#endif

@compute @workgroup_size(LANES, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  var sums = vector_product(work.x, work.y, work.z + local.x, local.y);
//#if SLICED
//#repeat g GROUPS
  slices[local.y * BUNDLE + local.x + $gu * LANES] = sums.y$g;
//#end
  workgroupBarrier();
  if local.y > 0u {
    return;
  }
  for (var i = 1u; i < SLICES; i++) {
//#repeat g GROUPS
    sums.y$g += slices[i * BUNDLE + local.x + $gu * LANES];
//#end
  }
//#endif
//#repeat g GROUPS
  store_rows(work, rows, local.x + $gu * LANES, 0u, sums.y$g);
//#end
}
