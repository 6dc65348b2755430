/**
 * Buffers that are used over and over. A fresh one costs the system a fault for every 4 KiB that is written, and counts to
 * the garbage collector, which then looks through everything; in the middle of an answer tokens wait for both.
 */
import { freeBuffer } from './free.ts';

/** Smaller ones are not worth keeping. */
const LEAST_BYTES = 16 << 10;
/** Sizes are rounded up to this, so that what is nearly of one size fits. */
const STEP_BYTES = 64 << 10;
/** A spare buffer is taken for this many times fewer bytes at most. */
const MOST_WASTE = 4;

export interface SpareBuffers {
  /** `bytes` bytes from the start of a buffer that may be longer, with anything in them. */
  take(bytes: number): Uint8Array<ArrayBuffer>;
  /** Takes a view's buffer back; no view of it may be used again. */
  give(view: ArrayBufferView): void;
  /** Lets all go, and what is given later at once. */
  close(): void;
}

/** @param most bytes that are kept for later; what is given beyond them is let go */
export function createSpareBuffers(most: number): SpareBuffers {
  let spare: ArrayBuffer[] = [];
  let kept = 0;
  let closed = false;

  function fitting(bytes: number): ArrayBuffer | undefined {
    let best: ArrayBuffer | undefined;
    for (const buffer of spare) {
      const { byteLength } = buffer;
      if (byteLength < bytes || byteLength > Math.max(STEP_BYTES, MOST_WASTE * bytes)) continue;
      if (!best || byteLength < best.byteLength) best = buffer;
    }
    return best;
  }

  return {
    take(bytes) {
      if (bytes < LEAST_BYTES) return new Uint8Array(bytes);
      const found = fitting(bytes);
      if (!found) return new Uint8Array(new ArrayBuffer(Math.ceil(bytes / STEP_BYTES) * STEP_BYTES), 0, bytes);
      spare = spare.filter((buffer) => buffer !== found);
      kept -= found.byteLength;
      return new Uint8Array(found, 0, bytes);
    },
    give(view) {
      const { buffer } = view;
      if (!(buffer instanceof ArrayBuffer)) return;
      if (closed || buffer.byteLength < LEAST_BYTES || kept + buffer.byteLength > most) return freeBuffer(view);
      spare.push(buffer);
      kept += buffer.byteLength;
    },
    close() {
      closed = true;
      for (const buffer of spare) freeBuffer(new Uint8Array(buffer));
      spare = [];
      kept = 0;
    },
  };
}
