/** Messages of frames, right ones and wrong ones. */
import fc from 'fast-check';
import {
  HEADER_BYTES,
  type Header,
  Kind,
  PART_HEADER_BYTES,
  sendParts,
  writeHeader,
} from '../../../web/mesh/frames.ts';
import { NUMBER_TYPES } from '../../../web/mesh/wire.ts';

const HEADER: Header = { kind: Kind.hello, type: 'f32', slot: 0, epoch: 0, layer: 0, position: 0, rows: 0 };

/** The messages that a frame travels in, at most `maxMessage` bytes each. */
export function frameMessages(
  header: Partial<Header>,
  payload: Uint8Array,
  sequence: number,
  maxMessage = 65536,
): Uint8Array[] {
  const whole = { ...HEADER, ...header };
  const messages: Uint8Array[] = [];
  if (whole.kind === Kind.bulk || HEADER_BYTES + payload.length > maxMessage) {
    sendParts(payload, whole, sequence, maxMessage, (message) => messages.push(message.slice()));
    return messages;
  }
  const message = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(new DataView(message.buffer), whole, sequence);
  message.set(payload, HEADER_BYTES);
  return [message];
}

export const frameHeaders: fc.Arbitrary<Header> = fc.record({
  kind: fc.constantFrom(...Object.values(Kind)),
  type: fc.constantFrom(...NUMBER_TYPES),
  slot: fc.nat(0xff),
  epoch: fc.oneof(fc.constantFrom(0, 1, 2, 0xffff), fc.nat(0xffff)),
  layer: fc.nat(0xffff),
  position: fc.nat(0xffffffff),
  rows: fc.nat(0xffff),
});

const payload = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.json().map((text) => new TextEncoder().encode(text)),
  fc.nat(40_000).map((length) => new Uint8Array(length)),
);
const edits = fc.array(fc.tuple(fc.nat(PART_HEADER_BYTES - 1), fc.nat(255)), { maxLength: 3 });

/** What may come in place of the next frame of a channel, given its sequence number: mostly a frame with faults. */
export const hostileMessage: fc.Arbitrary<(sequence: number) => Uint8Array[]> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(frameHeaders, payload, fc.constantFrom(64, 65536)).map(
      ([header, bytes, size]) =>
        (sequence: number) =>
          frameMessages(header, bytes, sequence, size),
    ),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(frameHeaders, payload, edits, fc.nat(0xffffffff))
      .map(([header, bytes, changes, total]) => (sequence: number) => {
        const message = new Uint8Array(PART_HEADER_BYTES + bytes.length);
        writeHeader(new DataView(message.buffer), header, sequence, { total, offset: 0 });
        message.set(bytes, PART_HEADER_BYTES);
        for (const [at, value] of changes) message[at] = value;
        return [message];
      }),
  },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }).map((bytes) => () => [bytes]) },
);
