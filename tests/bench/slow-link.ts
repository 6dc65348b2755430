/** A way to a server on this machine that is as slow as one to somewhere else. */
import { createServer, connect as open, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchServer } from './servers.ts';

/** What a link may bring without waiting: a pause shorter than a timer's millisecond cannot be kept. */
const BURST_MS = 5;

/**
 * When the bytes of a link of `bytesPerSecond` may go on: gives the milliseconds to wait after each piece. A link that was
 * idle has not saved more than a burst.
 * @param now milliseconds on any clock
 */
export function pacing(bytesPerSecond: number): (bytes: number, now: number) => number {
  let free = Number.NEGATIVE_INFINITY;
  return (bytes, now) => {
    free = Math.max(free, now - BURST_MS) + (1000 * bytes) / bytesPerSecond;
    return Math.max(0, free - now);
  };
}

/** Listens on a port of its own; what the server at `url` sends comes at this rate, all connections together. */
export async function slowLink(url: string, bytesPerSecond: number): Promise<BenchServer> {
  const { hostname, port } = new URL(url);
  const wait = pacing(bytesPerSecond);
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): Socket => {
    sockets.add(socket);
    return socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    keep(near);
    const far = keep(open(Number(port), hostname));
    near.pipe(far);
    bringSlowly(far, near, wait).catch(() => near.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The slow link has no port.');
  return {
    url: `http://localhost:${address.port}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function bringSlowly(from: Socket, to: Socket, wait: ReturnType<typeof pacing>): Promise<void> {
  for await (const bytes of from as AsyncIterable<Buffer>) {
    const ms = wait(bytes.length, performance.now());
    if (ms >= 1) await sleep(ms);
    if (!to.write(bytes)) await new Promise((resolve) => to.once('drain', resolve));
  }
  to.end();
}
