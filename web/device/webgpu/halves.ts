/**
 * Scales and minima of 4-bit tiles as halves. Most files have them as halves anyway; times a power of two, so that the
 * largest lies near the top of a half's range, they avoid the subnormal halves, which GPUs may flush to zero.
 */

const F32_MANTISSA_BITS = 23;
const F32_BIAS = 127;
const HALF_BIAS = 15;
/** Mantissa bits of an f32 that a half has no room for. */
const LOST_BITS = 13;
const LARGEST_HALF_EXPONENT = 15;
const SMALLEST_NORMAL_HALF_EXPONENT = -14;

export interface PackedHalves {
  /** Per block the scale in the lower half, the minimum in the upper one. */
  words: Uint32Array;
  /** Power of two that the halves are to be multiplied with. */
  factor: number;
}

/** Undefined where a value has too many bits or their range is too wide: then they stay f32, since weights are exact. */
export function packHalves(scales: Float32Array, mins: Float32Array): PackedHalves | undefined {
  const bits = [scales, mins].map((values) => new Uint32Array(values.buffer, values.byteOffset, values.length));
  const [scaleBits, minBits] = bits as [Uint32Array, Uint32Array];
  const shift = LARGEST_HALF_EXPONENT - Math.max(largestExponent(scaleBits), largestExponent(minBits));
  const words = new Uint32Array(scales.length);
  for (let i = 0; i < words.length; i++) {
    const scale = halfOf(scaleBits[i]!, shift);
    const min = halfOf(minBits[i]!, shift);
    if (scale < 0 || min < 0) return undefined;
    words[i] = scale | (min << 16);
  }
  return { words, factor: 2 ** -shift };
}

const exponentOf = (bits: number): number => ((bits >>> F32_MANTISSA_BITS) & 0xff) - F32_BIAS;

function largestExponent(values: Uint32Array): number {
  let largest = -F32_BIAS;
  for (const bits of values) largest = Math.max(largest, exponentOf(bits));
  return largest;
}

/** Bits of the half that equals the f32 times 2^shift, or -1 where there is none but a subnormal one. */
function halfOf(bits: number, shift: number): number {
  if ((bits & 0x7fffffff) === 0) return (bits >>> 16) & 0x8000;
  const exponent = exponentOf(bits) + shift;
  const exact = (bits & ((1 << LOST_BITS) - 1)) === 0;
  if (!exact || exponent < SMALLEST_NORMAL_HALF_EXPONENT || exponent > LARGEST_HALF_EXPONENT) return -1;
  return ((bits >>> 16) & 0x8000) | ((exponent + HALF_BIAS) << 10) | ((bits & 0x7fffff) >>> LOST_BITS);
}
