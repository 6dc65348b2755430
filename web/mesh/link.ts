/**
 * A link: what an engine has to another device, whatever carries it. Two channels: `tensors` for everything that a token
 * waits for, and for control, so that control is not overtaken; `bulk` for weights and KV, which give way.
 */
import { type BulkHandler, createBulkReceiver, createBulkSender } from './bulk.ts';
import type { Channel } from './channel.ts';
import { MeshError } from './errors.ts';
import { createFrameSender, type SendStats } from './frame-sender.ts';
import {
  createFrameBuffer,
  createReader,
  FRAME_VERSION,
  type Frame,
  type FrameBuffer,
  FrameError,
  FrameVersionError,
  HEADER_BYTES,
  type Header,
  Kind,
} from './frames.ts';

/** Most bytes of one payload that is put together from parts: 512 rows of 8192 f32 numbers. */
export const MAX_PAYLOAD_BYTES = 16 * 1024 * 1024;
/** Most bytes of frames that nobody has asked for yet. */
const MAX_UNCLAIMED_BYTES = 32 * 1024 * 1024;
const MAX_CONTROL_BYTES = 1024 * 1024;

/** Frames that are routed by their epoch to whoever asked for them. */
const ROUTED_KINDS: ReadonlySet<Kind> = new Set([
  Kind.partial,
  Kind.residual,
  Kind.candidates,
  Kind.tokens,
  Kind.digest,
]);
export type RoutedKind = 2 | 3 | 4 | 5 | 11;

export interface LinkStats extends SendStats {
  framesReceived: number;
  bytesReceived: number;
}

export interface Link {
  /** Index of the other device. */
  readonly peer: number;
  readonly kind: 'webrtc' | 'relay';
  readonly stats: Readonly<LinkStats>;
  /** Why the link is closed; undefined while it is open. */
  readonly failure: MeshError | undefined;
  /** Calls the listener when the link closes, at once where it has. Returns the function that takes it away. */
  onClosed(listener: (failure: MeshError) => void): () => void;

  /**
   * Sends a frame whose payload is the first `length` bytes of the buffer's. The buffer may be reused at once. Resolves
   * when the bytes have been handed to the network, which is nearly always before this returns: then it is undefined.
   * Throws the link's failure or `congested`.
   */
  send(buffer: FrameBuffer, header: Header, length: number): Promise<void> | undefined;
  /**
   * Takes the frames of a kind and an epoch; those that have already come are given at once. The frame object is reused,
   * its payload is the handler's. A handler that throws FrameError closes the link. Returns the function that ends it.
   */
  route(kind: RoutedKind, epoch: number, handler: (frame: Frame) => void): () => void;
  /** Forgets frames that nobody has asked for, but for those of this epoch: what a plan that broke left behind. */
  forgetUnclaimed(keep?: number): void;

  /** Sends JSON, in order with the tensors. */
  sendControl(message: unknown): void;
  /** Takes control messages, those that have already come at once. A handler that throws FrameError closes the link. */
  onControl(handler: (message: unknown) => void): void;

  /**
   * Sends bytes at low priority, in pieces; transfers of one link go one after another. Resolves when the last piece has
   * been handed over. Rejects with the link's failure or the signal's reason, between two pieces.
   */
  sendBulk(
    transfer: { epoch: number; slot: number; transfer: number },
    bytes: Uint8Array,
    signal?: AbortSignal,
  ): Promise<void>;
  /** Takes the pieces of bulk, one after another: the next comes when the promise is settled, and the sender waits. */
  onBulk(handler: BulkHandler): void;

  /** Round trip between the two engines in ms, with a payload of this size both ways. */
  ping(payloadBytes?: number): Promise<number>;
  close(failure: MeshError): void;
}

export interface LinkOptions {
  /** Index of this device, told to the other side. */
  self: number;
  peer: number;
  kind: 'webrtc' | 'relay';
  tensors: Channel;
  bulk: Channel;
  /** Largest message that the channels carry; asked for every frame, since it may be known late. */
  maxMessageBytes: () => number;
}

const NO_HEADER: Header = { kind: Kind.hello, type: 'f32', slot: 0, epoch: 0, layer: 0, position: 0, rows: 0 };

/**
 * Greets the other side on both channels and resolves with the link once it has greeted back in the same version of the
 * frames. Rejects with MeshError `version`, `malformed` or `lost`. The channels' listeners are this function's from now on.
 */
export function openLink(options: LinkOptions): Promise<Link> {
  const { self, peer, kind, tensors, bulk, maxMessageBytes } = options;
  const stats: LinkStats = { framesSent: 0, framesReceived: 0, bytesSent: 0, bytesReceived: 0 };
  const closedListeners = new Set<(failure: MeshError) => void>();
  let failure: MeshError | undefined;

  function close(reason: MeshError): void {
    if (failure) return;
    failure = reason;
    tensors.close();
    bulk.close();
    for (const listener of closedListeners) listener(reason);
    closedListeners.clear();
  }
  function onClosed(listener: (failure: MeshError) => void): () => void {
    if (failure) listener(failure);
    else closedListeners.add(listener);
    return () => closedListeners.delete(listener);
  }
  /** Runs what a message from the other side sets off: what it breaks is its link, and nothing else. */
  function guarded(run: () => void): void {
    if (failure) return;
    try {
      run();
    } catch (error) {
      // An answer could not be sent, since the link closed over it.
      if (error === failure) return;
      if (!(error instanceof FrameError)) throw error;
      close(failureOf(error, peer));
    }
  }

  // Sending.

  const own = {
    peer,
    close,
    get failure() {
      return failure;
    },
  };
  const sendTensors = createFrameSender(tensors, maxMessageBytes, own, stats);
  const sendHello = createFrameSender(bulk, maxMessageBytes, own, stats);
  const small = createFrameBuffer(0);

  function sendSmall(header: Partial<Header> & { kind: Kind }): void {
    guarded(() => void sendTensors(small, { ...NO_HEADER, ...header }, 0));
  }

  function sendJson(header: Header, value: unknown, send = sendTensors): void {
    const text = new TextEncoder().encode(JSON.stringify(value));
    if (text.length > MAX_CONTROL_BYTES) throw new RangeError(`a control message of ${text.length} bytes is too long`);
    const buffer = createFrameBuffer(text.length);
    buffer.payload.set(text);
    void send(buffer, header, text.length);
  }

  // Receiving.

  const routes = new Map<number, (frame: Frame) => void>();
  const unclaimed = new Map<number, Frame[]>();
  let unclaimedBytes = 0;
  const routeKey = (routed: Kind, epoch: number) => (routed << 16) | (epoch & 0xffff);

  function takeRouted(frame: Frame): void {
    const key = routeKey(frame.kind, frame.epoch);
    const handler = routes.get(key);
    if (handler) {
      handler(frame);
      return;
    }
    unclaimedBytes += frame.payload.length + HEADER_BYTES;
    if (unclaimedBytes > MAX_UNCLAIMED_BYTES) throw new FrameError('more frames than anyone has asked for');
    const frames = unclaimed.get(key) ?? [];
    frames.push({ ...frame });
    unclaimed.set(key, frames);
  }

  let controlHandler: ((message: unknown) => void) | undefined;
  const earlyControl: { message: unknown; bytes: number }[] = [];

  function takeControl(frame: Frame): void {
    const message = parseJson(frame);
    if (controlHandler) {
      controlHandler(message);
      return;
    }
    const bytes = frame.payload.length + HEADER_BYTES;
    unclaimedBytes += bytes;
    if (unclaimedBytes > MAX_UNCLAIMED_BYTES) throw new FrameError('more control messages than anyone has asked for');
    earlyControl.push({ message, bytes });
  }

  const pings = new Map<number, (at: number) => void>();
  let nextPing = 0;

  function takeEcho(frame: Frame): void {
    if (frame.slot === 1) {
      pings.get(frame.position)?.(performance.now());
      pings.delete(frame.position);
      return;
    }
    const buffer = createFrameBuffer(frame.payload.length);
    buffer.payload.set(frame.payload);
    void sendTensors(buffer, { ...frame, slot: 1 }, frame.payload.length);
  }

  function take(frame: Frame): void {
    if (ROUTED_KINDS.has(frame.kind)) takeRouted(frame);
    else if (frame.kind === Kind.bulk) bulkIn.take(frame);
    else if (frame.kind === Kind.control) takeControl(frame);
    else if (frame.kind === Kind.ack) bulkOut.acknowledge(frame.position);
    else takeEcho(frame);
  }

  /** The first frame must be a hello, the following ones belong on this channel. */
  function listen(channel: Channel, maxPayload: number, belongs: (kind: Kind) => boolean): Promise<void> {
    const read = createReader(maxPayload);
    let greeted = false;
    return new Promise((resolve) => {
      channel.onmessage = (message) =>
        guarded(() => {
          stats.bytesReceived += message.byteLength;
          const frame = read(message);
          if (!frame) return;
          stats.framesReceived++;
          if (greeted) {
            if (!belongs(frame.kind)) throw new FrameError(`a frame of kind ${frame.kind} on the wrong channel`);
            take(frame);
            return;
          }
          const hello = frame.kind === Kind.hello ? (parseJson(frame) as { device?: unknown } | null) : undefined;
          if (hello?.device !== peer) throw new FrameError('no greeting');
          greeted = true;
          resolve();
        });
      channel.onclose = (reason) => close(new MeshError('lost', `Device ${peer} is gone: ${reason}.`, peer));
    });
  }

  // Bulk.

  const bulkOut = createBulkSender(peer, bulk, stats, () => failure, maxMessageBytes);
  const bulkIn = createBulkReceiver(
    (taken) => sendSmall({ kind: Kind.ack, position: taken }),
    (error) =>
      guarded(() => {
        throw error;
      }),
  );
  onClosed(() => bulkOut.wake());

  const link: Link = {
    peer,
    kind,
    stats,
    get failure() {
      return failure;
    },
    onClosed,
    close,
    send: sendTensors,
    route(routed, epoch, handler) {
      const key = routeKey(routed, epoch);
      routes.set(key, handler);
      const early = unclaimed.get(key) ?? [];
      unclaimed.delete(key);
      for (const frame of early) {
        unclaimedBytes -= frame.payload.length + HEADER_BYTES;
        guarded(() => handler(frame));
      }
      return () => {
        if (routes.get(key) === handler) routes.delete(key);
      };
    },
    forgetUnclaimed(keep) {
      for (const [key, frames] of unclaimed) {
        if (keep !== undefined && (key & 0xffff) === (keep & 0xffff)) continue;
        unclaimed.delete(key);
        for (const { payload } of frames) unclaimedBytes -= payload.length + HEADER_BYTES;
      }
    },
    sendControl: (message) => sendJson({ ...NO_HEADER, kind: Kind.control }, message),
    onControl(handler) {
      controlHandler = handler;
      for (const { message, bytes } of earlyControl.splice(0)) {
        unclaimedBytes -= bytes;
        guarded(() => handler(message));
      }
    },
    sendBulk(transfer, bytes, signal) {
      return bulkOut.send({ ...NO_HEADER, kind: Kind.bulk, ...transfer, position: transfer.transfer }, bytes, signal);
    },
    onBulk: (handler) => bulkIn.listen(handler),
    ping(payloadBytes = 0) {
      const id = nextPing++ >>> 0;
      const buffer = createFrameBuffer(payloadBytes);
      return new Promise((resolve, reject) => {
        const forget = onClosed(reject);
        const sentAt = performance.now();
        pings.set(id, (at) => {
          forget();
          resolve(at - sentAt);
        });
        if (!failure) void sendTensors(buffer, { ...NO_HEADER, kind: Kind.echo, position: id }, payloadBytes);
      });
    },
  };

  const greetings = [
    listen(tensors, MAX_PAYLOAD_BYTES, onTensors),
    listen(bulk, 0, (frameKind) => frameKind === Kind.bulk),
  ];
  return new Promise((resolve, reject) => {
    const forget = onClosed(reject);
    const greet = async () => {
      await Promise.all([tensors.ready, bulk.ready]);
      if (failure) return;
      const hello = { device: self, version: FRAME_VERSION };
      sendJson(NO_HEADER, hello);
      sendJson(NO_HEADER, hello, sendHello);
      await Promise.all(greetings);
      forget();
      resolve(link);
    };
    void greet();
  });
}

const onTensors = (kind: Kind) => kind !== Kind.bulk && kind !== Kind.hello && kind !== Kind.heartbeat;

function parseJson(frame: Frame): unknown {
  if (frame.payload.length > MAX_CONTROL_BYTES) throw new FrameError('a control message that is too long');
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(frame.payload));
  } catch {
    throw new FrameError('a control message that is not JSON');
  }
}

function failureOf(error: FrameError, peer: number): MeshError {
  if (error instanceof FrameVersionError)
    return new MeshError(
      'version',
      `Device ${peer} speaks version ${error.theirs} of the mesh, this one version ${FRAME_VERSION}. Reload both pages.`,
      peer,
    );
  return new MeshError('malformed', `Device ${peer} sent ${error.message}. The link to it was closed.`, peer);
}
