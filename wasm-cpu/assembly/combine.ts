// One position's attention rows out of the parts of their chunks.
import { A_F32, A_N, PART_BYTES, chunksOf, count, field, fieldInt, position, firstPiece, nextPiece } from './layout';
import { quantizeBlock } from './quantize';
import { exp2 } from './simd';

/** What each of a row's parts counts for, by its maximum and the row's sum; into f32[chunks]. */
function shares(row: usize, partBytes: usize, chunks: i32, out: usize): void {
  let top: f32 = load<f32>(row);
  for (let c = 1; c < chunks; c++) top = max<f32>(top, load<f32>(row + <usize>c * partBytes));
  let sum: f32 = 0;
  for (let c = 0; c < chunks; c++) {
    const part = row + <usize>c * partBytes;
    const weight = f32x4.extract_lane(exp2(f32x4.splat(load<f32>(part) - top)), 0);
    sum += weight * load<f32>(part, 4);
    store<f32>(out + (<usize>c << 2), weight);
  }
  for (let c = 0; c < chunks; c++) store<f32>(out + (<usize>c << 2), load<f32>(out + (<usize>c << 2)) / sum);
}

/** 8 values of a row, from their address in its first part. */
function combine8(part: usize, partBytes: usize, chunks: i32, weights: usize, out: usize): void {
  let a = f32x4.splat(0);
  let b = f32x4.splat(0);
  for (let c = 0; c < chunks; c++) {
    const w = v128.load32_splat(weights + (<usize>c << 2));
    a = f32x4.add(a, f32x4.mul(w, v128.load(part)));
    b = f32x4.add(b, f32x4.mul(w, v128.load(part, 16)));
    part += partBytes;
  }
  v128.store(out, a);
  v128.store(out, b, 16);
}

/**
 * Attention rows of one position as activations; several positions have theirs already. Fields: 2 record, 3 chunk of blocks,
 * 4 parts, 5 headDim (a multiple of 8), 6 parts a head, 7 scratch, 8 bytes of scratch a thread.
 */
export function combine(op: usize, thread: i32): void {
  if (count() > 1) return;
  const record = field(op, 2);
  const chunk = fieldInt(op, 3);
  const parts = field(op, 4);
  const headDim = fieldInt(op, 5);
  const weights = field(op, 7) + <usize>thread * field(op, 8);
  const partBytes = PART_BYTES + <usize>(headDim << 2);
  const rowBytes = field(op, 6) * partBytes;
  const blocks = load<i32>(record, A_N) >> 5;
  const values = <usize>load<u32>(record, A_F32);
  const chunks = chunksOf(position() + 1);
  let weighed = -1;
  for (let from = firstPiece(thread, chunk); from < blocks; from = nextPiece(op, chunk)) {
    const to = min(from + chunk, blocks);
    for (let i = from; i < to; i++) {
      const start = i << 5;
      for (let at = start; at < start + 32; at += 8) {
        const head = at / headDim;
        const row = parts + <usize>head * rowBytes;
        if (head != weighed) shares(row, partBytes, chunks, weights);
        weighed = head;
        const first = row + PART_BYTES + (<usize>(at % headDim) << 2);
        combine8(first, partBytes, chunks, weights, values + (<usize>at << 2));
      }
      quantizeBlock(values + <usize>(start << 2), record, i);
    }
  }
}
