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
/** Longest wait of a thread for the others, in milliseconds. */
// @ts-ignore: decorator
@inline export const C_PATIENCE: usize = 28;
/** 1 once a thread has waited longer than that. */
// @ts-ignore: decorator
@inline export const C_LATE: usize = 32;
/** 1 / temperature (f32), for `summarize`. */
// @ts-ignore: decorator
@inline export const C_SELECTION_SCALE: usize = 36;
// On cache lines of their own: every thread writes the count, every waiting thread reads the generation.
// @ts-ignore: decorator
@inline export const C_BARRIER_COUNT: usize = 128;
// @ts-ignore: decorator
@inline export const C_BARRIER_GENERATION: usize = 256;

/** One operation: 32 fields of 4 bytes. Field 31 counts the work taken so far, without first pieces. */
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
 * Pieces of `chunk` units: each thread begins with the piece of its own number, which costs nothing, and `nextPiece` gives
 * those that follow to whoever comes first: a word that two cores write in turn takes a third of a microsecond a time.
 */
// @ts-ignore: decorator
@inline
export function firstPiece(thread: i32, chunk: i32): i32 {
  return thread * chunk;
}

// @ts-ignore: decorator
@inline
export function nextPiece(op: usize, chunk: i32): i32 {
  return take(op, chunk) + load<i32>(CONTROL + C_THREADS) * chunk;
}

/**
 * Activations of `n` values a position: a record of 7 fields.
 * For a matrix times several positions, f32 alone, in panels of 4 positions: [⌈T/4⌉][n][4], so that a kernel reads the four
 * side by side. For one position, f32[n] and its 24-bit integers (docs/arithmetic.md): hml: per block of 32, 32 bytes h, 32
 * bytes m, 32 bytes l; hi: i16[n], 256·h + m; lo: i16[n], l; scale: f32[n/32], of the integers, times 2^54 (see `DOWN`
 * below); sum: f32[n/32], of the integers, times that.
 */
// @ts-ignore: decorator
@inline export const A_HML: usize = 0;
// @ts-ignore: decorator
@inline export const A_HI: usize = 4;
// @ts-ignore: decorator
@inline export const A_LO: usize = 8;
// @ts-ignore: decorator
@inline export const A_SCALE: usize = 12;
// @ts-ignore: decorator
@inline export const A_SUM: usize = 16;
// @ts-ignore: decorator
@inline export const A_F32: usize = 20;
// @ts-ignore: decorator
@inline export const A_N: usize = 24;

/**
 * Tiles have their scales and minima times 2^-102: then the 16 bits of a half, moved to where an f32 has its exponent, are
 * one (docs/arithmetic.md). Sums of products with one position are kept times 2^-48, so that neither they nor activations
 * that have the rest of it, 2^54, leave the range of an f32.
 */
// @ts-ignore: decorator
@inline export const UP_WEIGHT: f32 = 5070602400912917605986812821504.0; // 2^102
// @ts-ignore: decorator
@inline export const UP_ACTIVATION: f32 = 18014398509481984.0; // 2^54
// @ts-ignore: decorator
@inline export const DOWN: f32 = 3.552713678800501e-15; // 2^-48
// @ts-ignore: decorator
@inline export const UP: f32 = 281474976710656.0; // 2^48

/** Positions in a panel. */
// @ts-ignore: decorator
@inline export const PANEL: i32 = 4;

/**
 * Cached positions that attention of one position takes together, a multiple of TOGETHER and of attend-many's BLOCK. Results
 * depend on it, so nothing else may decide it.
 */
// @ts-ignore: decorator
@inline export const CHUNK: i32 = 384;

/** A part of an attention row: maximum and sum of its chunk, 2 unused, then headDim values. */
// @ts-ignore: decorator
@inline export const PART_BYTES: usize = 16;

/** Chunks that a number of cached positions fills. */
// @ts-ignore: decorator
@inline
export function chunksOf(positions: i32): i32 {
  return (positions + CHUNK - 1) / CHUNK;
}

/** Positions of K, or columns of V, that lie side by side: three vectors of sums for each of three query heads. */
// @ts-ignore: decorator
@inline export const TOGETHER: i32 = 12;
/** Bytes of so many pairs of 16-bit integers. */
// @ts-ignore: decorator
@inline export const TOGETHER_BYTES: usize = 48;

/** KV head: address (see kv.ts) and positions that there is room for, a multiple of TOGETHER. */
// @ts-ignore: decorator
@inline export const KV_AT: usize = 0;
// @ts-ignore: decorator
@inline export const KV_ROOM: usize = 4;
// @ts-ignore: decorator
@inline export const KV_BYTES: usize = 8;
