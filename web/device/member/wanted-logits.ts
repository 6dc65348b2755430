/** What the host asks of the logits, and what a member of the last stage answers, as payloads of frames. */
import type { Candidates, Forwarded, Want } from '../want.ts';

/** Slots of frames of kind `tokens`, host → devices. */
export const TokenSlot = {
  /** Ids for the embedding; logits of no position, the last, or all of them are wanted at the end. */
  ids: 0,
  /** A Want, for members of the last stage. */
  want: 1,
  /** A Want on the logits that the member still has. */
  again: 2,
  /** Go on from the residual that was held under the plan before. */
  resume: 3,
} as const;

/** Positions that want logits, in a frame's slot field from the residual's way. */
export const LogitSlot = { none: 0, last: 1, all: 2 } as const;

const WANT_WORDS = 6;

/** u32: top, positions (LogitSlot), full, penalised ids; f32: temperature, penalty factor; then the ids. */
export function encodeWant(want: Want | undefined): Uint8Array {
  const ids = want?.penalty?.ids ?? new Uint32Array(0);
  const words = new Uint32Array(WANT_WORDS + ids.length);
  const floats = new Float32Array(words.buffer);
  words.set([
    want?.top ?? 0,
    want ? LogitSlot[want.positions] : LogitSlot.none,
    Number(want?.full ?? false),
    ids.length,
  ]);
  floats[4] = want?.temperature ?? 0;
  floats[5] = want?.penalty?.factor ?? 1;
  words.set(ids, WANT_WORDS);
  return new Uint8Array(words.buffer);
}

/** Undefined for a batch whose logits nobody wants. Throws RangeError for bytes that are no Want. */
export function decodeWant(payload: Uint8Array): Want | undefined {
  if (payload.byteLength < 4 * WANT_WORDS || payload.byteLength % 4) throw new RangeError('no description of logits');
  const words = new Uint32Array(payload.slice().buffer);
  const floats = new Float32Array(words.buffer);
  const [top, slot, full, count] = words;
  if (words.length !== WANT_WORDS + count) throw new RangeError('a description of logits of the wrong length');
  if (slot === LogitSlot.none) return undefined;
  if (slot !== LogitSlot.last && slot !== LogitSlot.all) throw new RangeError('logits of unknown positions');
  return {
    positions: slot === LogitSlot.last ? 'last' : 'all',
    top,
    temperature: floats[4],
    full: full !== 0,
    ...(count > 0 && { penalty: { ids: words.slice(WANT_WORDS), factor: floats[5] } }),
  };
}

/** Bytes a position: count (u32), 4 unused, logSumExp (f64), ids (u32 each), logits (f32 each), padded to 8. */
const positionBytes = (count: number) => 16 + 8 * count;

export function encodeForwarded({ candidates, full }: Forwarded): Uint8Array {
  const bytes = candidates.reduce((sum, { ids }) => sum + positionBytes(ids.length), 0);
  const out = new ArrayBuffer(8 + bytes + (full?.byteLength ?? 0));
  const view = new DataView(out);
  view.setUint32(0, candidates.length, true);
  view.setUint32(4, full?.length ?? 0, true);
  let at = 8;
  for (const { ids, logits, logSumExp } of candidates) {
    view.setUint32(at, ids.length, true);
    view.setFloat64(at + 8, logSumExp, true);
    new Uint32Array(out, at + 16, ids.length).set(ids);
    new Float32Array(out, at + 16 + 4 * ids.length, ids.length).set(logits);
    at += positionBytes(ids.length);
  }
  if (full) new Float32Array(out, at, full.length).set(full);
  return new Uint8Array(out);
}

/** Throws RangeError for bytes that are no answer. */
export function decodeForwarded(payload: Uint8Array): Forwarded {
  const bytes = payload.slice().buffer;
  const view = new DataView(bytes);
  const positions = view.getUint32(0, true);
  const fullLength = view.getUint32(4, true);
  const candidates: Candidates[] = [];
  let at = 8;
  for (let t = 0; t < positions; t++) {
    const count = view.getUint32(at, true);
    candidates.push({
      ids: new Uint32Array(bytes, at + 16, count),
      logits: new Float32Array(bytes, at + 16 + 4 * count, count),
      logSumExp: view.getFloat64(at + 8, true),
    });
    at += positionBytes(count);
  }
  if (fullLength === 0) return { candidates };
  return { candidates, full: new Float32Array(bytes, at, fullLength) };
}
