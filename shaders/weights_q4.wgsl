// 4-bit weights. A word holds columns 4p..4p+3 in the low nibbles of its bytes and 16+4p.. in the high nibbles.
// The topmost nibble, which makes the word's sign, is stored minus 8. Nibbles stay where they are in the word: shifts of
// vectors are slow on processors.
const LOW_STEP: vec4<f32> = vec4<f32>(1.0, 0x1p-8f, 0x1p-16f, 0x1p-24f);
const HIGH_STEP: vec4<f32> = vec4<f32>(0x1p-4f, 0x1p-12f, 0x1p-20f, 0x1p-28f);
const LOW_NIBBLES: vec4<i32> = vec4<i32>(0xf, 0xf00, 0xf0000, 0xf000000);
const HIGH_NIBBLES: vec4<i32> = vec4<i32>(0xf0, 0xf000, 0xf00000, -0x10000000);
const BLOCK_WORDS: u32 = 4u;
const PART_WORDS: u32 = 1u;

struct Bits { low: vec4<i32>, high: vec4<i32> }

fn weight_bits() -> Bits {
//#if PROCESSOR
  // SwiftShader takes two instructions for a constant at each of its uses, and none for a variable.
  let never = step.count == 0u;
  return Bits(select(LOW_NIBBLES, vec4<i32>(), never), select(HIGH_NIBBLES, vec4<i32>(), never));
//#else
  return Bits(LOW_NIBBLES, HIGH_NIBBLES);
//#endif
}

// A part of a block of four rows.
struct Part { words: vec4<i32> }

fn load_part(at: u32, row_groups: u32) -> Part {
  return Part(arena[at]);
}

//#repeat r ROWS
fn columns$r(part: Part) -> Columns {
  let w = vec4<i32>(part.words[$r]);
  return Columns(
    vec4<f32>(w & LOW_NIBBLES),
    vec4<f32>(w & HIGH_NIBBLES),
  );
}
//#end

// One column after the other: each as a vector would take four registers of a processor.
//#repeat r ROWS
fn product$r(part: Part, bits: Bits, x: Columns) -> f32 {
  let w = part.words[$r];
  return f32(w & bits.low.x) * x.low.x + f32(w & bits.low.y) * x.low.y
    + f32(w & bits.low.z) * x.low.z + f32(w & bits.low.w) * x.low.w
    + f32(w & bits.high.x) * x.high.x + f32(w & bits.high.y) * x.high.y
    + f32(w & bits.high.z) * x.high.z + f32(w & bits.high.w) * x.high.w;
}
//#end

struct Scales { scale: vec4<f32>, min: vec4<f32> }

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  let at = block * s.row_groups + row_group;
//#if PACKED
  // Scale and minimum as halves; the segment has the power of two that makes them whole.
  let halves = bitcast<vec4<u32>>(arena[s.scales + at]);
//#if PROCESSOR
  // Exponents are too small by 112. No half is subnormal (web/device/webgpu/halves.ts).
  let factor = bitcast<f32>(s.mins);
  let scale = (halves & vec4<u32>(0x7fff)) * 0x2000u + (halves & vec4<u32>(0x8000)) * 0x10000u;
  let min = (halves & vec4<u32>(0x80000000)) + ((halves & vec4<u32>(0x7fff0000)) >> vec4<u32>(3));
  return Scales(bitcast<vec4<f32>>(scale) * 0x1p112f * factor, bitcast<vec4<f32>>(min) * 0x1p112f * factor);
//#else
  let a = unpack2x16float(halves.x);
  let b = unpack2x16float(halves.y);
  let c = unpack2x16float(halves.z);
  let d = unpack2x16float(halves.w);
  let factor = bitcast<f32>(s.mins);
  return Scales(vec4<f32>(a.x, b.x, c.x, d.x) * factor, vec4<f32>(a.y, b.y, c.y, d.y) * factor);
//#endif
//#else
  return Scales(bitcast<vec4<f32>>(arena[s.scales + at]), bitcast<vec4<f32>>(arena[s.mins + at]));
//#endif
}

// Result of a block of four rows from the products of its halves with the stored integers.
fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: InputSums) -> vec4<f32> {
  return k.scale * (low + high + 8.0 * sums.high.w) + k.min * dot(sums.low + sums.high, vec4<f32>(1.0));
}
