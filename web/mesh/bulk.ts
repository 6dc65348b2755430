/**
 * Bulk: weights and KV, at low priority. The receiver grants a window and acknowledges what its handler has taken, so
 * that neither side's memory grows with a slow reader.
 */
import type { Channel } from './channel.ts';
import type { MeshError } from './errors.ts';
import type { SendStats } from './frame-sender.ts';
import { type Frame, FrameError, type Header, PART_HEADER_BYTES, writeHeader } from './frames.ts';

/** A piece of bulk: small, since a tensor waits behind the piece that is being sent. */
const PIECE_BYTES = 32 * 1024;
/** Bytes in the channel's buffer, for the same reason. */
const BUFFER_BYTES = 128 * 1024;
/** Bytes that the other side has not taken yet. */
const WINDOW_BYTES = 1024 * 1024;
/** Bytes taken between two acknowledgements. */
const ACK_BYTES = WINDOW_BYTES / 8;

/** A piece of a bulk transfer. */
export interface BulkPiece {
  epoch: number;
  slot: number;
  /** The sender's number of the transfer. */
  transfer: number;
  offset: number;
  total: number;
  bytes: Uint8Array;
}

export type BulkHandler = (piece: BulkPiece) => void | Promise<void>;

/** One transfer after another, in pieces, within the window that the receiver grants. */
export function createBulkSender(
  peer: number,
  channel: Channel,
  stats: SendStats,
  failure: () => MeshError | undefined,
  maxMessageBytes: () => number,
) {
  const message = new Uint8Array(PIECE_BYTES);
  const view = new DataView(message.buffer);
  // The hello was number 0.
  let sequence = 1;
  let sent = 0;
  let taken = 0;
  let wakeUp: (() => void) | undefined;
  let last: Promise<void> = Promise.resolve();

  async function transfer(header: Header, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    let piece: Uint8Array;
    for (let offset = 0; offset < bytes.length; offset += piece.length) {
      piece = bytes.subarray(offset, offset + Math.min(maxMessageBytes(), PIECE_BYTES) - PART_HEADER_BYTES);
      await channel.drained(BUFFER_BYTES);
      while (!failure() && sent - taken + piece.length > WINDOW_BYTES)
        await new Promise<void>((resolve) => {
          wakeUp = resolve;
        });
      const reason = failure();
      if (reason) throw reason;
      signal?.throwIfAborted();
      writeHeader(view, header, sequence, { total: bytes.length, offset });
      message.set(piece, PART_HEADER_BYTES);
      sequence = (sequence + 1) & 0xffff;
      sent += piece.length;
      stats.framesSent++;
      stats.bytesSent += PART_HEADER_BYTES + piece.length;
      channel.send(message.subarray(0, PART_HEADER_BYTES + piece.length));
    }
  }
  const wake = () => wakeUp?.();

  return {
    send(header: Header, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
      if (bytes.length === 0) return Promise.reject(new RangeError(`an empty transfer to device ${peer}`));
      const done = last.then(() => transfer(header, bytes, signal));
      last = done.catch(() => undefined);
      return done;
    },
    /** The receiver counts modulo 2^32. */
    acknowledge(count: number): void {
      const more = (count - taken) >>> 0;
      if (more > sent - taken) throw new FrameError('an acknowledgement of bytes that were never sent');
      taken += more;
      wake();
    },
    wake,
  };
}

/** Hands pieces to a handler one by one, and acknowledges what it has taken. */
export function createBulkReceiver(acknowledge: (taken: number) => void, fail: (error: FrameError) => void) {
  let handler: BulkHandler | undefined;
  const queue: BulkPiece[] = [];
  let queuedBytes = 0;
  let taken = 0;
  let acknowledged = 0;
  let busy = false;

  function count(bytes: number): void {
    taken += bytes;
    if (taken - acknowledged < ACK_BYTES && queue.length > 0) return;
    acknowledged = taken;
    acknowledge(taken >>> 0);
  }
  async function work(): Promise<void> {
    if (busy) return;
    busy = true;
    while (handler && queue.length > 0) {
      const piece = queue.shift()!;
      try {
        await handler(piece);
      } catch (error) {
        busy = false;
        if (!(error instanceof FrameError)) throw error;
        fail(error);
        return;
      }
      queuedBytes -= piece.bytes.length;
      count(piece.bytes.length);
    }
    busy = false;
  }

  return {
    take(frame: Frame): void {
      queuedBytes += frame.payload.length;
      if (queuedBytes > WINDOW_BYTES) throw new FrameError('more bulk than its window allows');
      queue.push({
        epoch: frame.epoch,
        slot: frame.slot,
        transfer: frame.position,
        offset: frame.offset,
        total: frame.total,
        bytes: frame.payload,
      });
      void work();
    },
    listen(next: BulkHandler): void {
      handler = next;
      void work();
    },
  };
}
