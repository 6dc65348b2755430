/** Devices that vanish, come back, pause or fail, at any moment: the text stays that of one device. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type Backend, type BackendOptions, DeviceError } from '../../../web/device/backend.ts';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import type { Session } from '../../../web/host/session.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { Plan } from '../../../web/plan/types.ts';
import { readGolden } from '../../support/golden.ts';
import { type MeshPlay, type PlayedMesh, playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const NAME = 'tiny-llama.Q4_0';
const TOKENS = 16;
const { ids } = readGolden(repoPath(`tests/fixtures/${NAME}.json`)).cases.find(({ name }) => name === 'ids33')!;

let model: OpenedModel;
let unbroken: number[];
let mesh: PlayedMesh;

async function open(devices: number[], play: Omit<MeshPlay, 'model'> = {}): Promise<PlayedMesh> {
  mesh = playMesh({ ...play, model });
  for (const device of devices) await mesh.join(device);
  return mesh;
}

/** A greedy answer; `each` is called after every token. */
async function answer(session: Session, each: (t: number) => void = () => undefined): Promise<number[]> {
  let t = 0;
  const result = await session.loop.generate(
    { ids, maxTokens: TOKENS, temperature: 0, ignoreEos: true, reuse: false },
    { onToken: () => each(++t) },
  );
  return result.ids;
}

const devicesOf = (plan: Plan) => plan.stages.flatMap(({ members }) => members.map(({ device }) => device));
const computing = (session: Session) => devicesOf(session.info.plan);
/** Other programs may keep the machine busy. */
const eventually = (check: () => void) => vi.waitFor(check, { timeout: 30_000 });
const told = () => mesh.logs.map(({ text }) => text).join('\n');

beforeAll(async () => {
  const file = `tests/fixtures/${NAME}.gguf`;
  model = await readModel(bytesSource(readFileSync(repoPath(file)), `${NAME}.gguf`));
  await open([]);
  unbroken = await answer(await mesh.load());
  await mesh.close();
});
afterEach(() => mesh.close());

describe('a device is lost in the middle of an answer', () => {
  const indices = Array.from({ length: TOKENS }, (_, i) => i + 1);

  test.each(indices)('after token %i: the rest go on', async (at) => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const late = at % 3;
    const text = await answer(session, (t) => {
      if (t === at) mesh.kill(1 + (at % 2), (other) => (other === late ? 15 : 0));
    });
    expect(text).toEqual(unbroken);
    await eventually(() => expect(computing(session)).toEqual([0, 2 - (at % 2)]));
    expect(told()).toContain(`Device ${1 + (at % 2)} is gone`);
  });

  test.each([
    ['the middle of a pipeline', '1@1*1@2*1@1', 1, [0, 2]],
    ['the end of a pipeline', '1@1*1@2*1@1', 2, [0, 1]],
    ['the second stage’s leader', '1@2*1:1@2', 1, [0, 2]],
    ['one of the second stage', '1@2*1:1@2', 2, [0, 1]],
  ] as const)('%s', async (_, ratios, lost, left) => {
    await open([1, 2]);
    const session = await mesh.load({ ratios });
    expect(await answer(session, (t) => t === 5 && mesh.kill(lost))).toEqual(unbroken);
    expect(computing(session)).toEqual(left);
  });

  test('and while the prompt is read', async () => {
    let prompt = false;
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const link = mesh.devices.get(1)!.links.get(2)!;
    // The first frame between two devices that is no greeting: the prompt's first sum.
    const send = link.tensors[0].send;
    link.tensors[0].send = (message) => {
      if (!prompt) setImmediate(() => mesh.kill(2));
      prompt = true;
      send(message);
    };
    expect(await answer(session)).toEqual(unbroken);
    expect(prompt).toBe(true);
    expect(computing(session)).toEqual([0, 1]);
  });

  test('two at once, one of them noticed later', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const text = await answer(session, (t) => {
      if (t !== 4) return;
      mesh.kill(1);
      mesh.kill(2, () => 60);
    });
    expect(text).toEqual(unbroken);
    expect(computing(session)).toEqual([0]);
  });

  test('and then the other', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const text = await answer(session, (t) => {
      if (t === 4) mesh.kill(1);
      if (t === 9) mesh.kill(2);
    });
    expect(text).toEqual(unbroken);
    expect(computing(session)).toEqual([0]);
  });

  test('of a host that only conducts', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '1:1', lend: false });
    expect(computing(session)).toEqual([1, 2]);
    expect(await answer(session, (t) => t === 6 && mesh.kill(1))).toEqual(unbroken);
    expect(computing(session)).toEqual([2]);
  });

  test('the only one of a host that only conducts: it is waited for', async () => {
    await open([1]);
    const session = await mesh.load({ lend: false });
    const text = await answer(session, (t) => {
      if (t !== 6) return;
      mesh.kill(1);
      setTimeout(() => void mesh.join(1), 100);
    });
    expect(text).toEqual(unbroken);
    expect(computing(session)).toEqual([1]);
  });
});

describe('a device that comes back', () => {
  test('is taken into the plan again, also in the middle of the answer', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const before = session.info.plan;
    const text = await answer(session, (t) => {
      if (t === 3) mesh.kill(1);
      if (t === 7) void mesh.join(1);
    });
    expect(text).toEqual(unbroken);
    await eventually(() => expect(session.info.plan.stages).toEqual(before.stages));
    expect(await answer(session)).toEqual(unbroken);
  });

  test('before anyone has noticed more than its going', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    const text = await answer(session, (t) => {
      if (t !== 3) return;
      mesh.kill(1);
      void mesh.join(1);
    });
    expect(text).toEqual(unbroken);
    await eventually(() => expect(computing(session)).toEqual([0, 1, 2]));
  });

  test('while nobody asked for anything', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '1@1*1:1' });
    const first = await answer(session);
    mesh.kill(1);
    await eventually(() => expect(computing(session)).toEqual([0, 2]));
    await mesh.join(1);
    await eventually(() => expect(computing(session)).toEqual([0, 1, 2]));
    // The conversation's tokens are held no more, which the loop finds out.
    const again = await session.loop.generate({ ids: [...ids, ...first.slice(0, 8)], maxTokens: 8, temperature: 0 });
    expect(again.ids).toEqual(unbroken.slice(8));
  });

  test('a spare device steps in for a lost one', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '1:1' });
    expect(computing(session)).toEqual([0, 1]);
    expect(await answer(session, (t) => t === 3 && mesh.kill(1))).toEqual(unbroken);
    await eventually(() => expect(computing(session)).toEqual([0, 2]));
    expect(await answer(session)).toEqual(unbroken);
  });
});

describe('a device that pauses', () => {
  test('leaves the plan and comes back to it', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    /** An answer in the middle of which device 1 pauses, or comes back. */
    const while1 = (paused: boolean) =>
      answer(session, (t) => {
        if (t === 3) mesh.devices.get(1)!.service.setPaused(paused);
      });
    expect(await while1(true)).toEqual(unbroken);
    await eventually(() => expect(computing(session)).toEqual([0, 2]));
    expect(await while1(false)).toEqual(unbroken);
    await eventually(() => expect(computing(session)).toEqual([0, 1, 2]));
    mesh.devices.get(2)!.service.setPaused(true);
    await eventually(() => expect(computing(session)).toEqual([0, 1]));
    expect(mesh.statuses().find(({ index }) => index === 2)).toMatchObject({ state: 'paused', weightBytes: 0 });
    expect(await answer(session)).toEqual(unbroken);
  });
});

describe('while the plan changes', () => {
  test.each([
    ['a device that gives', 'prepare', 1],
    ['a device that is new', 'prepare', 3],
    ['a device that gives', 'send-kv', 1],
    ['a device that is new', 'send-kv', 3],
    ['a device that stays', 'commit', 2],
    ['a device that is new', 'commit', 3],
    ['a device that leaves', 'commit', 1],
  ])('%s is lost at %s: the text goes on', async (_, type, lost) => {
    let armed = false;
    await open([1, 2, 3], {
      onRequest(_device, asked) {
        if (!armed || asked !== type) return;
        armed = false;
        setImmediate(() => mesh.kill(lost));
      },
    });
    const session = await mesh.load({ ratios: '2:3:3' });
    let change: Promise<unknown> = Promise.resolve();
    const text = await answer(session, (t) => {
      if (t !== 4) return;
      armed = true;
      // Device 1 gives up its part to device 3.
      change = session.moves
        .replace((plan) => ({
          epoch: plan.epoch + 1,
          stages: plan.stages.map(({ layers, members }) => ({
            layers,
            members: members.map((member) => ({ ...member, device: member.device === 1 ? 3 : member.device })),
          })),
        }))
        .catch(() => undefined);
    });
    await change;
    expect(armed).toBe(false);
    expect(text).toEqual(unbroken);
    expect(await answer(session)).toEqual(unbroken);
    expect(computing(session)).not.toContain(lost);
  });
});

describe('what fails without anyone leaving', () => {
  test('a link between two devices breaks and is made anew: all of them go on', async () => {
    await open([1, 2]);
    const session = await mesh.load({ ratios: '2:3:3' });
    expect(await answer(session, (t) => t === 5 && mesh.breakLink(1, 2, 30))).toEqual(unbroken);
    expect(computing(session)).toEqual([0, 1, 2]);
  });

  test('a device’s backend is lost once: it goes on; twice: the others do without it', async () => {
    const failing = [9, 8];
    const play = { makeBackend: (options: BackendOptions) => failingAfter(options, failing.shift()) };
    await open([1]);
    await mesh.join(2, play);
    const session = await mesh.load({ ratios: '2:3:3' });
    expect(await answer(session)).toEqual(unbroken);
    expect(computing(session)).toEqual([0, 1]);
    expect(told()).toContain('Device 2 failed: played');
    // Loaded anew, it is trusted again.
    mesh.kill(2);
    await mesh.join(2);
    await eventually(() => expect(computing(session)).toEqual([0, 1, 2]));
    expect(await answer(session)).toEqual(unbroken);
  });

  test('the host’s own backend, while others compute too', async () => {
    const failing = [9, 8, 7];
    await open([1], { own: { makeBackend: (options) => failingAfter(options, failing.shift()) } });
    const session = await mesh.load({ ratios: '1:1' });
    expect(await answer(session)).toEqual(unbroken);
    expect(computing(session)).toEqual([1]);
  });
});

/** A backend that breaks in its n-th step; never where n is undefined. */
async function failingAfter(options: BackendOptions, n: number | undefined): Promise<Backend> {
  const backend = await wasmBackend(options);
  let steps = 0;
  return {
    ...backend,
    async run(step) {
      if (++steps === n) throw new DeviceError('lost', 'played');
      return backend.run(step);
    },
  };
}

describe('loading', () => {
  test('waits for the devices that the ratios name', async () => {
    await open([]);
    const loading = mesh.load({ ratios: '1:1:1' });
    await mesh.join(1);
    await mesh.join(2);
    expect(computing(await loading)).toEqual([0, 1, 2]);
  });

  test('waits for a device that goes away while it loads, and takes it when it is back', async () => {
    let armed = true;
    await open([1, 2], {
      onRequest(device, type) {
        if (!armed || device !== 2 || type !== 'prepare') return;
        armed = false;
        setImmediate(() => {
          mesh.kill(2);
          setTimeout(() => void mesh.join(2), 50);
        });
      },
    });
    const session = await mesh.load({ ratios: '2:3:3' });
    expect(computing(session)).toEqual([0, 1, 2]);
    expect(await answer(session)).toEqual(unbroken);
  });

  test('ends when the caller ends it', async () => {
    await open([1]);
    const controller = new AbortController();
    const loading = mesh.load({ ratios: '1:1:1' }, controller.signal);
    setTimeout(() => controller.abort(new Error('enough')), 20);
    await expect(loading).rejects.toThrow('enough');
  });

  test('says which layers lack how much, before anything is loaded', async () => {
    const asked: string[] = [];
    await open([1], { onRequest: (_, type) => void asked.push(type) });
    await mesh.join(2, { memoryLimit: 200_000 });
    await expect(mesh.load({ ratios: '1@1*1:1@3' })).rejects.toMatchObject({
      code: 'memory',
      message: expect.stringMatching(/layers 1 to 3 need about .* but device 2 may use .* are missing/),
    });
    expect(asked).toEqual([]);
  });
});

test('a device that refuses its part again and again is not asked without end', async () => {
  let refusing = true;
  let asked = 0;
  await open([1], { onRequest: (device, type) => void (device === 2 && type === 'prepare' && asked++) });
  const session = await mesh.load({ ratios: '1:1' });
  mesh.kill(1);
  await eventually(() => expect(computing(session)).toEqual([0]));
  await mesh.join(2, {
    makeBackend: (options) =>
      refusing ? Promise.reject(new DeviceError('memory', 'There is no room.')) : wasmBackend(options),
  });
  await eventually(() => expect(told()).toContain('could not be rearranged: Device 2: There is no room.'));
  expect(await answer(session)).toEqual(unbroken);
  // Once for the device's coming, and a few times more at growing distances.
  expect(asked).toBeLessThan(6);
  refusing = false;
  // After a while it is tried again by itself.
  await eventually(() => expect(computing(session)).toEqual([0, 2]));
});

test('ratios for which a device has no room are refused, with the layers and how much is missing', async () => {
  await open([1]);
  await mesh.join(2, { memoryLimit: 1_200_000 });
  const session = await mesh.load({ ratios: '4:3:1' });
  const asked = mesh.logs.length;
  const refused = {
    code: 'refused',
    message: expect.stringMatching(/Layers 1 to 3 would need \d+ MB on device 2 .* may use 2 MB: \d+ MB are missing/),
  };
  await expect(session.moves.setRatios('1@1*1:9@3')).rejects.toMatchObject(refused);
  // Before anything is changed, too: the page shows why while the person types.
  expect(() => session.preview('1@1*1:9@3')).toThrow(expect.objectContaining(refused));
  expect(mesh.logs).toHaveLength(asked);
  expect(computing(session)).toEqual([0, 1, 2]);
  expect(await answer(session)).toEqual(unbroken);
});
