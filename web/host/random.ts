const MASK = (1n << 64n) - 1n;
/** 2^64 divided by the golden ratio, made odd: SplitMix64's step. */
const STEP = 0x9e3779b97f4a7c15n;

/**
 * The `index`-th number in [0, 1) of the stream that belongs to `seed`: SplitMix64 (Steele, Lea, Flood, "Fast splittable
 * pseudorandom number generators", 2014), top 53 bits. It has no state: a token's draw depends on its place in the
 * answer alone, so an answer that is interrupted and continued on another device draws the same numbers.
 * @param seed integer, |seed| ≤ 2^53 − 1
 * @param index integer ≥ 0
 */
export function uniform(seed: number, index: number): number {
  let z = (BigInt(seed) + (BigInt(index) + 1n) * STEP) & MASK;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & MASK;
  z ^= z >> 31n;
  return Number(z >> 11n) / 2 ** 53;
}

/** A seed for a call that gave none. 32 bits, so that a person can copy it. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]!;
}
