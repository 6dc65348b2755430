import { describe, expect, test } from 'vitest';
import type { BulkPiece } from '../../../web/mesh/bulk.ts';
import {
  createFrameBuffer,
  FRAME_VERSION,
  type Frame,
  FrameError,
  type Header,
  Kind,
  writeHeader,
} from '../../../web/mesh/frames.ts';
import { type Link, openLink } from '../../../web/mesh/link.ts';
import { linked, settled } from './linked.ts';
import { memoryChannels } from './memory-channel.ts';

const partial = (epoch: number, position = 0): Header => ({
  kind: Kind.partial,
  type: 'f32',
  slot: 0,
  epoch,
  layer: 0,
  position,
  rows: 1,
});
function send(link: Link, header: Header, payload: ArrayLike<number> = [1, 2, 3, 4]): Promise<void> | undefined {
  const buffer = createFrameBuffer(payload.length);
  buffer.payload.set(payload);
  return link.send(buffer, header, payload.length);
}
const positions = (frames: Frame[]) => frames.map((frame) => frame.position);
const collect = (into: Frame[]) => (frame: Frame) => void into.push({ ...frame });

describe('tensors', () => {
  test('come to whoever asked for their kind and epoch, those before the asking too', async () => {
    const { a, b } = await linked();
    const first: Frame[] = [];
    const second: Frame[] = [];
    send(a, partial(1, 10));
    send(a, partial(2, 20));
    await settled();
    b.route(Kind.partial, 1, collect(first));
    send(a, partial(1, 11));
    await settled();
    b.route(Kind.partial, 2, collect(second));
    expect([positions(first), positions(second)]).toEqual([[10, 11], [20]]);
  });

  test('in parts are whole on the other side', async () => {
    const { a, b, tensors } = await linked(0, 1, 1000);
    const frames: Frame[] = [];
    b.route(Kind.partial, 1, collect(frames));
    const payload = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251);
    send(a, partial(1), payload);
    await settled();
    expect(frames[0].payload).toEqual(payload);
    expect(Math.max(...tensors[0].sent.map((message) => message.length))).toBe(1000);
  });

  test('wait on this side while the channel is full, and keep their order', async () => {
    const { a, b, tensors } = await linked();
    const frames: Frame[] = [];
    b.route(Kind.partial, 1, collect(frames));
    tensors[0].held = true;
    let waits: Promise<void> | undefined;
    for (let i = 0; i < 100; i++) waits = send(a, partial(1, i), new Uint8Array(100_000));
    expect(waits).toBeInstanceOf(Promise);
    expect(tensors[0].buffered).toBeLessThanOrEqual(128 * 1024);
    tensors[0].held = false;
    tensors[0].deliver();
    await waits;
    await settled();
    expect(positions(frames)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  test('that wait are let go when the link closes', async () => {
    const { a, tensors } = await linked();
    tensors[0].held = true;
    let waits: Promise<void> | undefined;
    for (let i = 0; i < 100; i++) waits = send(a, partial(1, i), new Uint8Array(100_000));
    tensors[1].close();
    await expect(waits).rejects.toMatchObject({ code: 'lost', device: 1 });
  });

  test('that nobody takes for ever close the link', async () => {
    const { a, tensors } = await linked();
    tensors[0].held = true;
    const flood = () => {
      for (let i = 0; i < 1000; i++) send(a, partial(1, i), new Uint8Array(100_000));
    };
    expect(flood).toThrow(/too slowly/);
    expect(a.failure).toMatchObject({ code: 'congested' });
  });
});

describe('control', () => {
  test('keeps its order, also with the tensors and before anyone listens', async () => {
    const { a, b } = await linked();
    const seen: unknown[] = [];
    b.route(Kind.partial, 1, (frame) => seen.push(frame.position));
    a.sendControl({ type: 'early' });
    await settled();
    b.onControl((message) => seen.push(message));
    send(a, partial(1, 5));
    a.sendControl(['late', 'ü']);
    await settled();
    expect(seen).toEqual([{ type: 'early' }, 5, ['late', 'ü']]);
  });
  test('that its taker does not believe closes the link', async () => {
    const { a, b } = await linked();
    b.onControl(() => {
      throw new FrameError('a plan without stages');
    });
    a.sendControl({});
    await settled();
    expect(b.failure?.message).toBe('Device 0 sent a plan without stages. The link to it was closed.');
    expect(a.failure).toMatchObject({ code: 'lost' });
  });
});

describe('bulk', () => {
  const transfer = { epoch: 1, slot: 2, transfer: 9 };

  test('arrives in pieces that know their place, while tensors overtake it', async () => {
    const { a, b } = await linked();
    const data = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7) % 256);
    const received = new Uint8Array(data.length);
    const pieces: BulkPiece[] = [];
    b.onBulk((piece) => {
      pieces.push(piece);
      received.set(piece.bytes, piece.offset);
    });
    await a.sendBulk(transfer, data);
    await settled();
    expect(Buffer.from(received).equals(data)).toBe(true);
    expect(pieces.length).toBeGreaterThan(5);
    for (const piece of pieces) expect(piece).toMatchObject({ ...transfer, total: data.length });
  });

  test('stops at the window of a reader that does not read, and goes on when it does', async () => {
    const { a, b } = await linked();
    const data = new Uint8Array(8 * 1024 * 1024);
    let take: () => void = () => undefined;
    let taken = 0;
    b.onBulk(async (piece) => {
      await new Promise<void>((resolve) => {
        take = resolve;
      });
      taken += piece.bytes.length;
    });
    const done = a.sendBulk(transfer, data);
    await settled();
    await settled();
    expect(a.stats.bytesSent).toBeLessThan(1_200_000);
    let sent = false;
    void done.then(() => {
      sent = true;
    });
    while (!sent) {
      expect(a.stats.bytesSent - taken).toBeLessThan(1_200_000);
      take();
      await new Promise((resolve) => setImmediate(resolve));
    }
  });

  test('ends at once when the signal says so or the link is lost, and the next transfer goes on', async () => {
    const { a, b, bulk } = await linked();
    const stop = new AbortController();
    const stopped = a.sendBulk(transfer, new Uint8Array(4 * 1024 * 1024), stop.signal);
    await settled();
    stop.abort(new Error('enough'));
    b.onBulk(() => undefined);
    await expect(stopped).rejects.toThrow('enough');
    await a.sendBulk(transfer, new Uint8Array(100_000));

    b.onBulk(() => new Promise(() => undefined));
    const lost = a.sendBulk(transfer, new Uint8Array(4 * 1024 * 1024));
    await settled();
    bulk[1].close();
    await expect(lost).rejects.toMatchObject({ code: 'lost' });
  });
});

describe('a link', () => {
  test('measures its round trip', async () => {
    const { a } = await linked();
    expect(await a.ping(1000)).toBeGreaterThan(0);
  });

  test('names both versions when they differ', async () => {
    const tensors = memoryChannels();
    const bulk = memoryChannels();
    const opened = openLink({
      self: 0,
      peer: 1,
      kind: 'webrtc',
      tensors: tensors[0],
      bulk: bulk[0],
      maxMessageBytes: () => 1000,
    });
    tensors[1].send(Uint8Array.of(FRAME_VERSION + 1, 0, 0, 0));
    await expect(opened).rejects.toMatchObject({
      code: 'version',
      message: `Device 1 speaks version ${FRAME_VERSION + 1} of the mesh, this one version ${FRAME_VERSION}. Reload both pages.`,
    });
  });

  test('is for the device that it was made for', async () => {
    const tensors = memoryChannels();
    const bulk = memoryChannels();
    const options = { kind: 'webrtc', maxMessageBytes: () => 1000 } as const;
    const opened = openLink({ ...options, self: 0, peer: 1, tensors: tensors[0], bulk: bulk[0] });
    openLink({ ...options, self: 2, peer: 0, tensors: tensors[1], bulk: bulk[1] }).catch(() => undefined);
    await expect(opened).rejects.toMatchObject({ code: 'malformed' });
  });

  test('that gets a malformed frame closes, and no other does', async () => {
    const bad = await linked(0, 1);
    const good = await linked(0, 2);
    bad.tensors[1].send(Uint8Array.of(FRAME_VERSION, 200, 0));
    await settled();
    expect(bad.a.failure).toMatchObject({ code: 'malformed', device: 1 });
    expect(bad.b.failure).toMatchObject({ code: 'lost', device: 0 });
    expect(() => send(bad.a, partial(1))).toThrow(bad.a.failure?.message);
    good.a.sendControl('still here');
    await settled();
    expect(good.a.failure).toBeUndefined();
  });

  test.each([
    ['bulk on the tensors', 0, Kind.bulk],
    ['tensors on the bulk', 1, Kind.partial],
    ['a second greeting', 0, Kind.hello],
  ])('closes on %s', async (_, channel, kind) => {
    const { a, tensors, bulk } = await linked();
    const message = new Uint8Array(25);
    const part = kind === Kind.bulk ? { total: 1, offset: 0 } : undefined;
    writeHeader(new DataView(message.buffer), { ...partial(1), kind }, 1, part);
    [tensors, bulk][channel][1].send(message);
    await settled();
    expect(a.failure).toMatchObject({ code: 'malformed' });
  });

  test('closes on acknowledgements of what was never sent', async () => {
    const { a, tensors } = await linked();
    const buffer = createFrameBuffer(0);
    writeHeader(buffer.view, { ...partial(0), kind: Kind.ack, slot: 1, position: 1000 }, 1);
    tensors[1].send(buffer.bytes);
    await settled();
    expect(a.failure).toMatchObject({ code: 'malformed' });
  });

  test('tells everyone who asked, once, also when it is late', async () => {
    const { a } = await linked();
    const heard: string[] = [];
    a.onClosed((failure) => heard.push(`early ${failure.code}`));
    a.onClosed(() => heard.push('never'))();
    a.close(Object.assign(new Error('x'), { code: 'left', device: 1 }));
    a.onClosed((failure) => heard.push(`late ${failure.code}`));
    await settled();
    expect(heard).toEqual(['early left', 'late left']);
  });
});
