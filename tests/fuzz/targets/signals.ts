import fc from 'fast-check';
import { MessageError, parseDown } from '../../../web/mesh/messages.ts';
import { parseSignal } from '../../../web/mesh/signals.ts';
import { nearly } from '../nearly.ts';
import { allow, target } from '../target.ts';

const id = 'a'.repeat(32);
const profile = { name: 'phone', browser: 'Test', rtc: true, session: 1 };
const down = [
  {
    type: 'welcome',
    index: 1,
    members: [{ ...profile, index: 0, id, online: true }],
    ask: false,
    iceServers: [{ urls: ['stun:x'] }],
    ticket: 'x',
  },
  { type: 'member', member: { ...profile, index: 2, id, online: false } },
  { type: 'left', index: 2, reason: 'lost' },
  { type: 'signal', peer: 1, data: '{}', seal: id },
  { type: 'knock', id, name: 'x', browser: 'y' },
  { type: 'plan', id: 1, request: '{}' },
  { type: 'error', code: 'no-room', message: 'x' },
];
const signals = [
  { type: 'rtc', attempt: 1, lane: 'bulk', step: { type: 'offer', sdp: 'v=0' } },
  {
    type: 'rtc',
    attempt: 1,
    lane: 'pulse',
    step: { type: 'candidate', candidate: { candidate: 'x', sdpMLineIndex: 0, sdpMid: null } },
  },
  { type: 'relay', attempt: 1 },
  { type: 'again', attempt: 1, relay: true },
];
const text = (values: readonly unknown[]) =>
  fc.oneof(
    { weight: 9, arbitrary: nearly(values).map((value) => JSON.stringify(value) ?? '') },
    { weight: 1, arbitrary: fc.string() },
  );

export async function make() {
  return target({
    cases: fc.record({ down: text(down), signal: text(signals) }),
    run({ down, signal }) {
      try {
        parseDown(down);
      } catch (error) {
        allow(error, MessageError);
      }
      // Says undefined of what it does not understand.
      parseSignal(signal);
    },
  });
}
