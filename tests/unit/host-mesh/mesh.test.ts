/** The whole mesh in one process: host, members and links in memory, on the WASM backend, with small real models. */
import { afterEach, describe, expect, test } from 'vitest';
import { BulkSlot, encodeKv } from '../../../web/device/member/kv-copy.ts';
import { createMemberService, type MemberService } from '../../../web/device/member/service.ts';
import { toWireModel } from '../../../web/device/member/wire-model.ts';
import { createWasmBackend } from '../../../web/device/wasm/index.ts';
import {
  type Conductor,
  createConductor,
  type SwitchPoint,
  type TransitionReport,
} from '../../../web/host/mesh/conductor.ts';
import { createDevices } from '../../../web/host/mesh/devices.ts';
import type { Assignment, ToHost } from '../../../web/mesh/control.ts';
import { loopback } from '../../../web/mesh/loopback.ts';
import { parseRatios } from '../../../web/plan/ratios.ts';
import { makePlan } from '../../../web/plan/split.ts';
import { tinyModels } from '../../support/golden.ts';
import { greedy } from '../../support/in-process.ts';
import { kernelModule, type OpenModel, openModel, repoPath, wholeShare } from '../../support/node-model.ts';
import { linked, meshed, settled } from '../mesh/linked.ts';

const CONTEXT = 256;
const BATCH = 8;
const module = kernelModule('relaxed');

/** Longest that copying a few positions of a tiny model takes. */
const COPIED_MS = 250;

interface Mesh {
  conductor: Conductor;
  members: MemberService[];
  plan(ratios: string, epoch: number): ReturnType<typeof makePlan>;
  /** Begins a switch within a token; resolves when it only waits for its position. */
  appoint(ratios: string, epoch: number, exact: SwitchPoint): Promise<{ done: Promise<TransitionReport> }>;
  greedy(ids: number[], tokens: number, each?: (t: number) => Promise<void> | undefined): Promise<number[]>;
}

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function mesh(
  model: OpenModel,
  count: number,
  settings: Partial<Pick<Assignment, 'wire' | 'verify'>> = {},
): Promise<Mesh> {
  const indices = Array.from({ length: count }, (_, i) => i);
  const links = await meshed(indices);
  const failures: string[] = [];
  const devices = createDevices({
    onChange: () => {},
    onBroken: (error) => failures.push(error.message),
    modelBytes: () => model.file.source,
  });
  const members = indices.map((self) =>
    createMemberService({
      self,
      about: async () => ({
        backend: 'wasm',
        description: 'test',
        threads: 1,
        gmacs: 1,
        readbackMs: 0,
        memoryLimit: 1e9,
      }),
      makeBackend: (options) => createWasmBackend({ ...options, threads: 1, module }),
      openStore: async () => undefined,
      openServerFiles: async () => model.file.source,
    }),
  );
  const [hostEnd, ownEnd] = await loopback(0);
  devices.add(hostEnd);
  members[0].setHost(ownEnd);
  for (const self of indices) {
    for (const [other, link] of links.get(self) ?? []) {
      if (self === 0) devices.add(link);
      if (other === 0) members[self].setHost(link);
      members[self].addPeer(link);
    }
  }
  const conductor = createConductor({
    model: toWireModel(model.file, model.catalogue, { kind: 'host' }),
    ...{ hyper: model.hyper, devices, context: CONTEXT, batch: BATCH, wire: 'f32', verify: true, onPlan: () => {} },
    ...settings,
  });
  closing.push(async () => {
    conductor.close();
    for (const member of members) await member.close();
    expect(failures).toEqual([]);
  });
  const { runner } = conductor;
  function plan(ratios: string, epoch: number): ReturnType<typeof makePlan> {
    const used = ratios.replace(/@\d+/g, '').split(/[*:]/).length;
    const parsed = parseRatios(ratios, { devices: used, layers: model.hyper.layers });
    return makePlan(parsed, model.hyper, indices.slice(0, used), epoch);
  }
  return {
    ...{ conductor, members, plan },
    appoint: (ratios, epoch, exact) =>
      new Promise((resolve, reject) => {
        const done = conductor.apply(plan(ratios, epoch), {
          exact,
          // What little KV there is has been copied by then.
          onPhase: (phase) => phase === 'copying' && setTimeout(() => resolve({ done }), COPIED_MS),
        });
        done.catch(reject);
      }),
    async greedy(ids, tokens, each) {
      const want = { positions: 'last', top: 1, temperature: 0 } as const;
      const out: number[] = [];
      let next = Uint32Array.from(ids);
      let position = 0;
      while (out.length < tokens) {
        for (let at = 0; at < next.length; at += runner.maxBatch) {
          const part = next.subarray(at, at + runner.maxBatch);
          const final = at + runner.maxBatch >= next.length;
          const { candidates } = await runner.forward(part, position, final ? want : undefined);
          position += part.length;
          if (final) out.push(candidates[0].ids[0]);
        }
        next = Uint32Array.of(out[out.length - 1]);
        await each?.(out.length);
      }
      return out;
    },
  };
}

async function alone(model: OpenModel, ids: number[], tokens: number): Promise<number[]> {
  return greedy([[await model.executor(wholeShare(model.hyper), { context: CONTEXT })]], ids, tokens);
}

const tiny = (name: string) => {
  const found = tinyModels().find((one) => one.name === name);
  if (!found) throw new Error(`no golden model ${name}`);
  return found;
};

describe.each(['tiny-llama.Q4_0', 'tiny-qwen2.Q4_K_M', 'tiny-qwen3.Q4_0'])('%s', (name) => {
  test.each(['1', '1:1', '2:3:3', '0:1:1', '1@1*1:1', '1@1*1@1*1'])(
    '%s gives the tokens of one device',
    async (ratios) => {
      const { gguf, golden } = tiny(name);
      const model = await openModel(gguf);
      const { ids } = golden.cases[2];
      const group = await mesh(model, 3);
      await group.conductor.apply(group.plan(ratios, 1));
      expect(await group.greedy(ids, 12)).toEqual(await alone(model, ids, 12));
    },
  );
});

test('a change of plan in the middle of an answer leaves the text as it is', async () => {
  const { gguf, golden } = tiny('tiny-llama.Q4_0');
  const model = await openModel(gguf);
  const { ids } = golden.cases[2];
  const group = await mesh(model, 3);
  await group.conductor.apply(group.plan('2:3:3', 1));
  const changes = ['1:1:6', '1@1*1:1', '1', '0:0:1', '3:2:1'];
  const text = await group.greedy(ids, 24, async (t) => {
    const ratios = t % 4 === 0 ? changes[t / 4 - 1] : undefined;
    if (ratios) await group.conductor.apply(group.plan(ratios, t));
  });
  expect(text).toEqual(await alone(model, ids, 24));
  expect(group.conductor.plan?.epoch).toBe(20);
});

describe('a switch within a token', () => {
  const { gguf, golden } = tiny('tiny-llama.Q4_0');
  const { ids } = golden.cases[2];

  test.each([0, 1, 2, 3])('at layer %i gives the text of one device', async (layer) => {
    const model = await openModel(gguf);
    const group = await mesh(model, 3);
    await group.conductor.apply(group.plan('2:3:3', 1));
    // In the prompt, and in the answer.
    const points = [ids.length - 5, ids.length + 4];
    const switches = [await group.appoint('5:1:2', 2, { position: points[0], layer })];
    const text = await group.greedy(ids, 12, async (t) => {
      if (t === 1) switches.push(await group.appoint('1:6:1', 3, { position: points[1], layer }));
    });
    const done = await Promise.all(switches.map((one) => one.done));
    expect(done.map(({ position }) => position)).toEqual(points);
    expect(group.conductor.plan?.epoch).toBe(3);
    expect(text).toEqual(await alone(model, ids, 12));
  });

  test('in a pipeline, at a layer of the second stage', async () => {
    const model = await openModel(gguf);
    const group = await mesh(model, 3);
    await group.conductor.apply(group.plan('1@2*1:3', 1));
    const { done } = await group.appoint('1@2*3:1', 2, { position: ids.length + 2, layer: 3 });
    expect(await group.greedy(ids, 8)).toEqual(await alone(model, ids, 8));
    expect(await done).toMatchObject({ epoch: 2, position: ids.length + 2 });
  });

  test('that has been missed happens at the next token; one of layers is refused', async () => {
    const model = await openModel(gguf);
    const group = await mesh(model, 3);
    await group.conductor.apply(group.plan('1@2*1:3', 1));
    await expect(
      group.conductor.apply(group.plan('1@1*1:3', 2), { exact: { position: 40, layer: 1 } }),
    ).rejects.toThrow(/only heads and FFN columns/);
    let late: { done: Promise<unknown> } | undefined;
    const text = await group.greedy(ids, 8, async (t) => {
      if (t === 3) late = await group.appoint('1@2*3:1', 2, { position: 3, layer: 0 });
    });
    await late?.done;
    expect(text).toEqual(await alone(model, ids, 8));
    expect(group.conductor.plan?.epoch).toBe(2);
  });
});

/** They would be written over whatever else the device has in memory. */
test('keys and values beyond the context end the link that they came over', async () => {
  const model = await openModel(repoPath('tests/fixtures/tiny-llama.Q4_0.gguf'));
  const { headDim } = model.hyper;
  const { a, b } = await linked(0, 1);
  const service = createMemberService({
    self: 1,
    about: async () => ({
      ...{ backend: 'wasm', description: '', threads: 1, gmacs: 1, readbackMs: 0, memoryLimit: 1e9 },
    }),
    makeBackend: (options) => createWasmBackend({ ...options, threads: 1, module }),
    openStore: async () => undefined,
    openServerFiles: async () => model.file.source,
  });
  closing.push(() => service.close());
  const prepared = new Promise<void>((resolve) =>
    a.onControl((message) => (message as ToHost).type === 'prepared' && resolve()),
  );
  a.onBulk(() => undefined);
  service.setHost(b);
  a.sendControl({ type: 'model', model: toWireModel(model.file, model.catalogue, { kind: 'server', files: [] }) });
  const settings = { epoch: 1, wire: 'f32', verify: false, profile: false, context: 64, maxBatch: BATCH } as const;
  a.sendControl({
    type: 'prepare',
    assignment: { ...settings, share: wholeShare(model.hyper), members: [1], next: [] },
  });
  await prepared;
  const send = (from: number) => {
    const [k, scales] = [new Int16Array(2 * headDim), new Float32Array(2)];
    const slice = { k, v: k, kScales: scales, vScales: scales };
    return a.sendBulk(
      { epoch: 1, slot: BulkSlot.kv, transfer: from },
      encodeKv({ layer: 0, kvHead: 0, from, slice, following: 1 }),
    );
  };
  await send(62);
  await settled();
  expect(b.failure).toBeUndefined();
  await send(63);
  await settled();
  expect(b.failure?.message).toMatch(/beyond the context/);
});
