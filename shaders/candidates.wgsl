// Finding the best logits of one row: what summarize.wgsl and select.wgsl share. Logits are compared as integers, because
// comparisons of NaN are the implementation's choice in WGSL.
struct Wanted {
  // Number of logits.
  rows: u32,
  // Candidates wanted.
  top: u32,
  inverse_temperature: f32,
  reserved: u32,
}

// One for every LOGITS_PER_CHUNK logits. `highest`: as f32, of what has not been selected (key, then row); `peak` and `sum`:
// the largest logit and Σ exp((logit − peak) / temperature); `unsound`: 1 with a NaN or an infinite logit among them.
struct Chunk { key: u32, row: u32, peak: f32, sum: f32, unsound: u32 }

// Orders as the numbers do; zeros are equal; 0 for what is never a candidate (NaN).
fn key_of(logit: f32) -> u32 {
  let bits = bitcast<u32>(logit);
  let magnitude = bits & 0x7fffffffu;
  if magnitude > 0x7f800000u {
    return 0u;
  }
  if bits > 0x80000000u {
    return ~bits;
  }
  return magnitude + 0x80000000u;
}

// Whether a logit comes before another: larger, or equal and of a lower row.
fn before(key_a: u32, row_a: u32, key_b: u32, row_b: u32) -> bool {
  return key_a > key_b || (key_a == key_b && row_a < row_b);
}
