// Products in f32. Eight columns of a row: 4p..4p+3 and 16+4p..16+4p+3 of a block of 32, for part p in 0..3. Weights may
// carry a power of two each, which LOW_STEP and HIGH_STEP of their kind, folded into the inputs, undo.
struct Columns { low: vec4<f32>, high: vec4<f32> }
alias Accumulator = vec4<f32>;

fn times_low(w: Columns, x: Columns) -> f32 {
  return dot(w.low, x.low);
}

fn times_high(w: Columns, x: Columns) -> f32 {
  return dot(w.high, x.high);
}

fn plain(w: Columns) -> Columns {
  return Columns(w.low * LOW_STEP, w.high * HIGH_STEP);
}
