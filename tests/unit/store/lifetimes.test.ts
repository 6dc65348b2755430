/** Buffers that are used over and over: whatever is given back is spoilt at once, so that nobody may still look at it. */
import fc from 'fast-check';
import { beforeEach, expect, test, vi } from 'vitest';
import { createPartReader } from '../../../web/device/store/reader.ts';
import type { TensorType } from '../../../web/model/types.ts';
import type { Range } from '../../../web/plan/types.ts';
import { countingSource, expectedBytes, freshIndexedDb, openStore, patternBytes, tensorOf } from './support.ts';

const { spoil } = vi.hoisted(() => ({
  spoil({ buffer }: ArrayBufferView) {
    new Uint8Array(buffer).fill(0xa5);
  },
}));
vi.mock('../../../web/model/free.ts', () => ({ freeBuffer: spoil }));
vi.mock('../../../web/model/spare.ts', async (original) => {
  const { createSpareBuffers } = await original<typeof import('../../../web/model/spare.ts')>();
  return {
    createSpareBuffers(most: number) {
      const buffers = createSpareBuffers(most);
      return {
        ...buffers,
        give(view: ArrayBufferView) {
          spoil(view);
          buffers.give(view);
        },
      };
    },
  };
});

beforeEach(freshIndexedDb);

const NAMES = ['attn_q', 'ffn_down', 'attn_output', 'ffn_gate'];
const TYPES: TensorType[] = ['Q4_0', 'Q8_0', 'F32'];
/** Of less than a piece to more than two. */
const tensors = Array.from({ length: 8 }, (_, i) => {
  const type = TYPES[i % TYPES.length]!;
  return tensorOf(`blk.${i}.${NAMES[i % NAMES.length]}.weight`, type, 64 + 96 * i, 1024, i << 22);
});
const file = patternBytes(8 << 22);

const part = fc
  .tuple(fc.constantFrom(...tensors), fc.nat({ max: 31 }), fc.integer({ min: 1, max: 32 }))
  .map(([tensor, from, length]) => {
    const unit = (/ffn_down|attn_output/.test(tensor.name) ? tensor.cols : tensor.rows) / 32;
    const range: Range = [from * unit, Math.min(32, from + length) * unit];
    const whole = { rows: [0, tensor.rows] as Range, cols: [0, tensor.cols] as Range };
    return { tensor, ...whole, [unit === tensor.cols / 32 ? 'cols' : 'rows']: range };
  });
/** A load: its parts, how many of them are taken before it is given up, and whether the source answers several places at once. */
const load = fc.record({
  parts: fc.array(part, { minLength: 1, maxLength: 12 }),
  taken: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat({ max: 6 })),
  many: fc.boolean(),
  flush: fc.boolean(),
});

test('what is read and what is stored are the bytes of the file, also of loads that are given up', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(load, { minLength: 1, maxLength: 4 }), async (loads) => {
      freshIndexedDb();
      const { store } = await openStore();
      for (const { parts, taken, many, flush } of loads) {
        const source = countingSource(file, { strided: true, many });
        const abort = new AbortController();
        let index = 0;
        const run = async () => {
          const sorted = parts.toSorted((a, b) => a.tensor.offset - b.tensor.offset);
          const stream = createPartReader({ source, digest: 'd', store }).stream(sorted, { signal: abort.signal });
          for await (const { part, bytes, widened } of stream) {
            await new Promise((resolve) => setImmediate(resolve));
            expect(Buffer.compare(bytes, expectedBytes(file, part.tensor, part.rows, widened))).toBe(0);
            if (index++ === taken) abort.abort(new Error('enough'));
          }
        };
        if (taken < parts.length - 1) await expect(run()).rejects.toThrow('enough');
        else await run();
        if (flush) await store.flush();
      }
      await store.flush();
      const { store: opened } = await openStore();
      for (const tensor of tensors) {
        const axis = /ffn_down|attn_output/.test(tensor.name) ? 'cols' : 'rows';
        for (const [from, to] of opened.held('d', tensor.name, axis)) {
          const run = axis === 'cols' ? 32 : 1;
          const whole = { rows: [0, tensor.rows] as Range, cols: [0, tensor.cols] as Range };
          const held = { ...whole, [axis]: [from * run, to * run] };
          const bytes = expectedBytes(file, tensor, held.rows, held.cols);
          const name = {
            digest: 'd',
            tensor: tensor.name,
            axis,
            range: [from, to] as Range,
            bytes: bytes.length,
          } as const;
          const [stored] = await opened.read([name]);
          expect(stored && Buffer.compare(stored, bytes)).toBe(0);
        }
      }
    }),
    { numRuns: 25 },
  );
}, 60_000);
