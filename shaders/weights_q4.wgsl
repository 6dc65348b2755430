// 4-bit weights. A word holds columns 4p..4p+3 in the low nibbles of its bytes and 16+4p.. in the high nibbles.
// Nibbles stay where they are in the word: WEIGHT_STEP, folded into the activations, undoes the bytes' places.
const ACT_FROM: u32 = ACT_ROUNDED;
const WEIGHT_STEP: vec4<f32> = vec4<f32>(1.0, 0x1p-8f, 0x1p-16f, 0x1p-24f);

fn eight(s: Segment, row_group: u32, block: u32, part: u32) -> Eight {
  let w = arena[s.quants + (block * 4u + part) * s.row_groups + row_group];
  let high = w >> vec4<u32>(4u);
  return Eight(
    vec4<f32>(w & vec4<i32>(0xf)),
    vec4<f32>(w & vec4<i32>(0xf00)),
    vec4<f32>(w & vec4<i32>(0xf0000)),
    vec4<f32>(w & vec4<i32>(0xf000000)),
    vec4<f32>(high & vec4<i32>(0xf)),
    vec4<f32>(high & vec4<i32>(0xf00)),
    vec4<f32>(high & vec4<i32>(0xf0000)),
    vec4<f32>(high & vec4<i32>(0xf000000)),
  );
}

struct Scales { scale: vec4<f32>, min: vec4<f32> }

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  let at = block * s.row_groups + row_group;
  return Scales(bitcast<vec4<f32>>(arena[s.scales + at]), bitcast<vec4<f32>>(arena[s.mins + at]));
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  return k.scale * (low + high) + k.min * (sums.x + sums.y);
}
