/** Sends frames over one channel: numbers them, cuts those that are too long, and respects the channel's buffer. */
import type { Channel } from './channel.ts';
import { MeshError } from './errors.ts';
import { type FrameBuffer, HEADER_BYTES, type Header, sendParts, writeHeader } from './frames.ts';

/**
 * Bytes in a channel's buffer above which frames wait on our side. Two messages keep the network busy; more at once only
 * overrun the other side's socket, and what is lost there stalls the connection for seconds (measured with 4 MiB).
 */
const HIGH_WATER_BYTES = 128 * 1024;
const LOW_WATER_BYTES = 64 * 1024;
/** Bytes of frames that may wait on our side. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

export interface SendStats {
  framesSent: number;
  /** Headers included, what the transport adds not. */
  bytesSent: number;
}

/** What the sender needs to know of its link. */
export interface SenderLink {
  readonly peer: number;
  readonly failure: MeshError | undefined;
  close(failure: MeshError): void;
}

/**
 * Sends a frame whose payload is the first `length` bytes of the buffer's; see `Link.send`. Throws the link's failure.
 */
export type SendFrame = (buffer: FrameBuffer, header: Header, length: number) => Promise<void> | undefined;

export function createFrameSender(
  channel: Channel,
  maxMessageBytes: () => number,
  link: SenderLink,
  stats: SendStats,
): SendFrame {
  const waiting: Uint8Array[] = [];
  let sequence = 0;
  let waitingBytes = 0;
  let flushed: Promise<void> | undefined;

  /** One message may always go, however long. */
  const fits = ({ length }: Uint8Array) => channel.buffered === 0 || channel.buffered + length <= HIGH_WATER_BYTES;

  function post(message: Uint8Array): void {
    stats.bytesSent += message.length;
    if (!flushed && fits(message)) {
      channel.send(message);
      return;
    }
    if (waitingBytes + message.length > MAX_WAITING_BYTES) {
      const text = `Device ${link.peer} takes data too slowly: ${waitingBytes} bytes wait for it. The link was closed.`;
      link.close(new MeshError('congested', text, link.peer));
      return;
    }
    waiting.push(message.slice());
    waitingBytes += message.length;
    flushed ??= flush();
    // Whoever does not wait for it learns of a failure by the link's end.
    flushed.catch(() => undefined);
  }

  async function flush(): Promise<void> {
    while (waiting.length > 0) {
      await channel.drained(LOW_WATER_BYTES);
      if (link.failure) throw link.failure;
      while (waiting.length > 0 && fits(waiting[0])) {
        const message = waiting.shift() as Uint8Array;
        waitingBytes -= message.length;
        channel.send(message);
      }
    }
    flushed = undefined;
  }

  return (buffer, header, length) => {
    if (link.failure) throw link.failure;
    const number = sequence;
    sequence = (sequence + 1) & 0xffff;
    stats.framesSent++;
    const maxMessage = maxMessageBytes();
    if (HEADER_BYTES + length <= maxMessage) {
      writeHeader(buffer.view, header, number);
      post(buffer.bytes.subarray(0, HEADER_BYTES + length));
    } else sendParts(buffer.payload.subarray(0, length), header, number, maxMessage, post);
    if (link.failure) throw link.failure;
    return flushed;
  };
}
