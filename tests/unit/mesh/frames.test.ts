import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  createReader,
  FRAME_VERSION,
  type Frame,
  FrameError,
  FrameVersionError,
  HEADER_BYTES,
  type Header,
  Kind,
  PART_HEADER_BYTES,
  writeHeader,
} from '../../../web/mesh/frames.ts';
import { frameHeaders, frameMessages } from './hostile-frames.ts';

const MAX_PAYLOAD = 4096;
const headers = frameHeaders.filter(({ kind }) => kind !== Kind.bulk);
const payloads = fc.uint8Array({ maxLength: 300 });

const messagesOf = (header: Header, payload: Uint8Array, sequence: number, maxMessage: number) =>
  frameMessages(header, payload, sequence, maxMessage).map((message) => message.buffer as ArrayBuffer);
const copyOf = (frame: Frame) => ({ ...frame, payload: [...frame.payload] });

describe('frames', () => {
  test('arrive as they were sent, whole or in parts, at every message size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(headers, payloads), { maxLength: 8 }),
        fc.integer({ min: 25, max: 400 }),
        (frames, size) => {
          const read = createReader(MAX_PAYLOAD);
          const received = frames.flatMap(([header, payload], i) =>
            messagesOf(header, payload, i, size).flatMap((message) => {
              expect(message.byteLength).toBeLessThanOrEqual(size);
              const frame = read(message);
              return frame ? [copyOf(frame)] : [];
            }),
          );
          expect(received).toEqual(
            frames.map(([header, payload]) => ({ ...header, payload: [...payload], offset: 0, total: payload.length })),
          );
        },
      ),
    );
  });

  test('cost 16 bytes each, 24 in parts', () => {
    const header: Header = { kind: Kind.partial, type: 'f32', slot: 0, epoch: 1, layer: 2, position: 3, rows: 1 };
    expect(messagesOf(header, new Uint8Array(100), 0, 116).map((m) => m.byteLength)).toEqual([116]);
    expect(messagesOf(header, new Uint8Array(100), 0, 74).map((m) => m.byteLength)).toEqual([74, 74]);
    expect([HEADER_BYTES, PART_HEADER_BYTES]).toEqual([16, 24]);
  });

  test('the sequence goes on after 65535', () => {
    const read = createReader(MAX_PAYLOAD);
    const header: Header = { kind: Kind.ack, type: 'f32', slot: 0, epoch: 0, layer: 0, position: 0, rows: 0 };
    for (let i = 0; i <= 0x10001; i++) {
      const [message] = messagesOf(header, new Uint8Array(), i & 0xffff, 100);
      if (read(message)?.kind !== Kind.ack) throw new Error(`frame ${i} was not read`);
    }
  });

  test('may be missing where the channel is lossy, and only there', () => {
    const header: Header = { kind: Kind.heartbeat, type: 'f32', slot: 0, epoch: 0, layer: 0, position: 0, rows: 0 };
    const [message] = messagesOf(header, new Uint8Array(8), 7, 100);
    expect(createReader(0, true)(message)?.kind).toBe(Kind.heartbeat);
    expect(() => createReader(0)(message)).toThrow(FrameError);
  });

  test('a piece of bulk is given as it comes, with its place', () => {
    const header: Header = { kind: Kind.bulk, type: 'f32', slot: 0, epoch: 1, layer: 0, position: 7, rows: 0 };
    const buffer = new Uint8Array(PART_HEADER_BYTES + 3);
    writeHeader(new DataView(buffer.buffer), header, 0, { total: 2 ** 32 - 1, offset: 2 ** 31 });
    buffer.set([1, 2, 3], PART_HEADER_BYTES);
    const frame = createReader(0)(buffer.buffer);
    expect(frame && copyOf(frame)).toEqual({ ...header, payload: [1, 2, 3], offset: 2 ** 31, total: 2 ** 32 - 1 });
  });
});

describe('what is no frame', () => {
  const header: Header = { kind: Kind.partial, type: 'f16', slot: 0, epoch: 1, layer: 2, position: 3, rows: 1 };
  const parts = () => messagesOf(header, new Uint8Array(60), 0, 44).map((message) => new Uint8Array(message));
  const refused = (messages: Uint8Array[]) => {
    const read = createReader(64);
    return () => {
      for (const message of messages) read(message.slice().buffer);
    };
  };
  const changed = (message: Uint8Array, at: number, value: number) => {
    const copy = message.slice();
    copy[at] = value;
    return copy;
  };

  test('another version is named before anything else is looked at', () => {
    for (const message of [Uint8Array.of(9), changed(parts()[0], 0, 9)])
      expect(refused([message])).toThrow(new FrameVersionError(9));
    expect(new FrameVersionError(9).message).toBe(
      `frames of version 9, where this page speaks version ${FRAME_VERSION}`,
    );
  });
  test.each([
    ['nothing', () => [new Uint8Array()]],
    ['half a header', () => [parts()[0].slice(0, 15)]],
    ['half a part header', () => [parts()[0].slice(0, 20)]],
    ['a part without content', () => [parts()[0].slice(0, 24)]],
    ['an unknown kind', () => [changed(parts()[0], 1, 13)]],
    ['an unknown number type', () => [changed(parts()[0], 2, 0x14)]],
    ['an unknown flag', () => [changed(parts()[0], 2, 0x31)]],
    ['a gap in the sequence', () => [changed(parts()[0], 14, 1)]],
    ['more than the limit', () => [changed(parts()[0], 16, 65)]],
    ['parts out of order', () => [parts()[0], parts()[2]]],
    ['the same part twice', () => [parts()[0], parts()[0]]],
    ['a part beyond the whole', () => [parts()[0], changed(parts()[1], 20, 59)]],
    ['parts of different wholes', () => [parts()[0], changed(parts()[1], 16, 61)]],
    ['parts of different frames', () => [parts()[0], changed(parts()[1], 6, 5)]],
    ['a frame between parts', () => [parts()[0], changed(parts()[1], 2, 1)]],
  ] as [string, () => Uint8Array[]][])('%s', (_, messages) => {
    expect(refused(messages())).toThrow(FrameError);
  });

  test('any bytes give a frame or a FrameError, and no more memory than allowed', () => {
    const noise = fc.uint8Array({ maxLength: 80 });
    const nearlyRight = fc
      .tuple(fc.array(fc.tuple(fc.nat(23), fc.nat(255)), { maxLength: 3 }), fc.uint8Array({ maxLength: 40 }))
      .map(([changes, tail]) => {
        let message = new Uint8Array(24 + tail.length);
        writeHeader(new DataView(message.buffer), header, 0, { total: 60, offset: 0 });
        message.set(tail, 24);
        for (const [at, value] of changes) message = changed(message, at, value) as typeof message;
        return message;
      });
    fc.assert(
      fc.property(fc.array(fc.oneof(noise, nearlyRight), { minLength: 1, maxLength: 6 }), (messages) => {
        const read = createReader(64);
        try {
          for (const message of messages) {
            const frame = read(message.slice().buffer);
            if (frame) expect(frame.payload.length).toBeLessThanOrEqual(Math.max(64, message.length));
          }
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError);
        }
      }),
      { numRuns: 3000, seed: 1 },
    );
  });
});
