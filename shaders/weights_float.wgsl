// Float weights: F32 one vector a column; F16 and BF16 two neighbouring columns in the halves of a word.
const ACT_FROM: u32 = 0u;
const WEIGHT_STEP: vec4<f32> = vec4<f32>(1.0);

//#if F32
fn eight(s: Segment, row_group: u32, block: u32, part: u32) -> Eight {
  let n = s.row_groups;
  let at = s.quants + (block * 32u + part * 4u) * n + row_group;
  let to = at + 16u * n;
  return Eight(
    bitcast<vec4<f32>>(arena[at]), bitcast<vec4<f32>>(arena[at + n]),
    bitcast<vec4<f32>>(arena[at + 2u * n]), bitcast<vec4<f32>>(arena[at + 3u * n]),
    bitcast<vec4<f32>>(arena[to]), bitcast<vec4<f32>>(arena[to + n]),
    bitcast<vec4<f32>>(arena[to + 2u * n]), bitcast<vec4<f32>>(arena[to + 3u * n]),
  );
}
//#else
//#if BF16
fn low_half(w: vec4<i32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(w << vec4<u32>(16u));
}
fn high_half(w: vec4<i32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(w & vec4<i32>(-65536));
}
//#else
// By integers, because unpack2x16float may flush the subnormal halves, which small weights are.
fn half(h: vec4<i32>) -> vec4<f32> {
  let magnitude = h & vec4<i32>(0x7fff);
  let normal = bitcast<vec4<f32>>((magnitude << vec4<u32>(13u)) + vec4<i32>(0x38000000));
  let subnormal = vec4<f32>(magnitude) * 0x1p-24f;
  let positive = select(normal, subnormal, magnitude < vec4<i32>(0x400));
  return select(positive, -positive, (h & vec4<i32>(0x8000)) != vec4<i32>(0));
}
fn low_half(w: vec4<i32>) -> vec4<f32> {
  return half(w);
}
fn high_half(w: vec4<i32>) -> vec4<f32> {
  return half(w >> vec4<u32>(16u));
}
//#endif
fn eight(s: Segment, row_group: u32, block: u32, part: u32) -> Eight {
  let n = s.row_groups;
  let at = s.quants + (block * 16u + part * 2u) * n + row_group;
  let p = arena[at];
  let q = arena[at + n];
  let r = arena[at + 8u * n];
  let t = arena[at + 9u * n];
  return Eight(
    low_half(p), high_half(p), low_half(q), high_half(q),
    low_half(r), high_half(r), low_half(t), high_half(t),
  );
}
//#endif

struct Scales { none: u32 }

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  return Scales(0u);
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: vec4<f32>) -> vec4<f32> {
  return low + high;
}
