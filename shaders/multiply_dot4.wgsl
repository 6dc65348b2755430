// Products of bytes by packed dot products. Eight columns of a row of weights: 4p..4p+3 and 16+4p..16+4p+3 of a block of 32,
// for part p in 0..3, as signed bytes. Inputs are two bytes each, 256 · upper + lower.
struct Columns { low: u32, high: u32 }
alias Accumulator = vec4<i32>;

fn times(w: u32, upper: u32, lower: u32) -> i32 {
  return dot4I8Packed(w, upper) * 256 + dot4I8Packed(w, lower);
}

fn times_low(w: Columns, x: vec4<u32>) -> i32 {
  return times(w.low, x.x, x.y);
}

fn times_high(w: Columns, x: vec4<u32>) -> i32 {
  return times(w.high, x.z, x.w);
}

struct Plain { low: vec4<f32>, high: vec4<f32> }

fn plain(w: Columns) -> Plain {
  return Plain(vec4<f32>(unpack4xI8(w.low)), vec4<f32>(unpack4xI8(w.high)));
}
