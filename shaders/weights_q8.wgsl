// 8-bit weights: word p holds columns 4p..4p+3. Bytes are moved to the top of the word, where they are signed,
// which multiplies them by 2^24; the stored scales are 2^24 smaller for it.
const ACT_FROM: u32 = ACT_ROUNDED;
const WEIGHT_STEP: vec4<f32> = vec4<f32>(1.0);
const TOP: vec4<i32> = vec4<i32>(-16777216);

fn eight(s: Segment, row_group: u32, block: u32, part: u32) -> Eight {
  let at = s.quants + (block * 8u + part) * s.row_groups + row_group;
  let w = arena[at];
  let v = arena[at + 4u * s.row_groups];
  return Eight(
    vec4<f32>(w << vec4<u32>(24u)),
    vec4<f32>((w << vec4<u32>(16u)) & TOP),
    vec4<f32>((w << vec4<u32>(8u)) & TOP),
    vec4<f32>(w & TOP),
    vec4<f32>(v << vec4<u32>(24u)),
    vec4<f32>((v << vec4<u32>(16u)) & TOP),
    vec4<f32>((v << vec4<u32>(8u)) & TOP),
    vec4<f32>(v & TOP),
  );
}

//#if HALVES
struct Scales {
  low: vec4<f32>, high: vec4<f32>,
//#if MINS
  min_low: vec4<f32>, min_high: vec4<f32>,
//#endif
}

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  let at = block * 2u * s.row_groups + row_group;
  return Scales(
    bitcast<vec4<f32>>(arena[s.scales + at]), bitcast<vec4<f32>>(arena[s.scales + at + s.row_groups]),
//#if MINS
    bitcast<vec4<f32>>(arena[s.mins + at]), bitcast<vec4<f32>>(arena[s.mins + at + s.row_groups]),
//#endif
  );
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  var y = k.low * low + k.high * high;
//#if MINS
  y += k.min_low * sums.x + k.min_high * sums.y;
//#endif
  return y;
}
//#else
struct Scales {
  scale: vec4<f32>,
//#if MINS
  min: vec4<f32>,
//#endif
}

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  let at = block * s.row_groups + row_group;
  return Scales(
    bitcast<vec4<f32>>(arena[s.scales + at]),
//#if MINS
    bitcast<vec4<f32>>(arena[s.mins + at]),
//#endif
  );
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  var y = k.scale * (low + high);
//#if MINS
  y += k.min * (sums.x + sums.y);
//#endif
  return y;
}
//#endif
