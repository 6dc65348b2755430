// 8-bit weights: word p holds columns 4p..4p+3.
// The upper byte is signed; the others are stored plus 128, since shifts of vectors, which would extend their signs, are
// slow on processors.
const LOW_STEP: vec4<f32> = vec4<f32>(1.0, 0x1p-8f, 0x1p-16f, 0x1p-24f);
const HIGH_STEP: vec4<f32> = LOW_STEP;
const BYTES: vec4<i32> = vec4<i32>(0xff, 0xff00, 0xff0000, -0x1000000);
const BLOCK_WORDS: u32 = 8u;
const PART_WORDS: u32 = 1u;

alias Bits = vec4<i32>;

fn weight_bits() -> Bits {
//#if PROCESSOR
  // As in weights_q4.wgsl.
  return select(BYTES, vec4<i32>(), step.count == 0u);
//#else
  return BYTES;
//#endif
}

// A part of a block of four rows.
struct Part { low: vec4<i32>, high: vec4<i32> }

fn load_part(at: u32, row_groups: u32) -> Part {
  return Part(arena[at], arena[at + 4u * row_groups]);
}

//#repeat r ROWS
fn columns$r(part: Part) -> Columns {
  return Columns(vec4<f32>(vec4<i32>(part.low[$r]) & BYTES), vec4<f32>(vec4<i32>(part.high[$r]) & BYTES));
}
//#end

// As in weights_q4.wgsl.
fn product_of(w: i32, bytes: Bits, x: vec4<f32>) -> f32 {
  return f32(w & bytes.x) * x.x + f32(w & bytes.y) * x.y + f32(w & bytes.z) * x.z + f32(w & bytes.w) * x.w;
}

//#repeat r ROWS
fn low_product$r(part: Part, bits: Bits, x: vec4<f32>) -> f32 {
  return product_of(part.low[$r], bits, x);
}

fn high_product$r(part: Part, bits: Bits, x: vec4<f32>) -> f32 {
  return product_of(part.high[$r], bits, x);
}

fn product$r(part: Part, bits: Bits, x: Columns) -> f32 {
  return low_product$r(part, bits, x.low) + high_product$r(part, bits, x.high);
}
//#end

struct Scales {
  low: vec4<f32>,
//#if HALVES
  high: vec4<f32>,
//#endif
//#if MINS
  min_low: vec4<f32>,
//#if HALVES
  min_high: vec4<f32>,
//#endif
//#endif
}

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
//#if HALVES
  let at = block * 2u * s.row_groups + row_group;
//#else
  let at = block * s.row_groups + row_group;
//#endif
  return Scales(
    bitcast<vec4<f32>>(arena[s.scales + at]),
//#if HALVES
    bitcast<vec4<f32>>(arena[s.scales + at + s.row_groups]),
//#endif
//#if MINS
    bitcast<vec4<f32>>(arena[s.mins + at]),
//#if HALVES
    bitcast<vec4<f32>>(arena[s.mins + at + s.row_groups]),
//#endif
//#endif
  );
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: InputSums) -> vec4<f32> {
  let bias = vec4<f32>(128.0, 128.0, 128.0, 0.0);
  let unbiased_low = low - dot(sums.low, bias);
  let unbiased_high = high - dot(sums.high, bias);
//#if HALVES
  var y = k.low * unbiased_low + k.high * unbiased_high;
//#if MINS
  y += k.min_low * dot(sums.low, vec4<f32>(1.0)) + k.min_high * dot(sums.high, vec4<f32>(1.0));
//#endif
//#else
  var y = k.low * (unbiased_low + unbiased_high);
//#if MINS
  y += k.min_low * dot(sums.low + sums.high, vec4<f32>(1.0));
//#endif
//#endif
  return y;
}
