import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { createPartReader } from '../../../web/device/store/reader.ts';
import type { ByteProgress } from '../../../web/device/store/types.ts';
import { BLOCKS } from '../../../web/model/quant.ts';
import type { ByteSource, TensorType } from '../../../web/model/types.ts';
import type { Range } from '../../../web/plan/types.ts';
import { countingSource, expectedBytes, freshIndexedDb, openStore, patternBytes, tensorOf } from './support.ts';

beforeEach(freshIndexedDb);

const TYPES = Object.keys(BLOCKS) as TensorType[];

/** A tensor of up to about 5 MiB, so that pieces meet grid lines, and parts of it that members may ask for. */
const tensorAndParts = fc
  .record({
    name: fc.constantFrom(
      'blk.0.attn_q.weight',
      'blk.0.attn_output.weight',
      'blk.3.ffn_down.weight',
      'token_embd.weight',
    ),
    type: fc.constantFrom(...TYPES),
    rows: fc.integer({ min: 1, max: 70 }),
    runs: fc.integer({ min: 1, max: 60 }),
    offset: fc.integer({ min: 0, max: 3 }),
    strided: fc.boolean(),
  })
  .chain(({ name, type, rows, runs, offset, strided }) => {
    const cols = runs * 256;
    const byColumns = /attn_output|ffn_down/.test(name);
    const range = (length: number) =>
      fc
        .tuple(fc.integer({ min: 0, max: length - 1 }), fc.integer({ min: 1, max: length }))
        .map(([from, size]): Range => [from, Math.min(length, from + size)]);
    const part = fc.record({
      rows: byColumns ? fc.constant<Range>([0, rows]) : range(rows),
      cols: byColumns
        ? range(cols / 32).map(([from, to]): Range => [from * 32, to * 32])
        : fc.constant<Range>([0, cols]),
      reopen: fc.boolean(),
    });
    return fc.record({
      tensor: fc.constant(tensorOf(name, type, rows, cols, offset * 32)),
      strided: fc.constant(strided),
      parts: fc.array(part, { minLength: 1, maxLength: 6 }),
    });
  });

describe('parts of a tensor', () => {
  test('are the bytes of the file, and no byte is fetched twice while it is stored', async () => {
    await fc.assert(
      fc.asyncProperty(tensorAndParts, async ({ tensor, strided, parts }) => {
        freshIndexedDb();
        const file = patternBytes(tensor.offset + tensor.bytes);
        const source = countingSource(file, { strided });
        let { store } = await openStore();
        for (const { rows, cols, reopen } of parts) {
          const reader = createPartReader({ source, digest: 'd', store });
          const { bytes, widened } = await reader.read({ tensor, rows, cols });
          expect(widened[0]).toBeLessThanOrEqual(cols[0]);
          expect(widened[1]).toBeGreaterThanOrEqual(cols[1]);
          expect(Buffer.compare(bytes, expectedBytes(file, tensor, rows, widened))).toBe(0);
          await store.flush();
          if (reopen) ({ store } = await openStore());
        }
        // A source that cannot cut columns has to read rows again for columns that are new.
        const cutsExactly = strided || !/attn_output|ffn_down/.test(tensor.name);
        if (cutsExactly) expect(source.counts.every((count) => count <= 1)).toBe(true);
        const before = source.requests.length;
        for (const { rows, cols } of parts) {
          await createPartReader({ source, digest: 'd', store }).read({ tensor, rows, cols });
        }
        expect(source.requests.length).toBe(before);
      }),
      { numRuns: 60 },
    );
  });

  test('may be any rectangle, across the axis that the tensor is split along', async () => {
    const file = patternBytes(4 << 20);
    for (const tensor of [
      tensorOf('blk.0.attn_q.weight', 'Q4_1', 64, 512),
      tensorOf('blk.0.ffn_down.weight', 'Q6_K', 64, 1024),
      tensorOf('blk.0.ffn_down.weight', 'F32', 64, 100),
    ]) {
      const { store } = await openStore();
      const reader = createPartReader({ source: countingSource(file), digest: tensor.type, store });
      const { bytes, widened } = await reader.read({ tensor, rows: [3, 40], cols: [32, 96] });
      expect(Buffer.compare(bytes, expectedBytes(file, tensor, [3, 40], widened))).toBe(0);
    }
  });

  test('a changed share fetches only what is new', async () => {
    const tensor = tensorOf('blk.0.ffn_down.weight', 'Q4_0', 64, 1024);
    const source = countingSource(patternBytes(tensor.bytes), { strided: true });
    const { store } = await openStore();
    const reader = createPartReader({ source, digest: 'd', store });
    await reader.read({ tensor, rows: [0, 64], cols: [0, 512] });
    expect(source.taken()).toBe(tensor.bytes / 2);
    await store.flush();
    await reader.read({ tensor, rows: [0, 64], cols: [256, 768] });
    expect(source.taken()).toBe(tensor.bytes / 4);
  });

  test('a model with another digest shares nothing', async () => {
    const tensor = tensorOf('blk.0.attn_q.weight', 'Q8_0', 64, 64);
    const source = countingSource(patternBytes(tensor.bytes));
    const { store } = await openStore();
    await createPartReader({ source, digest: 'a', store }).read({ tensor, rows: [0, 64], cols: [0, 64] });
    await store.flush();
    await createPartReader({ source, digest: 'b', store }).read({ tensor, rows: [0, 64], cols: [0, 64] });
    expect(source.taken()).toBe(2 * tensor.bytes);
  });
});

describe('a stream of parts', () => {
  const tensors = Array.from({ length: 200 }, (_, i) =>
    tensorOf(`blk.${i}.attn_q.weight`, 'Q8_0', 64, 1024, i * 69632),
  );
  const parts = tensors.map((tensor) => ({ tensor, rows: [0, 64] as Range, cols: [0, 1024] as Range }));
  const file = patternBytes(200 * 69632);

  test('joins adjacent tensors to few large requests and tells how far it is', async () => {
    const source = countingSource(file);
    let last: ByteProgress | undefined;
    const reader = createPartReader({ source, digest: 'd' });
    let index = 0;
    for await (const { part, bytes } of reader.stream(parts, { onProgress: (progress) => (last = progress) })) {
      expect(part).toBe(parts[index++]);
      expect(Buffer.compare(bytes, expectedBytes(file, part.tensor, part.rows, part.cols))).toBe(0);
    }
    expect(index).toBe(200);
    expect(source.requests.length).toBeLessThan(20);
    expect(last).toEqual({ stored: 0, fetched: file.length, transferred: file.length, total: file.length });
  });

  test('leaves alone what a source gives, which may be a part of what it keeps', async () => {
    const kept = [patternBytes(1 << 20, 1), patternBytes(1 << 20, 2)] as const;
    const far = Array.from({ length: 60 }, (_, i) => tensorOf(`blk.${i}.attn_q.weight`, 'F32', 256, 1024, i << 21));
    const source: ByteSource = {
      ...{ name: 'kept.gguf', size: 120 << 20 },
      read: async (from, to) => kept[(from >> 21) & 1]!.subarray(0, to - from),
    };
    const stream = createPartReader({ source, digest: 'd' }).stream(
      far.map((tensor) => ({ tensor, rows: [0, 256], cols: [0, 1024] })),
    );
    let index = 0;
    for await (const { bytes } of stream) {
      expect(Buffer.compare(bytes, patternBytes(1 << 20, 1 + (index & 1)))).toBe(0);
      index++;
    }
    expect(index).toBe(60);
  });

  test('reads ahead no more than its bound while the caller waits', async () => {
    const big = patternBytes(100 << 20);
    const wide = Array.from({ length: 100 }, (_, i) => tensorOf(`blk.${i}.attn_q.weight`, 'F32', 256, 1024, i << 20));
    const source = countingSource(big);
    const stream = createPartReader({ source, digest: 'd' }).stream(
      wide.map((tensor) => ({ tensor, rows: [0, 256], cols: [0, 1024] })),
    );
    await stream.next();
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(source.taken()).toBeLessThanOrEqual(16 << 20);
    await stream.return();
  });

  test('asks for the next part while the caller has one that is larger than what is read ahead', async () => {
    const MIB = 1 << 20;
    const source = countingSource(patternBytes(21 * MIB));
    const large = tensorOf('token_embd.weight', 'F32', 5120, 1024, 0);
    const small = tensorOf('blk.0.attn_q.weight', 'F32', 256, 1024, 20 * MIB);
    const stream = createPartReader({ source, digest: 'd' }).stream(
      [large, small].map((tensor) => ({ tensor, rows: [0, tensor.rows], cols: [0, 1024] })),
    );
    await stream.next();
    await expect.poll(() => source.counts[20 * MIB]).toBe(1);
    await stream.return();
  });

  test('stops with the reason of the signal, and what it stored stays', async () => {
    const source = countingSource(file);
    const { store } = await openStore();
    const abort = new AbortController();
    const reader = createPartReader({ source, digest: 'd', store });
    const run = async () => {
      for await (const { part } of reader.stream(parts, { signal: abort.signal })) {
        if (part === parts[20]) abort.abort(new Error('enough'));
      }
    };
    await expect(run()).rejects.toThrow('enough');
    await store.flush();
    expect(store.held('d', tensors[5]!.name, 'rows')).toEqual([[0, 64]]);
  });

  test('fails with the fault of the source', async () => {
    const source: ByteSource = {
      ...countingSource(file),
      read: (from) =>
        from > 5_000_000 ? Promise.reject(new Error('line cut')) : Promise.resolve(file.slice(from, from + 2_000_000)),
    };
    const run = async () => {
      for await (const _ of createPartReader({ source, digest: 'd' }).stream(parts));
    };
    await expect(run()).rejects.toThrow();
  });

  test.each([
    ['too short', -1],
    ['too long', 1],
  ])('refuses an answer that is %s, and stores nothing of it', async (_, extra) => {
    const source: ByteSource = {
      name: 'odd server',
      size: file.length,
      read: async (from, to) => file.slice(from, to + extra),
    };
    const { store } = await openStore();
    const reader = createPartReader({ source, digest: 'd', store });
    await expect(reader.read(parts[0]!)).rejects.toMatchObject({ name: 'ModelError', code: 'truncated' });
    await store.flush();
    expect(await store.list()).toEqual([]);
  });
});

describe('without a store', () => {
  test('reads whole rows once where columns cannot be cut, and counts only wanted bytes', async () => {
    const tensor = tensorOf('blk.0.ffn_down.weight', 'Q5_0', 128, 2048);
    const file = patternBytes(tensor.bytes);
    const source = countingSource(file);
    let last: ByteProgress | undefined;
    const part = { tensor, rows: [0, 128] as Range, cols: [64, 576] as Range };
    for await (const { bytes, widened } of createPartReader({ source, digest: 'd' }).stream([part], {
      onProgress: (progress) => (last = progress),
    })) {
      expect(Buffer.compare(bytes, expectedBytes(file, tensor, [0, 128], widened))).toBe(0);
    }
    expect(source.counts.every((count) => count <= 1)).toBe(true);
    expect(last).toEqual({ stored: 0, fetched: tensor.bytes / 4, transferred: tensor.bytes, total: tensor.bytes / 4 });
  });
});
