/**
 * A channel: ordered, reliable messages of bytes to one other device. Three things are channels: a data channel, a
 * WebSocket to the relay, and a MessagePort to a page that pumps a data channel, where browsers cannot transfer one.
 */
import type { RelayHello } from './messages.ts';

export interface Channel {
  /** Resolves once messages can be sent; never, where the channel closes before. */
  readonly ready: Promise<void>;
  /** Bytes handed to `send` that have not left yet. */
  readonly buffered: number;
  /** Sends a copy: the memory may be reused at once. Does nothing on a closed channel. */
  send(message: Uint8Array): void;
  /** Resolves when at most `low` bytes are buffered, and also when the channel closes. */
  drained(low: number): Promise<void>;
  /** One listener each; set before the first message can come. */
  onmessage: ((message: ArrayBuffer) => void) | undefined;
  /** Called once, with the reason in words. */
  onclose: ((reason: string) => void) | undefined;
  close(): void;
}

/** A channel before it is opened, in a form that can be posted to a Worker together with {@link endpointTransfer}. */
export type Endpoint =
  | { kind: 'data-channel'; channel: RTCDataChannel }
  | { kind: 'socket'; url: string; hello: RelayHello }
  | { kind: 'port'; port: MessagePort };

export function endpointTransfer(endpoint: Endpoint): Transferable[] {
  if (endpoint.kind === 'data-channel') return [endpoint.channel];
  return endpoint.kind === 'port' ? [endpoint.port] : [];
}

export function openChannel(endpoint: Endpoint): Channel {
  switch (endpoint.kind) {
    case 'data-channel':
      return dataChannel(endpoint.channel);
    case 'socket':
      return socketChannel(endpoint.url, endpoint.hello);
    case 'port':
      return portChannel(endpoint.port);
  }
}

function dataChannel(source: RTCDataChannel): Channel {
  source.binaryType = 'arraybuffer';
  const channel: Channel = {
    ready: new Promise((resolve) => {
      if (source.readyState === 'open') resolve();
      else source.addEventListener('open', () => resolve());
    }),
    get buffered() {
      return source.bufferedAmount;
    },
    send(message) {
      if (source.readyState === 'open') source.send(message as Uint8Array<ArrayBuffer>);
    },
    drained(low) {
      if (source.readyState !== 'open' || source.bufferedAmount <= low) return Promise.resolve();
      source.bufferedAmountLowThreshold = low;
      return new Promise((resolve) => {
        const done = () => {
          source.removeEventListener('bufferedamountlow', done);
          source.removeEventListener('close', done);
          resolve();
        };
        source.addEventListener('bufferedamountlow', done);
        source.addEventListener('close', done);
      });
    },
    onmessage: undefined,
    onclose: undefined,
    close: () => source.close(),
  };
  const closed = once((reason: string) => channel.onclose?.(reason));
  source.addEventListener('message', (event: MessageEvent<ArrayBuffer | string>) => {
    // A text is no frame: an empty one says so to the reader.
    channel.onmessage?.(typeof event.data === 'string' ? new ArrayBuffer(0) : event.data);
  });
  source.addEventListener('close', () => closed('the data channel closed'));
  source.addEventListener('error', (event) =>
    closed(`the data channel failed (${(event as RTCErrorEvent).error?.message ?? 'no reason given'})`),
  );
  return channel;
}

/** WebSockets tell nobody when they have drained; this often is looked, in ms. */
const SOCKET_POLL_MS = 5;

function socketChannel(url: string, hello: RelayHello): Channel {
  const socket = new WebSocket(url);
  socket.binaryType = 'arraybuffer';
  let paired: () => void;
  const channel: Channel = {
    ready: new Promise((resolve) => {
      paired = resolve;
    }),
    get buffered() {
      return socket.bufferedAmount;
    },
    send(message) {
      if (socket.readyState === WebSocket.OPEN) socket.send(message as Uint8Array<ArrayBuffer>);
    },
    async drained(low) {
      while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount > low)
        await new Promise((resolve) => setTimeout(resolve, SOCKET_POLL_MS));
    },
    onmessage: undefined,
    onclose: undefined,
    close: () => socket.close(),
  };
  socket.addEventListener('open', () => socket.send(JSON.stringify(hello)));
  socket.addEventListener('message', (event: MessageEvent<ArrayBuffer | string>) => {
    // The relay's only text says that the other end is there.
    if (typeof event.data === 'string') paired();
    else channel.onmessage?.(event.data);
  });
  socket.addEventListener('close', () => channel.onclose?.('the relay closed the connection'));
  return channel;
}

/** Page to pump: bytes to send, or `close`. Pump to page: `open`, bytes received, how many bytes have left, `close`. */
type PumpMessage = { open: true } | { bytes: ArrayBuffer } | { left: number } | { close: true };

function portChannel(port: MessagePort): Channel {
  let buffered = 0;
  let open = false;
  let opened: () => void;
  let waiting: { low: number; resolve: () => void }[] = [];
  const release = () => {
    const free = waiting.filter((waiter) => !open || buffered <= waiter.low);
    waiting = waiting.filter((waiter) => !free.includes(waiter));
    for (const waiter of free) waiter.resolve();
  };
  const channel: Channel = {
    ready: new Promise((resolve) => {
      opened = resolve;
    }),
    get buffered() {
      return buffered;
    },
    send(message) {
      if (!open) return;
      const bytes = message.slice().buffer;
      buffered += bytes.byteLength;
      port.postMessage({ bytes } satisfies PumpMessage, [bytes]);
    },
    drained(low) {
      if (!open || buffered <= low) return Promise.resolve();
      return new Promise((resolve) => waiting.push({ low, resolve }));
    },
    onmessage: undefined,
    onclose: undefined,
    close: () => port.postMessage({ close: true } satisfies PumpMessage),
  };
  port.onmessage = ({ data }: MessageEvent<PumpMessage>) => {
    if ('bytes' in data) channel.onmessage?.(data.bytes);
    else if ('left' in data) {
      buffered -= data.left;
      release();
    } else if ('open' in data) {
      open = true;
      opened();
    } else {
      open = false;
      release();
      port.close();
      channel.onclose?.('the data channel closed');
    }
  };
  return channel;
}

/** Bytes that a pump lets the data channel hold before it waits. */
const PUMP_LOW_BYTES = 256 * 1024;

/** On the page: pumps between a data channel that cannot be transferred and the Worker's end of a port channel. */
export function pumpChannel(source: RTCDataChannel, port: MessagePort): void {
  const channel = dataChannel(source);
  const post = (message: PumpMessage, transfer: Transferable[] = []) => port.postMessage(message, transfer);
  void channel.ready.then(() => post({ open: true }));
  channel.onmessage = (bytes) => post({ bytes }, [bytes]);
  channel.onclose = () => post({ close: true });
  port.onmessage = async ({ data }: MessageEvent<PumpMessage>) => {
    if ('close' in data) channel.close();
    else if ('bytes' in data) {
      channel.send(new Uint8Array(data.bytes));
      await channel.drained(PUMP_LOW_BYTES);
      post({ left: data.bytes.byteLength });
    }
  };
}

/**
 * The channel with every message that arrives held back for `ms`: a slow link for tests and benchmarks (`?emulate=`).
 * Messages keep their order and their distances.
 */
export function delayedChannel(channel: Channel, ms: number): Channel {
  if (ms <= 0) return channel;
  const late: Channel = {
    ready: channel.ready,
    get buffered() {
      return channel.buffered;
    },
    send: (message) => channel.send(message),
    drained: (low) => channel.drained(low),
    onmessage: undefined,
    onclose: undefined,
    close: () => channel.close(),
  };
  channel.onmessage = (message) => void setTimeout(() => late.onmessage?.(message), ms);
  channel.onclose = (reason) => late.onclose?.(reason);
  return late;
}

function once<T>(call: (value: T) => void): (value: T) => void {
  let done = false;
  return (value) => {
    if (!done) call(value);
    done = true;
  };
}
