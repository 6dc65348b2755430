/** The plan socket's commands on a real mesh in one process: answers as EdgeVisor's, and moves that really happen. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type OpenedModel, readModel } from '../../../web/host/open-model.ts';
import { createPlanControl } from '../../../web/host/plan-control.ts';
import type { Session } from '../../../web/host/session.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import { count } from '../../../web/plan/ranges.ts';
import { readGolden } from '../../support/golden.ts';
import { type PlayedMesh, playMesh } from '../../support/mesh-in-process.ts';
import { repoPath } from '../../support/node-model.ts';

const NAME = 'tiny-llama.Q4_0';
const TOKENS = 14;
const { ids, greedy } = readGolden(repoPath(`tests/fixtures/${NAME}.json`)).cases.find(({ name }) => name === 'ids33')!;
const expected = greedy.slice(0, TOKENS);

// biome-ignore lint/suspicious/noExplicitAny: answers are JSON, whose shape is what the tests are about.
type Answer = any;

let model: OpenedModel;
let mesh: PlayedMesh;
let session: Session | undefined;
let control: (request: string) => Promise<string>;

beforeAll(async () => {
  const file = readFileSync(repoPath(`tests/fixtures/${NAME}.gguf`));
  model = await readModel(bytesSource(file, `${NAME}.gguf`));
});
beforeEach(async () => {
  mesh = playMesh({ model });
  session = undefined;
  control = createPlanControl({ session: () => session, profile: mesh.hub.devices.profile });
  await mesh.join(1);
  await mesh.join(2);
});
afterEach(() => mesh.close());

const ask = async (request: object): Promise<Answer> => JSON.parse(await control(JSON.stringify(request)));
const setPlan = (cmd: object) => ask({ op: 'set_plan', cmd });

async function load(ratios = '2:3:3'): Promise<Session> {
  session = await mesh.load({ ratios, verify: true });
  return session;
}

/** A greedy answer; waits for `each` after every token. */
async function answer(each: (t: number) => unknown = () => undefined): Promise<number[]> {
  const calls: unknown[] = [];
  let t = 0;
  const result = await (session as Session).loop.generate(
    { ids, maxTokens: TOKENS, temperature: 0, ignoreEos: true, reuse: false },
    { onToken: () => calls.push(each(++t)) },
  );
  await Promise.all(calls);
  return result.ids;
}

const shares = () =>
  (session as Session).info.plan.stages.map(({ layers, members }) => ({
    layers,
    members: members.map(({ qHeads, ffn }) => [count(qHeads), count(ffn)]),
  }));
const committed = (seq: number) =>
  vi.waitFor(
    async () =>
      expect((await ask({ op: 'status' })).moves).toContainEqual(expect.objectContaining({ seq, state: 'committed' })),
    { timeout: 20_000 },
  );

describe('without a model', () => {
  test('says so where one is needed, and answers the rest', async () => {
    expect(await ask({ op: 'ping' })).toEqual({ ok: true });
    expect(await ask({ op: 'status' })).toMatchObject({
      ok: true,
      cacheSeq: 0,
      position: 0,
      perfSamples: 0,
      moves: [],
    });
    expect(await ask({ op: 'perf' })).toEqual({ ok: true, perf: [] });
    expect(await setPlan({ seq: 1 })).toEqual({ ok: false, error: expect.stringContaining('No model is loaded') });
    expect((await ask({ op: 'layer_prof', all: true })).error).toContain('No model is loaded');
    expect(await ask({ op: 'clear' })).toEqual({ ok: true, cacheSeq: 1 });
  });

  test('refuses what only EdgeVisor’s executor has, and what nobody knows', async () => {
    expect((await ask({ op: 'set_runtime_gate', primaryEnabled: true })).error).toContain('set_runtime_gate');
    expect((await ask({ op: 'set_primary_layer', layerIndex: 1, enabled: false })).error).toContain('set_pp_migration');
    expect(await ask({ op: 'dance' })).toEqual({ ok: false, error: 'unknown op' });
  });
});

describe('set_plan', () => {
  test('moves a head in the middle of an answer, which stays as it is', async () => {
    await load();
    const cmd = {
      ...{ seq: 601, mode: 'next_barrier', stageIndex: 0, fromNodeIndex: 1, toNodeIndex: 2 },
      ...{ cmdKind: 1, nHeadsToMove: 1, nFfnToMove: 0 },
    };
    const before = shares();
    let reply: Answer;
    const text = await answer(async (t) => {
      if (t === 3) reply = await setPlan(cmd);
    });
    expect(text).toEqual(expected);
    expect(reply).toEqual({
      ok: true,
      cacheSeq: 1,
      cmd: { ...cmd, triggerPos: 0, triggerLayer: 0, reserved0: 0 },
      state: 'preparing',
      epoch: 2,
    });
    await committed(601);
    const [[own, [heads, ffn], [others, otherFfn]]] = before.map(({ members }) => members);
    expect(shares()[0].members).toEqual([own, [heads - 2, ffn], [others + 2, otherFfn]]);
    const status = await ask({ op: 'status' });
    expect(status).toMatchObject({
      ...{ ok: true, cacheSeq: 1, cmd: reply.cmd, enablePlanBarrier: true, lastSeq: 601, epoch: 2 },
      ...{ position: ids.length + TOKENS - 2, batchSize: 1, perfSamples: 3 },
      ppMigration: { enabled: true, layerCount: 0, layers: [] },
    });
    expect(status.moves.at(-1)).toMatchObject({ op: 'set_plan', seq: 601, epoch: 2 });
    expect(status.moves.at(-1).kvBytes).toBeGreaterThan(0);
  });

  test('without fields moves one head and 256 columns from 0 to 1', async () => {
    await load('1:1');
    const reply = await setPlan({ seq: 1 });
    expect(reply.cmd).toMatchObject({ fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 3, nHeadsToMove: 1, nFfnToMove: 256 });
    await committed(1);
    expect(shares()[0].members).toEqual([
      [6, 128],
      [10, 640],
    ]);
    expect(await answer()).toEqual(expected);
  });

  test('takes several moves in one command, all or none', async () => {
    await load();
    const moves = [
      { fromNodeIndex: 0, toNodeIndex: 2, cmdKind: 1, headMove: 1, ffnMove: 0 },
      { fromNodeIndex: 2, toNodeIndex: 1, cmdKind: 2, headMove: 0, ffnMove: 64 },
    ];
    const before = shares()[0].members;
    const reply = await setPlan({ seq: 5, mode: 'next', stageIndex: 0xffffffff, moves });
    expect(reply).toMatchObject({ ok: true, cmd: { mode: 'next_barrier', moves } });
    await committed(5);
    expect(shares()[0].members).toEqual([
      [before[0][0] - 2, before[0][1]],
      [before[1][0], before[1][1] + 64],
      [before[2][0] + 2, before[2][1] - 64],
    ]);
    const refused = await setPlan({ seq: 6, moves: [moves[1], { ...moves[0], headMove: 99 }] });
    expect(refused).toMatchObject({ ok: false, state: 'refused', epoch: 2, error: expect.stringContaining('99') });
    expect(await setPlan({ seq: 6, moves: [] })).toMatchObject({ ok: true, state: 'committed', epoch: 2 });
    expect((session as Session).info.plan.epoch).toBe(2);
  });

  test('says why a move is refused, and lets its number be used again', async () => {
    await load('1@2*1:1@2');
    for (const [cmd, error] of [
      [{ fromNodeIndex: 0, toNodeIndex: 1 }, /is in stage 0 and node 1 in stage 1/],
      [{ stageIndex: 0, fromNodeIndex: 1, toNodeIndex: 2 }, /are in stage 1, not in stage 0/],
      [{ stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2, cmdKind: 2, nFfnToMove: 33 }, /blocks of 32/],
      [{ stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 7 }, /no node 7/],
      [{ stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2, mode: 'exact' }, /triggerPos and triggerLayer/],
      [
        { stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2, mode: 'exact', triggerPos: 40, triggerLayer: 9 },
        /no layer 9/,
      ],
    ] as const) {
      expect(await setPlan({ seq: 3, ...cmd })).toMatchObject({ ok: false, error: expect.stringMatching(error) });
    }
    expect((await ask({ op: 'status' })).cacheSeq).toBe(0);
    expect(await setPlan({ seq: 3, stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2 })).toMatchObject({ ok: true });
    expect(await setPlan({ seq: 3, stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2 })).toEqual({
      ok: false,
      error: 'stale seq',
    });
    expect(await setPlan({ seq: 2, moves: [] })).toEqual({ ok: false, error: 'stale seq' });
    await committed(3);
  });

  test('queues commands that come at once; of two with one number, one is stale', async () => {
    await load();
    const cmd = (seq: number) => ({ seq, fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 2, nFfnToMove: 32 });
    const replies = await Promise.all([1, 2, 2, 3].map((seq) => setPlan(cmd(seq))));
    expect(replies.map(({ ok, state, error }) => (ok ? state : error))).toEqual([
      'preparing',
      'queued',
      'stale seq',
      'queued',
    ]);
    for (const seq of [1, 2, 3]) await committed(seq);
    const { moves } = await ask({ op: 'status' });
    expect(moves.map(({ epoch }: Answer) => epoch)).toEqual([2, 3, 4]);
    expect(await answer()).toEqual(expected);
  });

  test('takes over within a token where exact says so', async () => {
    await load();
    const position = ids.length + 6;
    const at = { mode: 'exact', triggerPos: position, triggerLayer: 2 };
    let state: string | undefined;
    const text = await answer(async (t) => {
      if (t !== 2) return;
      const cmd = { seq: 9, fromNodeIndex: 2, toNodeIndex: 0, cmdKind: 1, nFfnToMove: 0, ...at };
      ({ state } = await setPlan(cmd));
    });
    expect(state).toBe('preparing');
    expect(text).toEqual(expected);
    await committed(9);
    expect((await ask({ op: 'status' })).moves.at(-1)).toMatchObject({ seq: 9, position });
  });

  test('is taken back by clear before it is committed', async () => {
    await load();
    const far = { mode: 'exact', triggerPos: 200, triggerLayer: 0 };
    const first = { seq: 1, fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 2, nFfnToMove: 32, ...far };
    expect(await setPlan(first)).toMatchObject({ ok: true });
    expect(await setPlan({ ...first, seq: 2 })).toMatchObject({ ok: true, state: 'queued' });
    expect(await ask({ op: 'clear' })).toEqual({ ok: true, cacheSeq: 3 });
    await vi.waitFor(async () => {
      const { moves, cmd } = await ask({ op: 'status' });
      expect(moves.map(({ state }: Answer) => state)).toEqual(['cancelled', 'cancelled']);
      expect(cmd).toMatchObject({ seq: 0, mode: 'none' });
    });
    expect(await answer()).toEqual(expected);
    expect((session as Session).info.plan.epoch).toBe(1);
    expect(await setPlan({ ...first, seq: 2 })).toEqual({ ok: false, error: 'stale seq' });
  });
});

describe('set_pp_migration', () => {
  test('moves layers between neighbouring stages, and has numbers of its own', async () => {
    await load('1@2*1:1@2');
    await setPlan({ seq: 50, stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2, cmdKind: 2, nFfnToMove: 32 });
    const cmd = {
      seq: 3,
      mode: 'next_barrier',
      stageIndex: 0xffffffff,
      fromNodeIndex: 1,
      toNodeIndex: 0,
      layerCount: 1,
    };
    const reply = await ask({ op: 'set_pp_migration', cmd });
    expect(reply).toMatchObject({ ok: true, cacheSeq: 2, cmd, ppMigration: true, layerCount: 1 });
    await committed(3);
    expect(shares().map(({ layers }) => layers)).toEqual([
      [0, 3],
      [3, 4],
    ]);
    expect((await ask({ op: 'status' })).ppMigration).toMatchObject({
      ...{ fromNodeIndex: 1, toNodeIndex: 0, enabled: true, layerCount: 1, layers: [2], state: 'committed' },
    });
    expect(await ask({ op: 'set_pp_migration', cmd })).toMatchObject({ ok: false, error: 'stale seq' });
    expect(await ask({ op: 'set_pp_migration', cmd: { ...cmd, seq: 4 } })).toMatchObject({
      ok: false,
      error: expect.stringContaining('must keep at least one'),
    });
    expect(await answer()).toEqual(expected);
  });
});

describe('profiles', () => {
  test('perf has the last pass of every node, fresh', async () => {
    await load('1@1*1:1@3');
    expect(await ask({ op: 'perf' })).toEqual({ ok: true, perf: [] });
    await answer();
    const { ok, perf } = await ask({ op: 'perf' });
    expect(ok).toBe(true);
    expect(perf.map(({ nodeIndex, stageIndex }: Answer) => [nodeIndex, stageIndex])).toEqual([
      [0, 0],
      [1, 1],
      [2, 1],
    ]);
    for (const row of perf) {
      expect(row).toEqual({
        ...{ position: ids.length + TOKENS - 2, batchSize: 1, execUs: expect.any(Number), syncUs: expect.any(Number) },
        ...{ nodeIndex: row.nodeIndex, stageIndex: row.stageIndex },
      });
      expect(row.execUs).toBeGreaterThan(0);
    }
    // A move alone is no pass: the last one stays.
    await setPlan({ seq: 1, stageIndex: 1, fromNodeIndex: 1, toNodeIndex: 2, cmdKind: 2, nFfnToMove: 32 });
    await committed(1);
    expect((await ask({ op: 'perf' })).perf).toEqual(perf);
  });

  test('layer_prof has every node of the stage for one layer, or all', async () => {
    await load();
    await answer();
    const { layer_prof: one } = await ask({ op: 'layer_prof', layerIndex: 2, path: '/tmp/table' });
    const epoch = ids.length + TOKENS - 1;
    expect(one).toMatchObject({
      ...{ path: '/tmp/table', epoch, layerIndex: 2 },
      header: { stageIndex: 0, rootNodeIndex: 0, nLayers: 4, nStageNodes: 3, epoch },
    });
    expect(one.nodes.map(({ ok, nodeIndex, layerIndex }: Answer) => [ok, nodeIndex, layerIndex])).toEqual([
      [true, 0, 2],
      [true, 1, 2],
      [true, 2, 2],
    ]);
    for (const { attnUs, ffnUs } of one.nodes) expect(attnUs + ffnUs).toBeGreaterThan(0);
    const { layer_prof: all } = await ask({ op: 'layer_prof', all: true });
    expect(all.layers).toHaveLength(4);
    expect(all.layers[2]).toEqual(one.nodes);
    expect(all).not.toHaveProperty('nodes');
    expect((await ask({ op: 'layer_prof', layerIndex: 4 })).error).toMatch(/no layer 4/);
    expect((await ask({ op: 'layer_prof', layerIndex: 0, stageIndex: 1 })).error).toMatch(/no stage 1/);
    expect((await ask({ op: 'layer_prof', layerIndex: 0, rootNodeIndex: 1 })).error).toMatch(/does not lead/);
  });

  test('the epoch of layer_prof grows by one a token', async () => {
    await load('1:1');
    const epochs: Promise<number>[] = [];
    await answer((t) => {
      if (t > 1) epochs.push(ask({ op: 'layer_prof', layerIndex: 0 }).then((reply) => reply.layer_prof.epoch));
    });
    const seen = await Promise.all(epochs);
    expect(seen).toEqual(seen.map((_, i) => ids.length + 1 + i));
  });

  test('a stage of one device measures when it is asked, without changing a bit', async () => {
    await load('1@1*1@3');
    const idle = await ask({ op: 'layer_prof', all: true });
    expect(idle.layer_prof.layers.flat().every(({ ok }: Answer) => ok === false)).toBe(true);
    const asked: Promise<Answer>[] = [];
    const text = await answer((t) => {
      if (t === 4) asked.push(ask({ op: 'layer_prof', all: true }));
    });
    expect(text).toEqual(expected);
    const { layer_prof } = await asked[0];
    expect(
      layer_prof.layers.map((row: Answer) =>
        row.map(({ ok, stageIndex, nodeIndex, layerIndex }: Answer) => [ok, stageIndex, nodeIndex, layerIndex]),
      ),
    ).toEqual([[[true, 0, 0, 0]], [[true, 1, 1, 1]], [[true, 1, 1, 2]], [[true, 1, 1, 3]]]);
    for (const { attnUs, ffnUs } of layer_prof.layers.flat()) expect(attnUs + ffnUs).toBeGreaterThan(0);
    const { layer_prof: second } = await ask({ op: 'layer_prof', all: true, stageIndex: 1 });
    expect(second.header).toMatchObject({ stageIndex: 1, rootNodeIndex: 1, nLayers: 3, nStageNodes: 1 });
    expect(second.layers).toHaveLength(3);
  });
});
