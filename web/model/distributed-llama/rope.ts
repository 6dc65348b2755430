/** Llama 3.1's rope scaling between distributed-llama's four numbers and the divisors that a GGUF file carries. */
import type { RopeScaling } from './header.ts';

/**
 * Divisors of the headDim/2 rope frequencies: 1 for short wavelengths, `factor` for long ones, a blend between.
 * Rounded to f32, as `rope_freqs.weight` of a GGUF file has them.
 */
export function ropeFactors(theta: number, headDim: number, scaling: RopeScaling): Float32Array {
  const { factor, lowFrequency, highFrequency, originalContext } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < originalContext / highFrequency) return 1;
    if (wavelength > originalContext / lowFrequency) return factor;
    const smooth = (originalContext / wavelength - lowFrequency) / (highFrequency - lowFrequency);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** What models use, and contexts down to 1, under which every frequency is divided (linear scaling). */
const LOW_FREQUENCIES: readonly number[] = [1, 2, 4];
const HIGH_FREQUENCIES: readonly number[] = [4, 2, 8, 16];
const LARGEST_CONTEXT = 2 ** 20;
/** Relative; the divisors of a file were made with f32 frequencies. */
const TOLERANCE = 1e-5;

/** The scaling that makes these divisors; undefined where none of those that models use does. */
export function findRopeScaling(theta: number, headDim: number, factors: ArrayLike<number>): RopeScaling | undefined {
  const factor = Math.round(Math.max(...Array.from(factors)));
  for (const lowFrequency of LOW_FREQUENCIES) {
    for (const highFrequency of HIGH_FREQUENCIES) {
      if (highFrequency <= lowFrequency) continue;
      for (let originalContext = 1; originalContext <= LARGEST_CONTEXT; originalContext *= 2) {
        const scaling = { factor, lowFrequency, highFrequency, originalContext };
        const made = ropeFactors(theta, headDim, scaling);
        if (made.every((value, i) => Math.abs(value - factors[i]!) <= TOLERANCE * value)) return scaling;
      }
    }
  }
  return undefined;
}
