/**
 * Heartbeats of a link, on a connection and in a Worker of their own: neither a page that is busy, nor an engine that
 * computes, nor a large transfer makes a device seem lost, and one that is lost is noticed within 2 seconds, long before ICE
 * does.
 */
import type { Channel } from './channel.ts';
import { createFrameBuffer, createReader, FrameError, type Header, Kind, writeHeader } from './frames.ts';

/** How often the other side is asked, in ms. */
export const BEAT_MS = 400;
/** Silence in ms after which the other side is lost. */
export const LOST_MS = 1_500;
/** A look that comes this late, in ms, was held up on our side: what was sent meanwhile has not been read yet. */
const LATE_MS = LOST_MS;
const TIME_BYTES = 8;

export interface Pulse {
  /** To be called every BEAT_MS / 2 or so, and after any message of any link, since timers of hidden pages rest. */
  look(now: number): void;
  close(): void;
}

export interface PulseEvents {
  /** Anything came from the other side. */
  heard(): void;
  /** The other side has answered. */
  beat(rttMs: number): void;
  /** Once. */
  lost(reason: string): void;
}

const HEARTBEAT: Header = { kind: Kind.heartbeat, type: 'f32', slot: 0, epoch: 0, layer: 0, position: 0, rows: 0 };

/**
 * Watches the other side of a channel. Silence counts from its first message on: until then the link is not up anyway.
 * `clock` is in ms.
 */
export function createPulse(channel: Channel, events: PulseEvents, clock = () => performance.now()): Pulse {
  const read = createReader(0, true);
  const buffer = createFrameBuffer(TIME_BYTES);
  let sequence = 0;
  let open = false;
  let over = false;
  let heardAt: number | undefined;
  let askedAt = Number.NEGATIVE_INFINITY;
  let lookedAt = clock();

  function end(reason: string): void {
    if (over) return;
    over = true;
    channel.close();
    events.lost(reason);
  }
  function send(slot: number): void {
    writeHeader(buffer.view, { ...HEARTBEAT, slot }, sequence);
    sequence = (sequence + 1) & 0xffff;
    channel.send(buffer.bytes);
  }
  function take(message: ArrayBuffer): void {
    const frame = read(message);
    if (!frame) return;
    if (frame.kind !== Kind.heartbeat || frame.payload.length !== TIME_BYTES) throw new FrameError('no heartbeat');
    heardAt = clock();
    const at = new DataView(frame.payload.buffer, frame.payload.byteOffset);
    if (frame.slot === 1) events.beat(heardAt - at.getFloat64(0, true));
    else {
      buffer.payload.set(frame.payload);
      send(1);
    }
    events.heard();
  }

  channel.onmessage = (message) => {
    if (over) return;
    try {
      take(message);
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      end(`it sent ${error.message}`);
    }
  };
  channel.onclose = (reason) => end(reason);
  void channel.ready.then(() => {
    open = true;
  });

  return {
    look(now) {
      if (!open || over) return;
      const late = now - lookedAt > LATE_MS;
      lookedAt = now;
      if (heardAt !== undefined && !late && now - heardAt > LOST_MS) {
        end('it has been silent for too long');
        return;
      }
      if (now - askedAt < BEAT_MS) return;
      askedAt = now;
      new DataView(buffer.payload.buffer, buffer.payload.byteOffset).setFloat64(0, now, true);
      send(0);
    },
    close() {
      over = true;
      channel.close();
    },
  };
}
