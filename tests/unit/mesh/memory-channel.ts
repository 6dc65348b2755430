import type { Channel } from '../../../web/mesh/channel.ts';

export interface MemoryChannel extends Channel {
  /** Everything that was sent, as copies. */
  readonly sent: Uint8Array[];
  /** While set, messages stay in the buffer, and `buffered` grows. */
  held: boolean;
  /** Delivers what is held. */
  deliver(): void;
}

/** Two ends of a channel in memory. Messages are delivered in later tasks, as a network does. */
export function memoryChannels(): [MemoryChannel, MemoryChannel] {
  const a = end(() => b);
  const b = end(() => a);
  return [a, b];
}

function end(other: () => MemoryChannel): MemoryChannel {
  const queue: Uint8Array[] = [];
  let waiting: { low: number; resolve: () => void }[] = [];
  let closed = false;
  const buffered = () => queue.reduce((sum, message) => sum + message.length, 0);
  const settle = () => {
    const done = waiting.filter(({ low }) => closed || buffered() <= low);
    waiting = waiting.filter((waiter) => !done.includes(waiter));
    for (const { resolve } of done) resolve();
  };
  const channel: MemoryChannel = {
    ready: Promise.resolve(),
    sent: [],
    held: false,
    get buffered() {
      return buffered();
    },
    send(message) {
      if (closed) return;
      const copy = message.slice();
      channel.sent.push(copy);
      queue.push(copy);
      if (!channel.held) setImmediate(() => channel.deliver());
    },
    deliver() {
      for (const message of queue.splice(0)) other().onmessage?.(message.slice().buffer);
      settle();
    },
    drained(low) {
      if (closed || buffered() <= low) return Promise.resolve();
      return new Promise((resolve) => waiting.push({ low, resolve }));
    },
    onmessage: undefined,
    onclose: undefined,
    close() {
      if (closed) return;
      closed = true;
      settle();
      channel.onclose?.('closed here');
      setImmediate(() => other().close());
    },
  };
  return channel;
}
