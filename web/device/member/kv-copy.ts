/** KV of heads on its way to another device: a bulk transfer that says of itself what it is. */

import type { BulkPiece } from '../../mesh/bulk.ts';
import { FrameError } from '../../mesh/frames.ts';
import type { KvSlice } from '../backend.ts';

/** Slots of bulk transfers. */
export const BulkSlot = { kv: 1, bytes: 2 } as const;

export interface KvBlock {
  layer: number;
  kvHead: number;
  from: number;
  slice: KvSlice;
  /** Blocks of the same copy that follow this one. */
  following: number;
}

const HEADER_WORDS = 5;
/** Bytes of a block that are no KV. */
export const KV_HEADER_BYTES = 4 * HEADER_WORDS;
/** No single head's KV of one transfer may be longer than this. */
const MAX_KV_BYTES = 512 * 1024 * 1024;

/** u32: layer, KV head, first position, positions, blocks that follow; then K scales, V scales (f32 each), K, V (i16). */
export function encodeKv({ layer, kvHead, from, slice, following }: KvBlock): Uint8Array {
  const positions = slice.kScales.length;
  const out = new Uint8Array(KV_HEADER_BYTES + 8 * positions + slice.k.byteLength + slice.v.byteLength);
  new Uint32Array(out.buffer, 0, HEADER_WORDS).set([layer, kvHead, from, positions, following]);
  let at = KV_HEADER_BYTES;
  for (const part of [slice.kScales, slice.vScales, slice.k, slice.v]) {
    out.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    at += part.byteLength;
  }
  return out;
}

/** Throws FrameError for bytes that do not fit `headDim`. */
export function decodeKv(bytes: Uint8Array, headDim: number): KvBlock {
  if (bytes.length < KV_HEADER_BYTES) throw new FrameError('KV without a header');
  const { buffer } = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const base = bytes.byteOffset % 4 === 0 ? bytes.byteOffset : 0;
  const [layer, kvHead, from, positions, following] = new Uint32Array(buffer, base, HEADER_WORDS);
  if (bytes.length !== KV_HEADER_BYTES + positions * (8 + 4 * headDim)) throw new FrameError('KV of the wrong length');
  const scales = (index: number) => new Float32Array(buffer, base + KV_HEADER_BYTES + 4 * positions * index, positions);
  const values = (index: number) =>
    new Int16Array(
      buffer,
      base + KV_HEADER_BYTES + 8 * positions + 2 * positions * headDim * index,
      positions * headDim,
    );
  return {
    layer,
    kvHead,
    from,
    following,
    slice: { kScales: scales(0), vScales: scales(1), k: values(0), v: values(1) },
  };
}

/** Memory for a transfer to begin with: what its sender claims is believed only as far as bytes have come. */
const FIRST_BYTES = 1024 * 1024;

/**
 * Puts the pieces of one link's bulk transfers together; `take` gets each that is whole. Transfers come one after
 * another: one that another follows before its end was broken off.
 */
export function bulkAssembler(take: (slot: number, epoch: number, transfer: number, bytes: Uint8Array) => void) {
  let open: { key: string; bytes: Uint8Array; filled: number; total: number } | undefined;
  return ({ epoch, slot, transfer, offset, total, bytes }: BulkPiece): void => {
    const key = `${epoch} ${slot} ${transfer}`;
    if (total > MAX_KV_BYTES) throw new FrameError('a transfer that is too long');
    if (open?.key !== key) open = { key, bytes: new Uint8Array(Math.min(total, FIRST_BYTES)), filled: 0, total };
    const end = offset + bytes.length;
    if (total !== open.total || offset !== open.filled || end > total) throw new FrameError('bulk out of its order');
    if (end > open.bytes.length) {
      const grown = new Uint8Array(Math.min(total, Math.max(end, 2 * open.bytes.length)));
      grown.set(open.bytes);
      open.bytes = grown;
    }
    open.bytes.set(bytes, offset);
    open.filled = end;
    if (end < total) return;
    const { bytes: whole } = open;
    open = undefined;
    take(slot, epoch, transfer, whole);
  };
}
