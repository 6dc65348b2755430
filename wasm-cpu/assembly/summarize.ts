// What sampling needs of all logits, block by block: JavaScript then looks at a few blocks instead of the whole vocabulary.
import { CONTROL, C_SELECTION_SCALE, field, fieldInt, firstPiece, nextPiece } from './layout';
import { exp4, sum4 } from './simd';

/** Logits in a block, as web/device/wasm/selection.ts has it. */
const BLOCK: i32 = 256;

/** Largest lane; NaN where one is NaN. */
// @ts-ignore: decorator
@inline
function largest(v: v128): f32 {
  const t = f32x4.max(v, v128.shuffle<i32>(v, v, 2, 3, 0, 1));
  return max<f32>(f32x4.extract_lane(t, 0), f32x4.extract_lane(t, 1));
}

/**
 * Of every block of logits its largest, NaN where one is, and Σ exp((logit − largest) · scale), the scale from the control block.
 * Fields: 2 logits, 3 how many (a multiple of 4), 4 results, two f32 a block, 5 chunk of blocks.
 */
export function summarize(op: usize, thread: i32): void {
  const end = field(op, 2) + (field(op, 3) << 2);
  const blocks = (fieldInt(op, 3) + BLOCK - 1) / BLOCK;
  const chunk = fieldInt(op, 5);
  const scale = f32x4.splat(load<f32>(CONTROL + C_SELECTION_SCALE));
  for (let piece = firstPiece(thread, chunk); piece < blocks; piece = nextPiece(op, chunk)) {
    const to = min(piece + chunk, blocks);
    for (let block = piece; block < to; block++) {
      const from = field(op, 2) + (<usize>(block * BLOCK) << 2);
      const stop = min(from + (<usize>BLOCK << 2), end);
      let highest = v128.load(from);
      for (let at = from + 16; at < stop; at += 16) highest = f32x4.max(highest, v128.load(at));
      const peak = largest(highest);
      let sum = f32x4.splat(0);
      for (let at = from; at < stop; at += 16) {
        sum = f32x4.add(sum, exp4(f32x4.mul(f32x4.sub(v128.load(at), f32x4.splat(peak)), scale)));
      }
      const out = field(op, 4) + <usize>(block << 3);
      store<f32>(out, peak);
      store<f32>(out, sum4(sum), 4);
    }
  }
}
