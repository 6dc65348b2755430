/** Publish and subscribe over Redis, for server processes that share rooms. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import type { RelayBus } from './relay.ts';

export interface Bus extends RelayBus {
  /** Random bytes under a name, the same for all processes: the first one makes them. */
  sharedSecret(name: string, bytes: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** Connects to `redis://…`. Rejects with a sentence for a person where nobody answers. */
export async function openBus(url: string, log: (line: string) => void): Promise<Bus> {
  const settings = { lazyConnect: true, maxRetriesPerRequest: 1 };
  const commands = new Redis(url, settings);
  // A connection that listens can do nothing else.
  const listening = new Redis(url, settings);
  let connected = false;
  // ioredis reconnects, and listens again, by itself.
  for (const connection of [commands, listening])
    connection.on('error', (error: Error) => {
      if (connected) log(`Redis: ${error.message}. Rooms are not shared until it is back.`);
    });
  try {
    await Promise.all([commands.connect(), listening.connect()]);
    connected = true;
  } catch (error) {
    commands.disconnect();
    listening.disconnect();
    const host = URL.canParse(url) ? new URL(url).host : 'its address';
    throw new Error(`Redis does not answer at ${host}. Start it, or start without REDIS_URL.`, { cause: error });
  }
  const listeners = new Map<string, Set<(message: Buffer) => void>>();
  listening.on('messageBuffer', (topic: Buffer, message: Buffer) => {
    for (const listener of listeners.get(topic.toString()) ?? []) listener(message);
  });

  return {
    publish: (topic, message) => commands.publish(topic, message),
    async subscribe(topic, listener) {
      const set = listeners.get(topic) ?? new Set();
      listeners.set(topic, set.add(listener));
      await listening.subscribe(topic);
      return () => {
        set.delete(listener);
        if (set.size > 0 || listeners.get(topic) !== set) return;
        listeners.delete(topic);
        listening.unsubscribe(topic).catch((error: Error) => log(`Redis: ${error.message}`));
      };
    },
    async sharedSecret(name, bytes) {
      await commands.set(name, randomBytes(bytes).toString('hex'), 'NX');
      const secret = await commands.get(name);
      if (!secret) throw new Error('Redis has lost a value that was just written. Check its memory policy.');
      return Buffer.from(secret, 'hex');
    },
    async close() {
      listeners.clear();
      await Promise.allSettled([commands.quit(), listening.quit()]);
    },
  };
}
