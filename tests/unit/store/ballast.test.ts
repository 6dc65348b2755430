import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createBallast } from '../../../web/device/store/ballast.ts';
import { freshIndexedDb, openStore } from './support.ts';

const MIB = 2 ** 20;
/** As they are made. */
let sizes: number[];

beforeEach(() => {
  freshIndexedDb();
  sizes = [];
});
afterEach(() => {
  vi.unstubAllGlobals();
});

function countBuffers(most = Number.POSITIVE_INFINITY): void {
  const Plain = ArrayBuffer;
  vi.stubGlobal(
    'ArrayBuffer',
    class extends Plain {
      constructor(bytes: number) {
        if (bytes > most) throw new RangeError('Array buffer allocation failed');
        super(bytes);
        if (bytes >= MIB) sizes.push(bytes);
      }
    },
  );
}

test('a stretch of values makes the collector feel four times its bytes, where there is room for them', () => {
  countBuffers(8 * MIB);
  const ballast = createBallast();
  ballast(MIB);
  ballast(2 * MIB);
  ballast(4 * MIB);
  expect(sizes).toEqual([4 * MIB, 8 * MIB]);
});

test('what a store puts is felt once, and so is what it gets', async () => {
  const { store } = await openStore();
  const name = { digest: 'd', tensor: 't', axis: 'rows' as const, range: [0, 1] as [number, number], bytes: 2 * MIB };
  const bytes = new Uint8Array(2 * MIB).fill(3);
  countBuffers();
  store.write(name, bytes);
  await store.flush();
  expect(sizes.filter((size) => size === 8 * MIB)).toHaveLength(1);
  expect((await store.read([name]))[0]?.[0]).toBe(3);
  expect(sizes.filter((size) => size === 8 * MIB)).toHaveLength(2);
});
