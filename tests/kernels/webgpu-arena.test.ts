/** Where tiles come to lie: what a layer's products can reach in one dispatch. */
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { type Allocation, type Arena, createArena } from '../../web/device/webgpu/arena.ts';
import { type CheckedDevice, checkedDevice } from '../../web/device/webgpu/gpu.ts';

const MIB = 2 ** 20;

/** A device whose buffers are only sizes. */
function fakeDevice(largest = 1024 * MIB): CheckedDevice & { sizes: number[] } {
  const sizes: number[] = [];
  const device = {
    limits: { maxStorageBufferBindingSize: largest, maxBufferSize: largest },
    createBuffer: ({ size }: { size: number }) => {
      sizes.push(size);
      return { size, destroy: () => sizes.splice(sizes.indexOf(size), 1) };
    },
    pushErrorScope: () => undefined,
    popErrorScope: () => Promise.resolve(null),
  };
  return { ...checkedDevice(device as unknown as GPUDevice), sizes };
}

/** Bytes of a 4-bit matrix with halves as scales. */
const q4 = (rows: number, cols: number) => (rows * cols * 20) / 32;
/** The matrices of a layer of SmolLM2-135M in the order of its file. */
const LAYER = [
  ...[q4(576, 1536), q4(1536, 576), q4(1536, 576)],
  ...[q4(192, 576), q4(576, 576), q4(576, 576), q4(192, 576)],
];
const LAYER_BYTES = LAYER.reduce((sum, bytes) => sum + bytes, 0);

async function fill(arena: Arena, layers: number, tiles = LAYER): Promise<Allocation[][]> {
  const all: Allocation[][] = [];
  for (let layer = 0; layer < layers; layer++) {
    const one: Allocation[] = [];
    for (const bytes of tiles) one.push(await arena.allocate(bytes, layer));
    all.push(one);
  }
  return all;
}

const chunksOf = (tiles: Allocation[]) => new Set(tiles.map(({ chunk }) => chunk)).size;

beforeAll(() => {
  vi.stubGlobal('GPUBufferUsage', { STORAGE: 1, COPY_DST: 2, COPY_SRC: 4 });
});

describe('layers', () => {
  test('every layer of the default model lies in one chunk, and no room is left over but for whole layers', async () => {
    const device = fakeDevice();
    const arena = createArena(device, LAYER_BYTES);
    await arena.allocate(30 * MIB);
    for (const layer of await fill(arena, 30)) expect(chunksOf(layer)).toBe(1);
    expect(device.sizes).toEqual([30 * MIB, ...Array(4).fill(8 * LAYER_BYTES)]);
  });

  test.each([0.3, 1.05, 1.9])('also where they take %s times what was thought', async (factor) => {
    const device = fakeDevice();
    const arena = createArena(device, LAYER_BYTES);
    const tiles = LAYER.map((bytes) => Math.ceil((bytes * factor) / 16) * 16);
    const layers = await fill(arena, 30, tiles);
    for (const layer of layers) expect(chunksOf(layer)).toBe(1);
    const needed = 30 * tiles.reduce((sum, bytes) => sum + bytes, 0);
    // The first chunk leaves less than a layer over, the last one less than its own size.
    expect(arena.bytes()).toBeLessThan(needed + needed / 30 + Math.max(...device.sizes));
  });

  test('a layer that is larger than a binding takes several chunks, each full', async () => {
    const device = fakeDevice(LAYER_BYTES / 2);
    const arena = createArena(device, LAYER_BYTES);
    await fill(arena, 4);
    expect(arena.bytes()).toBeLessThan(4 * LAYER_BYTES + LAYER_BYTES);
  });
});

test('room is given back, and a layer whose chunk went begins anew', async () => {
  const device = fakeDevice();
  const arena = createArena(device, LAYER_BYTES);
  const [first] = await fill(arena, 1);
  const [kept, ...others] = first!;
  for (const tile of others) arena.release(tile);
  // The same room again.
  for (const { at, bytes } of others) expect((await arena.allocate(bytes, 0)).at).toBe(at);
  for (const { at, bytes } of others) arena.release({ ...kept!, at, bytes });
  arena.release(kept!);
  expect(device.sizes).toEqual([]);
  expect(arena.bytes()).toBe(0);
  const again = await arena.allocate(LAYER[0]!, 0);
  expect(again.chunk).not.toBe(kept!.chunk);
  expect(device.sizes).toHaveLength(1);
});
