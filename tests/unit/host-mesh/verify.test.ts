/** `?verify=1`: members compare their replicas of the residual stream, and the host computes parts of theirs once more. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Backend, BackendOptions } from '../../../web/device/backend.ts';
import type { LoadRequest } from '../../../web/host/engine-types.ts';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import type { Session } from '../../../web/host/session.ts';
import { NUMBER_TYPES } from '../../../web/mesh/wire.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { readGolden } from '../../support/golden.ts';
import { type PlayedMesh, playMesh, wasmBackend } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const NAME = 'tiny-llama.Q4_0';
const { ids } = readGolden(repoPath(`tests/fixtures/${NAME}.json`)).cases.find(({ name }) => name === 'ids33')!;

let model: OpenedModel;
let mesh: PlayedMesh;
beforeAll(async () => {
  model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${NAME}.gguf`)), `${NAME}.gguf`));
});
afterEach(() => mesh.close());

/** A backend that adds one number of every sum wrongly while `faulty` says so: by an eighth, too little to be seen in the text. */
async function addingWrongly(options: BackendOptions, faulty: () => boolean): Promise<Backend> {
  const backend = await wasmBackend(options);
  return {
    ...backend,
    run(step) {
      if (!step.add || !faulty()) return backend.run(step);
      const add = step.add.slice();
      add[7] *= 1.125;
      return backend.run({ ...step, add });
    },
  };
}

describe('comparing replicas', () => {
  test.each(NUMBER_TYPES)('finds no difference with %s on the wire', async (wire) => {
    mesh = playMesh({ model });
    for (const device of [1, 2]) await mesh.join(device);
    const session = await mesh.load({ ratios: '1@1*2:3@3', wire, verify: true });
    const { ids: text } = await session.loop.generate({ ids, maxTokens: 6, temperature: 0, ignoreEos: true });
    expect(text).toHaveLength(6);
    await session.moves.setRatios('2:3:3');
    await session.loop.generate({ ids, maxTokens: 6, temperature: 0, ignoreEos: true, reuse: false });
    expect(mesh.logs.filter(({ level }) => level !== 'info')).toEqual([]);
  });

  test('finds a member that adds wrongly: the answer fails with `diverged`, and another may be asked for', async () => {
    let wrong = false;
    mesh = playMesh({ model });
    await mesh.join(1);
    await mesh.join(2, { makeBackend: (options) => addingWrongly(options, () => wrong) });
    const session = await mesh.load({ ratios: '2:3:3', wire: 'q15', verify: true });
    const generate = (each: (t: number) => void = () => undefined) => {
      let t = 0;
      const request = { ids, maxTokens: 8, temperature: 0, ignoreEos: true, reuse: false };
      return session.loop.generate(request, { onToken: () => each(++t) });
    };
    const right = await generate();
    const spoil = generate((t) => {
      wrong = t === 3;
    });
    await expect(spoil).rejects.toMatchObject({
      code: 'diverged',
      message: expect.stringMatching(/replicas of devices . and . differ at position/),
    });
    wrong = false;
    expect((await generate()).ids).toEqual(right.ids);
  });

  test('is not done, nor paid for, unless asked for', async () => {
    mesh = playMesh({ model });
    await mesh.join(1);
    await mesh.join(2, { makeBackend: (options) => addingWrongly(options, () => true) });
    const session = await mesh.load({ ratios: '2:3:3', wire: 'q15' });
    const { ids: text } = await session.loop.generate({ ids, maxTokens: 4, temperature: 0, ignoreEos: true });
    expect(text).toHaveLength(4);
  });
});

/** A backend whose partial sums after some operation are changed while `faulty` says so. */
async function computingWrongly(
  options: BackendOptions,
  op: 'attention' | 'ffn',
  change: (sums: Float32Array) => void,
  faulty: () => boolean,
): Promise<Backend> {
  const backend = await wasmBackend(options);
  return {
    ...backend,
    async run(step) {
      const result = await backend.run(step);
      if (step.output !== 'partial' || !faulty() || !step.ops.some((each) => each.op === op)) return result;
      const changed = result.slice();
      change(changed);
      return changed;
    },
  };
}

const devicesOf = (session: Session) => session.info.plan.stages.flatMap(({ members }) => members.map((m) => m.device));
const told = () => mesh.logs.map(({ text }) => text).join('\n');
const TOKENS = 10;
async function answer(session: Session, each: (t: number) => void = () => undefined): Promise<number[]> {
  let t = 0;
  const request = { ids, maxTokens: TOKENS, temperature: 0, ignoreEos: true, reuse: false };
  return (await session.loop.generate(request, { onToken: () => each(++t) })).ids;
}
async function alone(): Promise<number[]> {
  mesh = playMesh({ model });
  const right = await answer(await mesh.load());
  await mesh.close();
  return right;
}
/** Devices 0, 1 and 2, of which 2 cheats while `wrong` says so. */
async function withCheat(
  op: 'attention' | 'ffn',
  change: (sums: Float32Array) => void,
  wrong: () => boolean,
  request: Partial<LoadRequest> = {},
): Promise<Session> {
  mesh = playMesh({ model });
  await mesh.join(1);
  await mesh.join(2, { makeBackend: (options) => computingWrongly(options, op, change, wrong) });
  return mesh.load({ ratios: '2:3:3', wire: 'q15', verify: true, ...request });
}
/** An eighth more everywhere: all replicas agree on it, and the text hardly shows it. */
const more = (sums: Float32Array) => {
  for (let i = 0; i < sums.length; i++) sums[i]! *= 1.125;
};

describe('a member that computes its own share wrongly', () => {
  test.each(['attention', 'ffn'] as const)(
    'in %s from the beginning is left out, and the answer is right',
    async (op) => {
      const right = await alone();
      const session = await withCheat(op, more, () => true);
      // Which member is looked at is drawn for every answer that begins anew.
      for (let tries = 0; devicesOf(session).includes(2) && tries < 50; tries++) {
        const text = await answer(session).catch((error: { code: string }) => error.code);
        if (devicesOf(session).includes(2)) continue;
        expect(text === 'wrong-share' || JSON.stringify(text) === JSON.stringify(right)).toBe(true);
      }
      expect(devicesOf(session)).toEqual([0, 1]);
      expect(told()).toMatch(
        new RegExp(`Device 2 computed its part of layer \\d+ wrongly \\(${op}, off by 1[123] %\\)`),
      );
      expect(told()).toContain('Nothing more is asked of device 2');
      expect(await answer(session)).toEqual(right);
      expect(mesh.statuses().find(({ index }) => index === 2)).toMatchObject({ state: 'lost' });
    },
  );

  test('in the middle of an answer ends it, since what was shown may be wrong; it is not asked again, also when it comes anew', async () => {
    const right = await alone();
    let wrong = false;
    const session = await withCheat('ffn', more, () => wrong);
    let failure: { code?: string; message?: string } = {};
    for (let tries = 0; !failure.code && tries < 50; tries++) {
      wrong = false;
      await answer(session, (t) => {
        wrong = t >= 3;
      }).catch((error: { code: string }) => {
        failure = error;
      });
    }
    expect(failure).toMatchObject({
      code: 'wrong-share',
      message: expect.stringMatching(/device 2 .* may be wrong: ask again/i),
    });
    expect(await answer(session)).toEqual(right);
    mesh.kill(2);
    await mesh.join(2);
    expect(await answer(session)).toEqual(right);
    expect(devicesOf(session)).toEqual([0, 1]);
  });

  test('by numbers that are none is caught at once, with `verify` or without', async () => {
    const right = await alone();
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      let wrong = false;
      const session = await withCheat(
        'attention',
        (sums) => sums.fill(value, 3, 4),
        () => wrong,
        { verify: false },
      );
      const text = await answer(session, (t) => {
        wrong = t >= 4;
      });
      expect(text).toEqual(right);
      expect(devicesOf(session)).toEqual([0, 1]);
      expect(told()).toContain('Device 2 computed values that are not numbers');
      await mesh.close();
    }
  });

  test('is not found where it shares no layers with the host, which says so', async () => {
    mesh = playMesh({ model });
    for (const device of [1, 2]) await mesh.join(device);
    await mesh.load({ ratios: '1@1*1:1@3', verify: true });
    expect(told()).toContain('Only devices that share layers with this page are checked: not 1, 2.');
  });
});
