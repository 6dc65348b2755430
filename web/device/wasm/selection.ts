/** The best logits out of what the kernel `summarize` says of each block of them. */
import { encodeBest, type Selection, scaleOf } from '../best.ts';
import { bestOf, type LogitPart } from '../candidates.ts';
import { expNegative } from '../exponential.ts';

/** Logits in a block, as wasm-cpu/assembly/summarize.ts has it. */
const BLOCK = 256;

/** Logits that the kernel looks at: whole vectors. The few behind them are looked at here. */
export const summarized = (rows: number): number => rows & ~3;
/** Blocks that it makes of them. */
export const blocksOf = (rows: number): number => Math.ceil(summarized(rows) / BLOCK);

/**
 * What `decodeBest` reads.
 * @param logits of the one position, by local row
 * @param blocks for each block its largest logit and Σ exp((logit − largest) / temperature)
 */
export function selectBest(logits: Float32Array, blocks: Float32Array, { top, temperature }: Selection): Float32Array {
  const tail = logits.subarray(summarized(logits.length));
  const peaks = Float32Array.from({ length: blocks.length / 2 }, (_, i) => blocks[2 * i]!);
  let peak = -Infinity;
  // Math.max keeps a NaN.
  for (const value of [...peaks, ...tail]) peak = Math.max(peak, value);
  const scale = scaleOf(temperature);
  let sum = 0;
  for (let i = 0; i < peaks.length; i++) sum += blocks[2 * i + 1]! * expNegative((peaks[i]! - peak) * scale);
  for (const logit of tail) sum += expNegative((logit - peak) * scale);
  return encodeBest(bestOf(partsWithBest(logits, peaks, top), top), peak, sum);
}

/** The blocks that the best `top` are in: those whose largest logit is among the largest, and the tail. */
function partsWithBest(logits: Float32Array, peaks: Float32Array, top: number): LogitPart[] {
  // A block with a NaN may hold any of them, or none: it is looked at, and does not count.
  const sound = peaks.filter((peak) => !Number.isNaN(peak)).sort();
  const least = top < sound.length ? sound[sound.length - top]! : -Infinity;
  const parts: LogitPart[] = [];
  for (const [block, peak] of peaks.entries()) {
    if (peak < least) continue;
    const row = block * BLOCK;
    parts.push({ row, logits: logits.subarray(row, Math.min(row + BLOCK, summarized(logits.length))) });
  }
  const row = summarized(logits.length);
  if (row < logits.length) parts.push({ row, logits: logits.subarray(row) });
  return parts;
}
