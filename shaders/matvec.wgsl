// y (+)= W · x for one token. One workgroup a bundle: BUNDLE row groups by SLICES slices of the columns.
//#include step
//#include activations
//#include weights_eight
//#include table
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
//#include weights
//#include row_product

//#if SLICED
var<workgroup> slices: array<vec4<f32>, BUNDLE * SLICES>;
//#endif

@compute @workgroup_size(BUNDLE, SLICES)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  var sum = row_product(work.x, work.y, work.z + local.x, local.y);
//#if SLICED
  slices[local.y * BUNDLE + local.x] = sum;
  workgroupBarrier();
  if local.y > 0u {
    return;
  }
  for (var i = 1u; i < SLICES; i++) {
    sum += slices[i * BUNDLE + local.x];
  }
//#endif
  for (var i = 0u; i < 4u; i++) {
    let row = local.x * 4u + i;
    if row < rows.x {
      let at = work.w + row;
      y[at] = select(0.0, y[at], rows.y == 1u) + sum[i];
    }
  }
}
