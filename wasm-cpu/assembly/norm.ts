import { A_F32, A_N, count, field, fieldFloat, fieldInt, firstPiece, nextPiece } from './layout';
import { panelColumn, putPanel } from './panel';
import { quantizeBlock } from './quantize';
import { sum4 } from './simd';

/** 1 / sqrt(mean(x²) + ε) over n values, n a multiple of 4. */
function rmsFactor(x: usize, n: i32, epsilon: f32): v128 {
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < <usize>(n << 2); i += 16) {
    const v = v128.load(x + i);
    squares = f32x4.add(squares, f32x4.mul(v, v));
  }
  return f32x4.splat(<f32>1.0 / sqrt<f32>(sum4(squares) / <f32>n + epsilon));
}

/** y = x · weight / sqrt(mean(x²) + ε) over n values, n a multiple of 4; x and y may be the same. */
export function rmsNorm(x: usize, y: usize, weight: usize, n: i32, epsilon: f32): void {
  const bytes = <usize>(n << 2);
  const factor = rmsFactor(x, n, epsilon);
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(y + i, f32x4.mul(f32x4.mul(v128.load(x + i), factor), v128.load(weight + i)));
  }
}

/** Zeroes; for a member that owns nothing of a matrix. Fields: 2 address, 3 bytes a position. One unit a position. */
export function clear(op: usize, thread: i32): void {
  const bytes = field(op, 3);
  const total = count();
  for (let t = firstPiece(thread, 1); t < total; t = nextPiece(op, 1)) {
    memory.fill(field(op, 2) + <usize>t * bytes, 0, bytes);
  }
}

/** residual += partial. Fields: 2 residual, 3 partial, 4 dim. One unit a position. */
export function merge(op: usize, thread: i32): void {
  const bytes = <usize>(fieldInt(op, 4) << 2);
  const total = count();
  for (let t = firstPiece(thread, 1); t < total; t = nextPiece(op, 1)) {
    const residual = field(op, 2) + <usize>t * bytes;
    const partial = field(op, 3) + <usize>t * bytes;
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(residual + i, f32x4.add(v128.load(residual + i), v128.load(partial + i)));
    }
  }
}

/**
 * RMS norm of the residual stream into an activations record; with a partial, residual += partial first.
 * Fields: 2 residual, 3 partial or 0, 4 weight, 5 record, 6 epsilon (f32), 7: 1 = only the last position, into slot 0.
 */
export function norm(op: usize, thread: i32): void {
  const record = field(op, 5);
  const n = load<i32>(record, A_N);
  const bytes = <usize>(n << 2);
  const partialBase = field(op, 3);
  const last = fieldInt(op, 7);
  const total = count();
  for (let t = firstPiece(thread, 1); t < total; t = nextPiece(op, 1)) {
    const residual = field(op, 2) + <usize>t * bytes;
    if (partialBase) {
      const partial = partialBase + <usize>t * bytes;
      for (let i: usize = 0; i < bytes; i += 16) {
        v128.store(residual + i, f32x4.add(v128.load(residual + i), v128.load(partial + i)));
      }
    }
    if (last && t != total - 1) continue;
    const values = <usize>load<u32>(record, A_F32);
    const weight = field(op, 4);
    if (last || total == 1) {
      rmsNorm(residual, values, weight, n, fieldFloat(op, 6));
      for (let b = 0; b < n >> 5; b++) quantizeBlock(values + <usize>(b << 7), record, b);
    } else {
      const factor = rmsFactor(residual, n, fieldFloat(op, 6));
      const column = panelColumn(values, n, t, 0);
      for (let i: usize = 0; i < bytes; i += 16) {
        putPanel(column + (i << 2), f32x4.mul(f32x4.mul(v128.load(residual + i), factor), v128.load(weight + i)));
      }
    }
  }
}
