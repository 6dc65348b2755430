// 8-bit weights: word p holds columns 4p..4p+3.
//#if DOT4
//#include multiply
//#else
// The upper byte is signed; the others are stored plus 128, since shifts of vectors, which would extend their signs, are
// slow on processors. So partial sums may leave the 24 bits that f32 adds exactly, by a few units; the inputs were rounded
// a hundred times more coarsely.
const LOW_STEP: vec4<f32> = vec4<f32>(1.0, 0x1p-8f, 0x1p-16f, 0x1p-24f);
const HIGH_STEP: vec4<f32> = LOW_STEP;
const BYTES: vec4<i32> = vec4<i32>(0xff, 0xff00, 0xff0000, -0x1000000);
//#include multiply
//#endif
const BLOCK_WORDS: u32 = 8u;
const PART_WORDS: u32 = 1u;

// A part of a block of four rows.
struct Part { low: vec4<i32>, high: vec4<i32> }

fn load_part(at: u32, row_groups: u32) -> Part {
  return Part(arena[at], arena[at + 4u * row_groups]);
}

//#repeat r ROWS
fn columns$r(part: Part) -> Columns {
//#if DOT4
  return Columns(bitcast<u32>(part.low[$r]), bitcast<u32>(part.high[$r]));
//#else
  return Columns(vec4<f32>(vec4<i32>(part.low[$r]) & BYTES), vec4<f32>(vec4<i32>(part.high[$r]) & BYTES));
//#endif
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

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, input: InputBlock) -> vec4<f32> {
  let sums = input.sums;
//#if DOT4
  let bias_low = 0.0;
  let bias_high = 0.0;
//#else
  let bias_low = 128.0 * (sums.y - input.more.x);
  let bias_high = 128.0 * (sums.z - sums.w);
//#endif
//#if HALVES
  var y = k.low * (low * sums.x - bias_low) + k.high * (high * sums.x - bias_high);
//#if MINS
  y += k.min_low * sums.y + k.min_high * sums.z;
//#endif
//#else
  var y = k.low * ((low + high) * sums.x - (bias_low + bias_high));
//#if MINS
  y += k.min_low * (sums.y + sums.z);
//#endif
//#endif
  return y;
}
