/**
 * Scales and minima as tiles have them (wasm-cpu/assembly/tiles.ts): times 2^-102, in 16 bits each where that is exact. Most
 * files have them as halves: times 2^10 those have no subnormals, and an f32's exponent needs no more than a half's 5 bits.
 */
import type { TileData } from '../backend.ts';

/** How a tile has its scales and minima; `x2`: two scales a block of 32 columns. Numbered as in wasm-cpu/assembly/tiles.ts. */
export const SCALE_FORMS = { f32: 0, 'f32+min': 1, f32x2: 2, f16: 3, 'f16+min': 4 } as const;
export type ScaleForm = keyof typeof SCALE_FORMS;

/** A power of two, so that nothing is rounded: the smallest half, 2^-24, becomes the smallest normal f32. */
export const SCALE_FACTOR = 2 ** -102;

/** The exponent bits that `SCALE_FACTOR` takes off, where a half has them. */
const EXPONENT_OFFSET = 102 << 10;
/** Bits of an f32 that a half has no room for. */
const LOST_BITS = 13;
const LOST = (1 << LOST_BITS) - 1;
/** As bits of an f32: the smallest and past the largest of what 5 bits of exponent reach, 2^-24 and 2^7. */
const SMALLEST = 103 << 23;
const TOO_LARGE = 134 << 23;

type Blocks = Extract<TileData, { kind: 'q4' | 'q8' }>;

export function scaleFormOf(data: Blocks): ScaleForm {
  const { kind, block, scales, mins } = data;
  if (block === 16) return 'f32x2';
  if (!fitHalves(scales)) return mins ? 'f32+min' : 'f32';
  if (!mins || (kind === 'q4' && areAroundEight(scales, mins))) return 'f16';
  return fitHalves(mins) ? 'f16+min' : 'f32+min';
}

/** Bytes that each row of a block has before its integers. */
export const SCALE_BYTES: Readonly<Record<ScaleForm, number>> = {
  f32: 4,
  'f32+min': 8,
  f32x2: 8,
  f16: 2,
  'f16+min': 4,
};

/** The 16 bits of an f32 that fits them. */
export function halfOf(bits: number): number {
  const magnitude = bits & 0x7fffffff;
  return magnitude === 0 ? 0 : ((bits >>> 16) & 0x8000) | ((magnitude >>> LOST_BITS) - EXPONENT_OFFSET);
}

export const bitsOf = (values: Float32Array): Int32Array =>
  new Int32Array(values.buffer, values.byteOffset, values.length);

function fitHalves(values: Float32Array): boolean {
  const bits = bitsOf(values);
  let lost = 0;
  for (let i = 0; i < bits.length; i++) {
    const magnitude = bits[i]! & 0x7fffffff;
    if ((magnitude < SMALLEST || magnitude >= TOO_LARGE) && magnitude !== 0) return false;
    lost |= magnitude;
  }
  return (lost & LOST) === 0;
}

/** Minima that nobody needs to store. */
function areAroundEight(scales: Float32Array, mins: Float32Array): boolean {
  for (let i = 0; i < scales.length; i++) if (mins[i] !== -8 * scales[i]!) return false;
  return true;
}
