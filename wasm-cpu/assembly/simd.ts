/** w · x + sum; fused where the engine has it. Plain SIMD rounds the product first: all that the two variants differ by. */
// @ts-ignore: decorator
@inline
export function madd(w: v128, x: v128, sum: v128): v128 {
  return ASC_FEATURE_RELAXED_SIMD ? f32x4.relaxed_madd(w, x, sum) : f32x4.add(sum, f32x4.mul(w, x));
}

/** Sum of the four lanes, always in the order (0+2)+(1+3). */
// @ts-ignore: decorator
@inline
export function sum4(v: v128): f32 {
  const t = f32x4.add(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return f32x4.extract_lane(t, 0) + f32x4.extract_lane(t, 1);
}

/** Lanes [r0 r0 r1 r1], [r2 r2 r3 r3] of i32 → one i32 a row. */
// @ts-ignore: decorator
@inline
export function joinPairs(a: v128, b: v128): v128 {
  return i32x4.add(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(a, b, 1, 3, 5, 7));
}

// @ts-ignore: decorator
@inline
export function max4(v: v128): f32 {
  const t = f32x4.pmax(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(t, 0), f32x4.extract_lane(t, 1));
}

/** Below this exp() gives 0: nothing that small can matter, and denormals would slow everything that touches them. */
const EXP_LOWEST: f32 = -60.0;
const EXP_HIGHEST: f32 = 80.0;

/**
 * exp of four floats: x = n·ln2 + r, 2^n by exponent bits, e^r by its Taylor series to r^7 (error 5e-9 relative for |r| ≤ ln2/2).
 */
export function exp4(x: v128): v128 {
  const live = f32x4.ge(x, f32x4.splat(EXP_LOWEST));
  x = f32x4.min(f32x4.max(x, f32x4.splat(EXP_LOWEST)), f32x4.splat(EXP_HIGHEST));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(1.44269504088896341)));
  // ln 2 in two parts, the first short enough that n times it is exact.
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(0.693359375)));
  r = f32x4.add(r, f32x4.mul(n, f32x4.splat(2.12194440054690583e-4)));
  let p = f32x4.splat(<f32>(1.0 / 5040.0));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 720.0)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 120.0)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 24.0)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>(1.0 / 6.0)));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return v128.and(f32x4.mul(p, power), live);
}

/** A score that counts for nothing. */
// @ts-ignore: decorator
@inline export const LOWEST: f32 = -1e30;

/**
 * 2^x of four floats up to 0; 0 below −100. x = n + r, 2^n by exponent bits, 2^r by a polynomial (error 2e-9 relative), which
 * is exactly 1 at 0. For attention: `exp4` has the same bits in plain and relaxed SIMD, this has a few operations less.
 */
// @ts-ignore: decorator
@inline
export function exp2(x: v128): v128 {
  // 1.5 · 2^23 leaves the nearest integer in the lowest bits; with 127 it is the exponent as f32 has it.
  const shifted = f32x4.add(x, f32x4.splat(12583039));
  const r = f32x4.sub(x, f32x4.sub(shifted, f32x4.splat(12583039)));
  let p = f32x4.splat(<f32>0.00015353360183320062);
  p = madd(p, r, f32x4.splat(<f32>0.0013398874363568236));
  p = madd(p, r, f32x4.splat(<f32>0.009618437363363319));
  p = madd(p, r, f32x4.splat(<f32>0.05550332471297148));
  p = madd(p, r, f32x4.splat(<f32>0.24022647913595313));
  p = madd(p, r, f32x4.splat(<f32>0.6931472028549678));
  p = madd(p, r, f32x4.splat(1));
  return v128.and(f32x4.mul(p, i32x4.shl(shifted, 23)), f32x4.ge(x, f32x4.splat(-100)));
}

/** 256 · upper + lower in f32; rounded once where both are below 2^24, and fused or not: times 256 is exact. */
// @ts-ignore: decorator
@inline
export function whole(upper: v128, lower: v128): v128 {
  return madd(f32x4.convert_i32x4_s(upper), f32x4.splat(256), f32x4.convert_i32x4_s(lower));
}
