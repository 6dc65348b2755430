// Float weights: F32 one vector a column; F16 and BF16 two neighbouring columns in the halves of a word.
const LOW_STEP: vec4<f32> = vec4<f32>(1.0);
const HIGH_STEP: vec4<f32> = vec4<f32>(1.0);

//#if F32
const BLOCK_WORDS: u32 = 32u;
const PART_WORDS: u32 = 4u;

struct Part {
  a: vec4<i32>, b: vec4<i32>, c: vec4<i32>, d: vec4<i32>,
  e: vec4<i32>, f: vec4<i32>, g: vec4<i32>, h: vec4<i32>,
}

fn load_part(at: u32, row_groups: u32) -> Part {
  let to = at + 16u * row_groups;
  return Part(
    arena[at], arena[at + row_groups], arena[at + 2u * row_groups], arena[at + 3u * row_groups],
    arena[to], arena[to + row_groups], arena[to + 2u * row_groups], arena[to + 3u * row_groups],
  );
}

//#repeat r ROWS
fn columns$r(p: Part) -> Columns {
  return Columns(
    bitcast<vec4<f32>>(vec4<i32>(p.a[$r], p.b[$r], p.c[$r], p.d[$r])),
    bitcast<vec4<f32>>(vec4<i32>(p.e[$r], p.f[$r], p.g[$r], p.h[$r])),
  );
}
//#end
//#else
const BLOCK_WORDS: u32 = 16u;
const PART_WORDS: u32 = 2u;

struct Part { a: vec4<i32>, b: vec4<i32>, c: vec4<i32>, d: vec4<i32> }

fn load_part(at: u32, row_groups: u32) -> Part {
  return Part(arena[at], arena[at + row_groups], arena[at + 8u * row_groups], arena[at + 9u * row_groups]);
}

// Four columns from two words.
//#if BF16
fn four(p: i32, q: i32) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<i32>(p * 0x10000, p & -0x10000, q * 0x10000, q & -0x10000));
}
//#else
// By integers, because unpack2x16float may flush the subnormal halves, which small weights are.
fn four(p: i32, q: i32) -> vec4<f32> {
  let h = vec4<i32>(p, p >> 16u, q, q >> 16u);
  let magnitude = h & vec4<i32>(0x7fff);
  let normal = bitcast<vec4<f32>>(magnitude * 0x2000 + vec4<i32>(0x38000000));
  let subnormal = vec4<f32>(magnitude) * 0x1p-24f;
  let positive = select(normal, subnormal, magnitude < vec4<i32>(0x400));
  return select(positive, -positive, (h & vec4<i32>(0x8000)) != vec4<i32>(0));
}
//#endif

//#repeat r ROWS
fn columns$r(p: Part) -> Columns {
  return Columns(four(p.a[$r], p.b[$r]), four(p.c[$r], p.d[$r]));
}
//#end
//#endif

struct Bits { none: u32 }

fn weight_bits() -> Bits {
  return Bits(0u);
}

//#repeat r ROWS
fn product$r(p: Part, bits: Bits, x: Columns) -> f32 {
  let w = columns$r(p);
  return dot(w.low, x.low) + dot(w.high, x.high);
}
//#end

struct Scales { none: u32 }

fn scales(s: Segment, row_group: u32, block: u32) -> Scales {
  return Scales(0u);
}

fn finish(k: Scales, low: vec4<f32>, high: vec4<f32>, sums: InputSums) -> vec4<f32> {
  return low + high;
}
