/** When a link is made again and when not; over the relay, since node has no WebRTC. */
import { describe, expect, test } from 'vitest';
import { createConnection } from '../../../web/mesh/connection.ts';
import type { RoomMember } from '../../../web/mesh/messages.ts';
import type { Signal } from '../../../web/mesh/signals.ts';

const member = (session: number): RoomMember => ({
  index: 2,
  id: 'two',
  name: 'two',
  browser: '',
  session,
  online: true,
  rtc: false,
});

/** The leading side of a link that is up; its number, and what it says to the other side. */
function leader() {
  const signals: Signal[] = [];
  const connection = createConnection({
    ...{ self: 0, member: member(1), rtc: false },
    iceServers: () => [],
    relayEndpoints: () => {
      const { port1: tensors, port2: bulk } = new MessageChannel();
      return { tensors: [tensors], bulk: [bulk], pulse: new MessageChannel().port1 } as never;
    },
    signal: (signal) => signals.push(signal),
    ...{ toEngine: () => undefined, toPulse: () => undefined, changed: () => undefined },
  });
  const attempt = (): number => signals.at(-1)!.attempt;
  const bringUp = (): void => {
    connection.engineUp(attempt());
    connection.beat(attempt(), 1);
  };
  bringUp();
  expect(connection.status.state).toBe('up');
  return { connection, signals, attempt, bringUp };
}

describe('a link that ended by nonsense', () => {
  test('is refused for good, also where the other side asks for the next one before the reason is known here', async () => {
    for (const asksFirst of [false, true]) {
      const { connection, signals, attempt, bringUp } = leader();
      const first = attempt();
      if (asksFirst) {
        connection.takeSignal({ type: 'again', attempt: first, relay: false });
        await expect.poll(attempt).toBe(first + 1);
        bringUp();
      }
      connection.down(first, 'malformed', 'kind 99');
      expect(connection.status).toMatchObject({ state: 'refused', reason: 'kind 99' });
      const told = signals.length;
      connection.takeSignal({ type: 'again', attempt: attempt(), relay: false });
      expect(signals.length).toBe(told);
      connection.close('left', 'over');
    }
  });

  test('is made anew with a page that was loaded anew, whatever is told of the page before', () => {
    const { connection, attempt, bringUp } = leader();
    const first = attempt();
    connection.update(member(2));
    bringUp();
    connection.down(first, 'malformed', 'kind 99');
    expect(connection.status.state).toBe('up');
    connection.close('left', 'over');
  });

  test('one that is merely lost is made again', async () => {
    const { connection, attempt, bringUp } = leader();
    const first = attempt();
    connection.takeSignal({ type: 'again', attempt: first, relay: false });
    connection.down(first, 'lost', 'late');
    await expect.poll(attempt).toBe(first + 1);
    bringUp();
    expect(connection.status.state).toBe('up');
    connection.close('left', 'over');
  });
});
