import { EventEmitter } from 'node:events';
import fc from 'fast-check';
import type { WebSocket } from 'ws';
import { createRelay } from '../../../signaling-server/relay.ts';
import { createTickets } from '../../../signaling-server/relay-tickets.ts';
import { DEFAULT_LIMITS } from '../../../signaling-server/rooms-limits.ts';
import { type RelayHello, SIGNALING_VERSION } from '../../../web/mesh/messages.ts';
import { nearly } from '../nearly.ts';
import { check, target } from '../target.ts';

const ROOM = 'a'.repeat(32);
const tickets = createTickets(new Uint8Array(32));

/** A socket without a network. */
function playSocket() {
  const emitter = new EventEmitter();
  const got: unknown[] = [];
  const socket = Object.assign(emitter, {
    OPEN: 1,
    readyState: 1,
    bufferedAmount: 0,
    send(data: unknown) {
      got.push(data);
    },
    close() {
      if (socket.readyState !== 1) return;
      socket.readyState = 3;
      emitter.emit('close');
    },
    pause: () => undefined,
    resume: () => undefined,
  });
  return { socket, got };
}

const hello = (from: number, to: number, ticket = tickets.issue(ROOM, from)): RelayHello => ({
  ...{ type: 'relay', version: SIGNALING_VERSION, room: ROOM, from, to, ticket, channel: 'tensors', attempt: 1 },
});
const greetings = [hello(0, 1), hello(1, 0), hello(0, 1, tickets.issue(ROOM, 2)), hello(2, 2)];
const step = fc.record({
  socket: fc.nat(3),
  data: fc.oneof(
    { weight: 4, arbitrary: nearly(greetings).map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: fc.string() },
    { weight: 4, arbitrary: fc.uint8Array({ maxLength: 40 }) },
    { weight: 1, arbitrary: fc.constant('close' as const) },
  ),
});

export async function make() {
  return target({
    cases: fc.array(step, { minLength: 1, maxLength: 16 }),
    run(steps) {
      const relay = createRelay({ limits: { ...DEFAULT_LIMITS, helloMs: 60_000 }, tickets });
      const sockets = [0, 1, 2, 3].map(() => playSocket());
      for (const { socket } of sockets) relay.accept(socket as unknown as WebSocket);
      for (const { socket: at, data } of steps) {
        const { socket } = sockets[at] as (typeof sockets)[number];
        if (socket.readyState !== 1) continue;
        if (data === 'close') socket.close();
        else socket.emit('message', Buffer.from(data), typeof data !== 'string');
      }
      const { ends } = relay.stats();
      check(ends === 0 || ends === 2 || ends === 4, `${ends} ends of channels`);
      const paired = sockets.filter(({ got }) => got.includes('paired')).length;
      check(paired % 2 === 0, 'one end alone was told that it is paired');
      for (const { got } of sockets)
        check(got.length === 0 || got[0] === 'paired', 'bytes came before the channel was there');
      for (const { socket } of sockets) socket.close();
      check(relay.stats().ends === 0, 'ends are left over');
    },
  });
}
