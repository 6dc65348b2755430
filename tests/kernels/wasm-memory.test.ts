/** The allocator over a WebAssembly.Memory: zeroed, grown once for a whole share, and no memory touched that nobody needs. */
import { afterEach, expect, test, vi } from 'vitest';
import { loadShare } from '../../web/device/loader/load.ts';
import { createPartReader } from '../../web/device/store/reader.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { createMemory } from '../../web/device/wasm/memory.ts';
import { kernelModule, openModel, repoPath, wholeShare } from '../support/node-model.ts';

const BASE = 8192;
const PAGE = 65536;
const memoryOf = (pages: number) => new WebAssembly.Memory({ initial: pages, maximum: 4096 });

afterEach(() => {
  vi.restoreAllMocks();
});

test('what somebody else has written is zeroed when it is handed out, and only that', () => {
  const raw = memoryOf(4);
  new Uint8Array(raw.buffer).fill(7);
  const dirty = 2 * PAGE;
  const memory = createMemory(raw, BASE, dirty);
  const at = memory.allocate(3 * PAGE);
  const bytes = memory.u8().subarray(at, at + 3 * PAGE);
  expect(bytes.subarray(0, dirty - at).every((byte) => byte === 0)).toBe(true);
  // Beyond the end of what was written lies what the system gives: zeros in truth, sevens here to see that nobody writes.
  expect(bytes.subarray(dirty - at, 4 * PAGE - at).every((byte) => byte === 7)).toBe(true);
  expect(memory.touched()).toBe(at + 3 * PAGE);

  memory.u8().fill(9, at, at + 3 * PAGE);
  memory.free(at);
  const again = memory.allocate(3 * PAGE);
  expect(again).toBe(at);
  expect(
    memory
      .u8()
      .subarray(at, at + 3 * PAGE)
      .every((byte) => byte === 0),
  ).toBe(true);
});

test('room is made at once, and as far as there is any', () => {
  const memory = createMemory(memoryOf(1), BASE);
  const grow = vi.spyOn(memory.memory, 'grow');
  memory.reserve(40 << 20);
  for (let i = 0; i < 40; i++) memory.allocate(1 << 20);
  expect(grow).toHaveBeenCalledTimes(1);
  // A hint must not fail; what is allocated in truth does.
  memory.reserve(1 << 30);
  expect(() => memory.allocate(1 << 30)).toThrow(expect.objectContaining({ code: 'memory' }));
});

// The estimate is WebGPU's where that takes more: 20 bytes instead of 18 for a block of Q4_0.
test.each([
  ['tiny-llama.Q4_0', 20 / 18],
  ['tiny-qwen2.Q4_K_M', 1],
] as const)('a load of %s asks for the room of all its weights first, or %f of it at most', async (name, most) => {
  const { catalogue, file, hyper } = await openModel(repoPath(`tests/fixtures/${name}.gguf`));
  const backend = await createWasmBackend({
    ...{ hyper, context: 32, maxBatch: 1, threads: 1, module: kernelModule('relaxed') },
  });
  const reader = createPartReader({ source: file.source, digest: file.digest });
  const before = backend.memory().weights;
  const room: number[] = [];
  const reserve = (bytes: number) => {
    expect(backend.memory().weights).toBe(before);
    room.push(bytes);
  };
  await loadShare({ catalogue, reader, backend: { ...backend, reserve }, share: wholeShare(hyper) });
  const { weights } = backend.memory();
  expect(room).toHaveLength(1);
  expect(room[0]).toBeGreaterThanOrEqual(weights);
  expect(room[0]).toBeLessThanOrEqual(weights * most);
  backend.destroy();
});
