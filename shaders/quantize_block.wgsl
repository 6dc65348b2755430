// Rounds one block of 32 values to 16 bits with a power-of-two scale and stores all three forms (activations.wgsl).
// Needs `act` as read_write storage.
fn max4(v: vec4<f32>) -> f32 {
  return max(max(v.x, v.y), max(v.z, v.w));
}

// Four columns of either half of the block.
fn pack(low: vec4<f32>, high: vec4<f32>) -> vec4<i32> {
//#if DOT4
  let low_upper = floor((low + 128.0) / 256.0);
  let high_upper = floor((high + 128.0) / 256.0);
  return bitcast<vec4<i32>>(vec4<u32>(
    pack4xI8(vec4<i32>(low_upper)), pack4xI8(vec4<i32>(low - 256.0 * low_upper)),
    pack4xI8(vec4<i32>(high_upper)), pack4xI8(vec4<i32>(high - 256.0 * high_upper)),
  ));
//#else
  return vec4<i32>(low + 32768.0) | vec4<i32>(high * 65536.0);
//#endif
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
  let ra = round(a * inverse);
  let rb = round(b * inverse);
  let rc = round(c * inverse);
  let rd = round(d * inverse);
  let re = round(e * inverse);
  let rf = round(f * inverse);
  let rg = round(g * inverse);
  let rh = round(h * inverse);

  let at = row * ACT_ROW + block * 8u;
  act[at] = bitcast<vec4<i32>>(a);
  act[at + 1u] = bitcast<vec4<i32>>(b);
  act[at + 2u] = bitcast<vec4<i32>>(c);
  act[at + 3u] = bitcast<vec4<i32>>(d);
  act[at + 4u] = bitcast<vec4<i32>>(e);
  act[at + 5u] = bitcast<vec4<i32>>(f);
  act[at + 6u] = bitcast<vec4<i32>>(g);
  act[at + 7u] = bitcast<vec4<i32>>(h);
  let to = ACT_INTEGERS + row * ACT_INTEGERS_ROW + block * 4u;
  act[to] = pack(ra, re);
  act[to + 1u] = pack(rb, rf);
  act[to + 2u] = pack(rc, rg);
  act[to + 3u] = pack(rd, rh);
  let low = (ra + rb + rc + rd) * scale;
  let high = (re + rf + rg + rh) * scale;
  let sums = ACT_BLOCKS + row * ACT_BLOCKS_ROW + block * 2u;
  act[sums] = bitcast<vec4<i32>>(vec4<f32>(scale, dot(low, vec4<f32>(1.0)), dot(high, vec4<f32>(1.0)), high.w));
  act[sums + 1u] = bitcast<vec4<i32>>(vec4<f32>(low.w, 0.0, 0.0, 0.0));
}
