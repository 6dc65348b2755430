import fc from 'fast-check';
import { DEFAULT_LIMITS } from '../../../signaling-server/rooms-limits.ts';
import { createRegistry } from '../../../signaling-server/rooms-registry.ts';
import { type Down, MessageError, parseUp } from '../../../web/mesh/messages.ts';
import { newDeviceKey } from '../../../web/mesh/secret.ts';
import { joinMessage, newRoom, openMessage } from '../../unit/rooms/page.ts';
import { nearly } from '../nearly.ts';
import { allow, check, target } from '../target.ts';

const LIMITS = { ...DEFAULT_LIMITS, rooms: 3, members: 3, seats: 5 };
const ROOMS = [newRoom(), newRoom()];
const KEYS = Array.from({ length: 4 }, newDeviceKey);
const id = '0'.repeat(32);

const messages: unknown[] = [
  ...ROOMS.flatMap((room) => [
    openMessage(room),
    openMessage(room, { ask: true }),
    ...KEYS.map((key) => joinMessage(room, 'x', key)),
  ]),
  // Of someone who knows a room's public id but not its secret.
  ...ROOMS.map((room) => joinMessage({ ...room, proof: newRoom().proof })),
  { type: 'signal', peer: 0, data: 'x', seal: id },
  { type: 'signal', peer: 1, data: 'x', seal: id },
  { type: 'profile', profile: { name: 'x', browser: '', rtc: true, session: 1 } },
  ...[{ type: 'leave' }, { type: 'ping' }, { type: 'admit', id }, { type: 'refuse', id }, { type: 'ask', ask: true }],
  ...[0, 1, 2].flatMap((index) => [
    { type: 'remove', index },
    { type: 'rename', index, name: 'y' },
  ]),
  { type: 'plan-reply', id: 0, text: '{}', last: true },
];
const step = fc.record({
  caller: fc.nat(4),
  text: fc.oneof(
    { weight: 9, arbitrary: nearly(messages).map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: fc.string() },
  ),
  hangsUp: fc.constantFrom(false, false, false, false, true),
});

/** Several pages that say right and wrong things in any order; the one with number 4 never has a room's secret. */
export async function make() {
  return target({
    cases: fc.array(step, { minLength: 1, maxLength: 14 }),
    run(steps) {
      const registry = createRegistry({ limits: LIMITS, iceServers: [], ticket: () => 'ticket' });
      const heard: Down[][] = [];
      const connect = (page: number) => {
        heard[page] = [];
        let open = true;
        const session = registry.connect({
          send: (message) =>
            check(open || message.type !== 'welcome', 'a welcome on a closed connection') ?? heard[page]?.push(message),
          close: () => {
            open = false;
          },
        });
        return { session, isOpen: () => open };
      };
      const pages = [0, 1, 2, 3, 4].map(connect);
      try {
        for (const { caller, text, hangsUp } of steps) {
          const page = pages[caller] as (typeof pages)[number];
          if (page.isOpen()) give(page.session, text);
          if (!hangsUp && page.isOpen()) continue;
          page.session.closed();
          pages[caller] = connect(caller);
        }
        const { rooms, members, waiting } = registry.stats();
        check(rooms <= LIMITS.rooms, `${rooms} rooms`);
        check(members <= LIMITS.rooms * LIMITS.members, `${members} members`);
        check(waiting <= LIMITS.rooms * LIMITS.members, `${waiting} waiting`);
        const said = JSON.stringify(heard);
        for (const { proof, hostKey, secret } of ROOMS)
          for (const hidden of [proof, hostKey, secret]) check(!said.includes(hidden), 'a secret was sent on');
        for (const key of KEYS) check(!said.includes(key), "a device's key was sent on");
      } finally {
        registry.close();
      }
    },
  });
}

function give(session: { receive(message: ReturnType<typeof parseUp>): void }, text: string): void {
  let message: ReturnType<typeof parseUp>;
  try {
    message = parseUp(text);
  } catch (error) {
    allow(error, MessageError);
    return;
  }
  session.receive(message);
}
