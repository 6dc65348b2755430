/** A device's backend takes a while to make: what becomes of it when the host wants something else meanwhile. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import type { Backend, BackendOptions } from '../../../web/device/backend.ts';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { type DevicePlay, type PlayedMesh, playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

let model: OpenedModel;
let mesh: PlayedMesh;

beforeAll(async () => {
  const file = 'tests/fixtures/tiny-llama.Q4_0.gguf';
  model = await readModel(bytesSource(readFileSync(repoPath(file)), 'tiny-llama.Q4_0.gguf'));
});
afterEach(() => mesh.close());

/** A device whose backends are made when `give` is called, and those that it has been given. */
async function slowDevice(play: DevicePlay = {}) {
  const asked: { options: BackendOptions; give(): Promise<void> }[] = [];
  const living = new Set<BackendOptions>();
  mesh = playMesh({ model });
  const device = await mesh.join(1, {
    ...play,
    makeBackend: (options) =>
      new Promise<Backend>((resolve) => {
        const give = async () => {
          const backend = await wasmBackend(options);
          living.add(options);
          const destroy = () => {
            living.delete(options);
            backend.destroy();
          };
          resolve({ ...backend, destroy });
        };
        asked.push({ options, give });
      }),
  });
  return { device, asked, living };
}

/** Whole model on device 1. */
function load(context: number) {
  const controller = new AbortController();
  const loading = mesh.load({ lend: false, context }, controller.signal);
  loading.catch(() => undefined);
  return { loading, stop: () => controller.abort(new Error('stopped')) };
}

test('for another model it is made anew, and the one that comes late is destroyed', async () => {
  const { asked, living } = await slowDevice();
  const first = load(64);
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  first.stop();
  await expect(first.loading).rejects.toThrow('stopped');
  const second = load(128);
  await vi.waitFor(() => expect(asked).toHaveLength(2));
  await asked[1]!.give();
  const session = await second.loading;
  await asked[0]!.give();
  await vi.waitFor(() => expect([...living].map(({ context }) => context)).toEqual([128]));
  const { ids } = await session.loop.generate(
    { ids: [1, 2, 3], maxTokens: 100, ignoreEos: true },
    { onToken: () => {} },
  );
  expect(ids).toHaveLength(100);
});

test('when the host went away meanwhile it is destroyed', async () => {
  const { device, asked, living } = await slowDevice();
  const first = load(64);
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  first.stop();
  await expect(first.loading).rejects.toThrow('stopped');
  await device.service.close();
  await asked[0]!.give();
  await vi.waitFor(() => expect(living.size).toBe(0));
});

test('it is not begun for a load that was stopped while the model was being opened', async () => {
  let open: () => void = () => {};
  const opening = new Promise<undefined>((resolve) => (open = () => resolve(undefined)));
  const opened = vi.fn(() => opening);
  const { device, asked } = await slowDevice({ openStore: opened });
  const first = load(64);
  await vi.waitFor(() => expect(opened).toHaveBeenCalled());
  first.stop();
  await expect(first.loading).rejects.toThrow('stopped');
  open();
  await device.service.close();
  for (let i = 0; i < 20; i++) await Promise.resolve();
  expect(asked).toHaveLength(0);
});
