// Rounds one block of 32 values to 16 bits with a power-of-two scale and stores all three forms (activations.wgsl).
// Needs `act` as read_write storage.
fn max4(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

fn store_block(
  row: u32, block: u32,
  a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>,
  e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32>,
) {
  let largest = max4(max(
    max(max(abs(a), abs(b)), max(abs(c), abs(d))),
    max(max(abs(e), abs(f)), max(abs(g), abs(h))),
  ));
  // Biased exponent of the block, one more where rounding would leave the 16 bits.
  let exponent = (bitcast<u32>(largest) + 0x10100u) >> 23u;
  // Below 2^-100 the block counts as zero; both factors are powers of two and so exact.
  let zero = largest < 0x1p-100f;
  let scale = select(bitcast<f32>((exponent - 14u) << 23u), 0.0, zero);
  let inverse = select(bitcast<f32>((268u - exponent) << 23u), 0.0, zero);
  let ra = round(a * inverse) * scale;
  let rb = round(b * inverse) * scale;
  let rc = round(c * inverse) * scale;
  let rd = round(d * inverse) * scale;
  let re = round(e * inverse) * scale;
  let rf = round(f * inverse) * scale;
  let rg = round(g * inverse) * scale;
  let rh = round(h * inverse) * scale;

  let at = row * ACT_ROW + block * 8u;
  act[at] = a;
  act[at + 1u] = b;
  act[at + 2u] = c;
  act[at + 3u] = d;
  act[at + 4u] = e;
  act[at + 5u] = f;
  act[at + 6u] = g;
  act[at + 7u] = h;
  let to = ACT_ROUNDED + at;
  act[to] = ra;
  act[to + 1u] = rb;
  act[to + 2u] = rc;
  act[to + 3u] = rd;
  act[to + 4u] = re;
  act[to + 5u] = rf;
  act[to + 6u] = rg;
  act[to + 7u] = rh;
  let low = dot(ra + rb + rc + rd, vec4<f32>(1.0));
  let high = dot(re + rf + rg + rh, vec4<f32>(1.0));
  act[ACT_SUMS + row * ACT_SUMS_ROW + block] = vec4<f32>(low, high, 0.0, 0.0);
}
