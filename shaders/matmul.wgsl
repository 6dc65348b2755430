// Y (+)= W · X for several tokens: an invocation computes GROUPS row groups by TOKENS tokens, so that it unpacks weights
// once for TOKENS tokens; a workgroup computes a bundle by TEAMS × TOKENS tokens.
//#include step
//#include activations
//#include weights
//#include table
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
//#include kind
//#include matrix_product
//#include store_rows

@compute @workgroup_size(LANES, TEAMS)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let token = (workgroup.y * TEAMS + local.y) * TOKENS;
  if token >= step.count {
    return;
  }
  let work = table[1u + 2u * workgroup.x];
  let rows = table[2u + 2u * workgroup.x];
  let sums = matrix_product(work.x, work.y, work.z + local.x, token);
//#repeat t TOKENS
  if token + $tu < step.count {
//#repeat g GROUPS
    store_rows(work, rows, local.x + $gu * LANES, token + $tu, sums.y$g$t);
//#end
  }
//#end
}
