// Inputs of multiply_dot4.wgsl.
fn inputs(row: u32, block: u32, part: u32) -> vec4<u32> {
  return bitcast<vec4<u32>>(act_in[ACT_INTEGERS + row * ACT_INTEGERS_ROW + block * 4u + part]);
}
