// Addresses and record layouts that the kernels share with web/device/wasm/program.ts. Change both together.

/** Control block: one per memory. */
// @ts-ignore: decorator
@inline export const CONTROL: usize = 1024;
// @ts-ignore: decorator
@inline export const C_POSITION: usize = 0;
// @ts-ignore: decorator
@inline export const C_COUNT: usize = 4;
// @ts-ignore: decorator
@inline export const C_TICKET: usize = 8;
// @ts-ignore: decorator
@inline export const C_PROGRAM: usize = 12;
// @ts-ignore: decorator
@inline export const C_OPS: usize = 16;
// @ts-ignore: decorator
@inline export const C_THREADS: usize = 20;
// @ts-ignore: decorator
@inline export const C_SLEEPERS: usize = 24;
// On cache lines of their own: every thread writes the count, every waiting thread reads the generation.
// @ts-ignore: decorator
@inline export const C_BARRIER_COUNT: usize = 128;
// @ts-ignore: decorator
@inline export const C_BARRIER_GENERATION: usize = 256;

/** One operation: 32 fields of 4 bytes. Field 31 counts the work taken so far. */
// @ts-ignore: decorator
@inline export const OP_BYTES: usize = 128;
// @ts-ignore: decorator
@inline export const F_TAKEN: usize = 124;

// @ts-ignore: decorator
@inline
export function field(op: usize, index: usize): usize {
  return load<u32>(op + (index << 2));
}

// @ts-ignore: decorator
@inline
export function fieldInt(op: usize, index: usize): i32 {
  return load<i32>(op + (index << 2));
}

// @ts-ignore: decorator
@inline
export function fieldFloat(op: usize, index: usize): f32 {
  return load<f32>(op + (index << 2));
}

// @ts-ignore: decorator
@inline
export function position(): i32 {
  return load<i32>(CONTROL + C_POSITION);
}

// @ts-ignore: decorator
@inline
export function count(): i32 {
  return load<i32>(CONTROL + C_COUNT);
}

/** Takes the next `chunk` units of an operation's work; threads that are ahead simply take more. */
// @ts-ignore: decorator
@inline
export function take(op: usize, chunk: i32): i32 {
  if (ASC_FEATURE_THREADS) return atomic.add<i32>(op + F_TAKEN, chunk);
  const from = load<i32>(op + F_TAKEN);
  store<i32>(op + F_TAKEN, from + chunk);
  return from;
}

/**
 * Activations of `n` values a position, quantized (see docs/arithmetic.md): a record of 6 fields.
 * xs: i16[T][n]; hl: per block 32 bytes h, then 32 bytes l; scale, sum: f32[T][n/32], sum already times scale; f32: values [T][n].
 */
// @ts-ignore: decorator
@inline export const A_XS: usize = 0;
// @ts-ignore: decorator
@inline export const A_HL: usize = 4;
// @ts-ignore: decorator
@inline export const A_SCALE: usize = 8;
// @ts-ignore: decorator
@inline export const A_SUM: usize = 12;
// @ts-ignore: decorator
@inline export const A_F32: usize = 16;
// @ts-ignore: decorator
@inline export const A_N: usize = 20;

/** A part of an attention row: maximum and sum of its chunk, 2 unused, then headDim values. */
// @ts-ignore: decorator
@inline export const PART_BYTES: usize = 16;

/** Chunks of `size` positions that `positions` cached ones fill. */
// @ts-ignore: decorator
@inline
export function chunksOf(positions: i32, size: i32): i32 {
  return (positions + size - 1) / size;
}

/** KV head: k i16[context][headDim], v likewise, k scales f32[context], v scales. */
// @ts-ignore: decorator
@inline export const KV_K: usize = 0;
// @ts-ignore: decorator
@inline export const KV_V: usize = 4;
// @ts-ignore: decorator
@inline export const KV_K_SCALES: usize = 8;
// @ts-ignore: decorator
@inline export const KV_V_SCALES: usize = 12;
// @ts-ignore: decorator
@inline export const KV_BYTES: usize = 16;
