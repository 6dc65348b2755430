/**
 * Number types of tensors on the wire. Bytes are little-endian, as every platform that browsers run on is.
 * Blocks of 32 run over the whole array, row after row; the last may be short.
 *
 * - `f32`: the values. 4 bytes each.
 * - `f16`: IEEE halves, round to nearest even. 2 bytes each; overflows to infinity above 65504.
 * - `q80`: f16 scales of all blocks, then one Int8 a value: v = scale · q, as GGML's Q8_0. 34 bytes a block.
 * - `q15`: scales of all blocks, then 30 bytes for every 16 values: v = scale · q, |q| ≤ 16383. A scale is the upper half
 *   of a positive float without its sign (8 bits of exponent, 8 of mantissa), rounded up. Of 16 values the first 15 are
 *   the low 15 bits of a word each, and bit i of the last is the top bit of word i. 62 bytes a block; the error is at
 *   most 2^-15 · (1 + 2^-7) of the largest magnitude, and no value overflows. A row of 576 and its header are 1132 bytes:
 *   with 16 bits a value they would not fit into one packet of WebRTC's (1144 bytes beside an acknowledgement), and two
 *   packets make it three, since every second is acknowledged at once.
 *
 * A block (f16: a value) that holds a NaN or an infinity decodes to NaN or infinities, never to a number that looks right.
 */

export const NUMBER_TYPES = ['f32', 'f16', 'q80', 'q15'] as const;
export type NumberType = (typeof NUMBER_TYPES)[number];

/** Values that share a scale in `q80` and `q15`. */
export const BLOCK = 32;

/** Values of `q15` that are packed together, and the words that they take. */
const PACK = 16;
const PACK_WORDS = 15;

/** Exact number of bytes that `count` values take. */
export function wireBytes(type: NumberType, count: number): number {
  switch (type) {
    case 'f32':
      return 4 * count;
    case 'f16':
      return 2 * count;
    case 'q80':
      return 2 * blocksOf(count) + count;
    case 'q15':
      return 2 * blocksOf(count) + 2 * PACK_WORDS * Math.ceil(count / PACK);
  }
}

/**
 * Writes `values` to the start of `out` and returns the bytes written. `out` must start at a multiple of 4 bytes of its
 * buffer and hold `wireBytes(type, values.length)`; `values` may lie in shared memory.
 */
export function encode(type: NumberType, values: Float32Array, out: Uint8Array): number {
  const count = values.length;
  switch (type) {
    case 'f32':
      new Float32Array(out.buffer, out.byteOffset, count).set(values);
      break;
    case 'f16':
      encodeF16(values, new Uint16Array(out.buffer, out.byteOffset, count));
      break;
    case 'q80':
      encodeQ80(values, out);
      break;
    case 'q15':
      encodeQ15(values, out);
      break;
  }
  return wireBytes(type, count);
}

/**
 * Adds decoded values to `sum`, or, with `first`, replaces `sum` with them. `bytes` must hold exactly
 * `wireBytes(type, sum.length)`. The result depends on nothing but the bytes and what `sum` held.
 */
export function decode(type: NumberType, bytes: Uint8Array, sum: Float32Array, first: boolean): void {
  const data = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  if (first) sum.fill(-0); // x + -0 is x, also for x = -0.
  switch (type) {
    case 'f32':
      addF32(new Float32Array(data.buffer, data.byteOffset, sum.length), sum);
      break;
    case 'f16':
      addF16(new Uint16Array(data.buffer, data.byteOffset, sum.length), sum);
      break;
    case 'q80':
      addQ80(data, sum);
      break;
    case 'q15':
      addQ15(data, sum);
      break;
  }
}

/** The values as every receiver sees them, into `out` (which may be `values` itself). */
export function roundTrip(type: NumberType, values: Float32Array, out: Float32Array): void {
  const bytes = new Uint8Array(wireBytes(type, values.length));
  encode(type, values, bytes);
  decode(type, bytes, out, true);
}

/** Whether every value is a number, neither NaN nor infinite. */
export function allFinite(values: Float32Array): boolean {
  let nought = 0;
  // A value minus itself is 0, or NaN where it is no finite number.
  for (let i = 0; i < values.length; i++) nought += values[i] - values[i];
  return nought === 0;
}

/** 32-bit digest of the bits of `values`: equal replicas have equal digests. */
export function digest(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = values.length;
  for (let i = 0; i < bits.length; i++) {
    // A step of Murmur3: every bit of a word reaches the whole state.
    const word = Math.imul(bits[i], 0xcc9e2d51);
    hash ^= Math.imul((word << 15) | (word >>> 17), 0x1b873593);
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

const blocksOf = (count: number) => Math.ceil(count / BLOCK);

/** Bits of a float, and back. */
const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);

/** Adding and taking away this rounds a double below 2^51 to the nearest integer, ties to even. */
const ROUND = 6755399441055744;

const MAGNITUDE = 0x7fffffff;
const INFINITY_BITS = 0x7f800000;

/** Bits of the half nearest to a float given by its bits, ties to even; every NaN becomes the quiet one. */
export function halfBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & MAGNITUDE;
  if (magnitude > INFINITY_BITS) return sign | 0x7e00;
  // 65520 and above round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Normal halves, from 2^-14. The carry of rounding runs into the exponent, as it should.
  if (magnitude >= 0x38800000) return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  // 2^-25 and below round to zero.
  if (magnitude <= 0x33000000) return sign;
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const half = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const middle = 1 << (shift - 1);
  return sign | (half + (rest > middle || (rest === middle && (half & 1) === 1) ? 1 : 0));
}

/** The value of every half. */
const HALVES = Float32Array.from({ length: 0x10000 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
});

/** Largest magnitude of a quant of q15. */
const Q15_MOST = 16383;
/** Bits of a float that a scale of q15 leaves out. */
const Q15_SCALE_SHIFT = 15;
const Q15_SCALE_REST = (1 << Q15_SCALE_SHIFT) - 1;

function bitsOf(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length);
}

/** Bits of the largest magnitude in [from, to): as integers, since then a NaN is larger than everything. */
function largestBits(bits: Uint32Array, from: number, to: number): number {
  let largest = 0;
  for (let i = from; i < to; i++) {
    const magnitude = bits[i] & MAGNITUDE;
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

function encodeF16(values: Float32Array, out: Uint16Array): void {
  const bits = bitsOf(values);
  for (let i = 0; i < out.length; i++) out[i] = halfBits(bits[i]);
}

function addF32(values: Float32Array, sum: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += values[i];
}

function addF16(halves: Uint16Array, sum: Float32Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += HALVES[halves[i]];
}

function encodeQ80(values: Float32Array, out: Uint8Array): void {
  const count = values.length;
  const blocks = blocksOf(count);
  const bits = bitsOf(values);
  const scales = new Uint16Array(out.buffer, out.byteOffset, blocks);
  const quants = new Int8Array(out.buffer, out.byteOffset + 2 * blocks, count);
  for (let block = 0, from = 0; block < blocks; block++, from += BLOCK) {
    const to = Math.min(from + BLOCK, count);
    scratchBits[0] = largestBits(bits, from, to);
    scratchFloat[0] = scratchFloat[0] / 127;
    const scale = halfBits(scratchBits[0]);
    scales[block] = scale;
    // Divided by the scale that is sent, not by the one before rounding: the error is smaller.
    const divisor = HALVES[scale];
    if (!(divisor > 0 && divisor < Number.POSITIVE_INFINITY)) {
      // Zero, or poisoned: the scale alone says it. 1 · NaN is NaN, 0 · infinity too.
      quants.fill(0, from, to);
      continue;
    }
    for (let i = from; i < to; i++) {
      const quant = values[i] / divisor + ROUND - ROUND;
      // A scale that is subnormal may have been rounded far down.
      quants[i] = Math.min(127, Math.max(-127, quant));
    }
  }
}

function addQ80(bytes: Uint8Array, sum: Float32Array): void {
  const count = sum.length;
  const blocks = blocksOf(count);
  const scales = new Uint16Array(bytes.buffer, bytes.byteOffset, blocks);
  const quants = new Int8Array(bytes.buffer, bytes.byteOffset + 2 * blocks, count);
  for (let block = 0, from = 0; block < blocks; block++, from += BLOCK) {
    const to = Math.min(from + BLOCK, count);
    const scale = HALVES[scales[block]];
    for (let i = from; i < to; i++) sum[i] += scale * quants[i];
  }
}

function encodeQ15(values: Float32Array, out: Uint8Array): void {
  const count = values.length;
  const blocks = blocksOf(count);
  const bits = bitsOf(values);
  const scales = new Uint16Array(out.buffer, out.byteOffset, blocks);
  const packs = Math.ceil(count / PACK);
  const words = new Uint16Array(out.buffer, out.byteOffset + 2 * blocks, PACK_WORDS * packs);
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK;
    const largest = largestBits(bits, from, Math.min(from + BLOCK, count));
    scratchBits[0] = largest;
    scratchFloat[0] = scratchFloat[0] / Q15_MOST;
    // Rounded up, so that no quant is above the most. What is no finite number makes the scale an infinity: 0 · infinity is NaN.
    const bitsUp = largest >= INFINITY_BITS ? INFINITY_BITS : scratchBits[0] + Q15_SCALE_REST;
    scales[block] = bitsUp >>> Q15_SCALE_SHIFT;
  }
  for (let pack = 0, at = 0; pack < packs; pack++, at += PACK_WORDS) {
    const from = pack * PACK;
    const inverse = inverseOf(scales[(from / BLOCK) | 0]);
    const last = from + PACK_WORDS < count ? values[from + PACK_WORDS] * inverse + ROUND - ROUND : 0;
    for (let i = 0; i < PACK_WORDS; i++) {
      const quant = from + i < count ? values[from + i] * inverse + ROUND - ROUND : 0;
      words[at + i] = (quant & 0x7fff) | (((last >> i) & 1) << 15);
    }
  }
}

/** A scale of q15 as a number. */
function scaleOf(code: number): number {
  scratchBits[0] = code << Q15_SCALE_SHIFT;
  return scratchFloat[0];
}

/** One over a scale of q15; 0 where the block is zero or poisoned: then the scale alone says it. */
function inverseOf(code: number): number {
  const scale = scaleOf(code);
  return scale > 0 && scale < Number.POSITIVE_INFINITY ? 1 / scale : 0;
}

function addQ15(bytes: Uint8Array, sum: Float32Array): void {
  const count = sum.length;
  const blocks = blocksOf(count);
  const scales = new Uint16Array(bytes.buffer, bytes.byteOffset, blocks);
  const packs = Math.ceil(count / PACK);
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset + 2 * blocks, PACK_WORDS * packs);
  for (let pack = 0, at = 0; pack < packs; pack++, at += PACK_WORDS) {
    const from = pack * PACK;
    const scale = scaleOf(scales[(from / BLOCK) | 0]);
    const own = Math.min(PACK_WORDS, count - from);
    let last = 0;
    for (let i = 0; i < own; i++) {
      const word = words[at + i];
      sum[from + i] += scale * ((word << 17) >> 17);
      last |= (word >>> 15) << i;
    }
    if (count - from > PACK_WORDS) sum[from + PACK_WORDS] += scale * ((last << 17) >> 17);
  }
}
