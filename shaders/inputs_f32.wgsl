// Inputs of multiply_f32.wgsl.
fn inputs(row: u32, block: u32, part: u32) -> Columns {
//#if FLOATS
  let at = row * ACT_ROW + block * 8u + part;
  return Columns(bitcast<vec4<f32>>(act_in[at]), bitcast<vec4<f32>>(act_in[at + 4u]));
//#else
  let x = act_in[ACT_INTEGERS + row * ACT_INTEGERS_ROW + block * 4u + part];
  return Columns(
    (vec4<f32>(x & vec4<i32>(0xffff)) - 32768.0) * LOW_STEP,
    vec4<f32>(x & vec4<i32>(-0x10000)) * (0x1p-16f * HIGH_STEP),
  );
//#endif
}
