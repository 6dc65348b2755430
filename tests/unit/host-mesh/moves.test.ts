/** Moves while text flows: every kind, between any two, at any moment, given up or cut short, and back again. */
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Migration, MoveReport, Plan } from '../../../web/api.ts';
import { openDatabase } from '../../../web/device/store/database.ts';
import { openShardStore } from '../../../web/device/store/store.ts';
import { planFor, sizesOf } from '../../../web/host/mesh/layout.ts';
import type { Session } from '../../../web/host/session.ts';
import type { ByteSource } from '../../../web/model/types.ts';
import { changeBytes, diffPlans } from '../../../web/plan/diff.ts';
import { planBytes } from '../../../web/plan/holdings.ts';
import { checkPlan } from '../../../web/plan/inspect.ts';
import { count } from '../../../web/plan/ranges.ts';
import { type MeshPlay, type PlayedMesh, playMesh } from '../../support/mesh-in-process.ts';
import { type Course, course, type Walk, walk } from '../../support/walk.ts';
import { freshIndexedDb } from '../store/support.ts';

const NAME = 'tiny-llama.Q4_0';
/** Up to the first step at which two tokens of the greedy text are nearly equal. */
const TOKENS = 24;

let text: Course;
/** The greedy answer of one device to the text's prompt. */
let greedy: number[];
let mesh: PlayedMesh;

beforeAll(async () => {
  text = await course(NAME);
  mesh = playMesh({ model: text.model });
  const { loop } = await mesh.load();
  const prompt = text.ids.slice(0, text.prompt);
  greedy = (await loop.generate({ ids: prompt, maxTokens: TOKENS, temperature: 0, ignoreEos: true })).ids;
  await mesh.close();
});
afterEach(() => mesh.close());

async function open(ratios: string, devices = [1, 2], play: Omit<MeshPlay, 'model'> = {}, wire = 'f32' as const) {
  mesh = playMesh({ ...play, model: text.model });
  for (const device of devices) await mesh.join(device);
  const session = await mesh.load({ ratios, wire, verify: true });
  return { session, along: walk(text, session) };
}

const planOf = (session: Session): Plan => session.conductor.plan as Plan;
/** Query heads and FFN columns of every node. */
const amounts = (plan: Plan) =>
  plan.stages.flatMap(({ members }) => members.map(({ qHeads, ffn }) => [count(qHeads), count(ffn)]));
const memoryOf = (device: number) => mesh.devices.get(device)?.service.status().memory;

/** Tokens that go on beside a move at most. */
const TOKENS_BESIDE = 3;

/** Makes a move while tokens go on, and checks what it cost and left. */
async function moveAlong(session: Session, along: Walk, move: Migration): Promise<MoveReport> {
  const before = planOf(session);
  const { report, done } = session.moves.begin(move);
  let over = false;
  const ended = done.finally(() => {
    over = true;
  });
  ended.catch(() => undefined);
  await along.step();
  // Whoever waits for the next token lets the switch in between two of them; the text is short, so not for ever.
  for (let tokens = 0; !over && tokens < TOKENS_BESIDE; tokens++) await along.step();
  const result = await ended;
  expect(report.state).toBe('committed');
  const after = planOf(session);
  expect(after.epoch).toBeGreaterThan(before.epoch);
  expect(result.epoch).toBe(after.epoch);
  const { catalogue } = text.model;
  const bytes = diffPlans(before, after, catalogue.hyper, sizesOf(catalogue, before, 0).embedding).map((change) =>
    changeBytes(change, catalogue.hyper, sizesOf(catalogue, before, result.position)),
  );
  const sum = (key: 'kvBytes' | 'weightBytes') => bytes.reduce((total, one) => total + one[key], 0);
  expect(result.kvBytes).toBe(sum('kvBytes'));
  expect(result.weightBytes).toBeCloseTo(sum('weightBytes'), -1);
  return result;
}

/** Bytes of a block of Q4_0 on WASM, of which all weights here are, and as plans count it, who do not know the backends. */
const HELD = 18 / 20;

/** What every device holds is what the plan gives it: nothing is left over, nothing is lacking. */
async function expectMemory(session: Session): Promise<void> {
  const { catalogue } = text.model;
  const plan = planOf(session);
  const due = planBytes(plan, catalogue.hyper, sizesOf(catalogue, plan, 256));
  await vi.waitFor(() => {
    for (const index of mesh.devices.keys()) {
      const wanted = due.find(({ device }) => device === index);
      const weights = HELD * (wanted?.weightBytes ?? 0);
      expect(memoryOf(index)?.weights, `weights of device ${index}`).toBeCloseTo(weights, -2);
    }
  });
}

const edges = [
  ...[
    [0, 1],
    [1, 0],
    [0, 2],
    [2, 0],
    [1, 2],
    [2, 1],
  ],
] as [number, number][];

describe('a share', () => {
  test.each([
    [1, 'heads'],
    [2, 'FFN columns'],
    [3, 'both'],
  ] as const)('of kind %i (%s) moves between any two, there and back', async (kind, _) => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const start = amounts(planOf(session));
    for (const [from, to] of edges) {
      const before = amounts(planOf(session));
      await moveAlong(session, along, { from, to, kind, heads: 1, ffn: 64 });
      const [heads, ffn] = [kind === 2 ? 0 : 2, kind === 1 ? 0 : 64];
      const expected = before.map(([q, columns], node) => {
        const sign = node === from ? -1 : node === to ? 1 : 0;
        return [q + sign * heads, columns + sign * ffn];
      });
      expect(amounts(planOf(session))).toEqual(expected);
    }
    expect(amounts(planOf(session))).toEqual(start);
    await along.step();
    await expectMemory(session);
  });

  test('that comes back is there at once: not a byte is read again', async () => {
    let read = 0;
    const { source } = text.model.file;
    const counting: ByteSource = {
      ...{ name: source.name, size: source.size },
      read(from, to, signal) {
        read += to - from;
        return source.read(from, to, signal);
      },
    };
    mesh = playMesh({ model: { ...text.model, file: { ...text.model.file, source: counting } } });
    await mesh.join(1);
    await mesh.join(2);
    const session = await mesh.load({ ratios: '2:3:3', wire: 'f32' });
    const along = walk(text, session);
    await along.step();
    await moveAlong(session, along, { from: 1, to: 0, kind: 3, heads: 1, ffn: 64 });
    await expectMemory(session);
    const kept = memoryOf(1)?.warm ?? 0;
    expect(kept).toBeGreaterThan(0);
    await vi.waitFor(() => expect(mesh.statuses()[1].memoryWarm).toBe(kept));
    expect(read).toBeGreaterThan(0);
    read = 0;
    await moveAlong(session, along, { from: 0, to: 1, kind: 3, heads: 1, ffn: 64 });
    await along.step();
    expect(read).toBe(0);
    await expectMemory(session);
  });

  test('that was given away is kept only where the device has room for it', async () => {
    const { catalogue } = text.model;
    mesh = playMesh({ model: text.model });
    const plan = planFor('2:3:3', catalogue.hyper, [0, 1, 2], 1);
    const due = planBytes(plan, catalogue.hyper, sizesOf(catalogue, plan, 256)).find(({ device }) => device === 1);
    // As little as it may have for this share.
    const memoryLimit = Math.ceil(((due?.weightBytes ?? 0) + (due?.kvBytes ?? 0)) / 0.9);
    await mesh.join(1, { memoryLimit });
    await mesh.join(2);
    const session = await mesh.load({ ratios: '2:3:3', wire: 'f32', verify: true });
    const along = walk(text, session);
    await along.step();
    for (const ffn of [32, 32, 64]) {
      await moveAlong(session, along, { from: 1, to: 0, kind: 2, ffn });
      await expectMemory(session);
      const { weights = 0, kv = 0, scratch = 0, warm = 0 } = memoryOf(1) ?? {};
      expect(warm).toBeLessThanOrEqual(Math.max(0, memoryLimit - weights - kv - scratch));
      await along.step();
    }
  });

  test('moves in one command with others, all at the same moment', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const epoch = planOf(session).epoch;
    await moveAlong(session, along, {
      moves: [
        { from: 0, to: 1, kind: 1 },
        { from: 1, to: 2, kind: 3, heads: 2, ffn: 96 },
        { from: 2, to: 0, kind: 2, ffn: 32 },
      ],
    });
    expect(planOf(session).epoch).toBe(epoch + 1);
    await along.step();
    await expectMemory(session);
  });

  test('of everything a device has, and back', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const start = amounts(planOf(session));
    const [, , [heads, ffn]] = start;
    await moveAlong(session, along, { from: 2, to: 1, kind: 3, heads: heads / 2, ffn });
    expect(amounts(planOf(session))[2]).toEqual([0, 0]);
    await along.step(2);
    await expectMemory(session);
    await moveAlong(session, along, { from: 1, to: 2, kind: 3, heads: heads / 2, ffn });
    expect(amounts(planOf(session))).toEqual(start);
    await along.step(2);
    await expectMemory(session);
  });

  test.each(['f16', 'q15', 'q80'] as const)('with %s on the wire', async (wire) => {
    mesh = playMesh({ model: text.model });
    await mesh.join(1);
    await mesh.join(2);
    const session = await mesh.load({ ratios: '2:3:3', wire, verify: true });
    // Coarser numbers, coarser logits.
    const along = walk(text, session, wire === 'q80' ? 0.6 : 0.05);
    await along.step();
    await moveAlong(session, along, { from: 1, to: 2, kind: 3, ffn: 64 });
    await moveAlong(session, along, { from: 2, to: 0, kind: 3, ffn: 64 });
    await along.step(2);
  });

  test('of another model, whose heads attend by halves and are normed', async () => {
    const other = await course('tiny-qwen3.Q4_0');
    mesh = playMesh({ model: other.model });
    for (const device of [1, 2]) await mesh.join(device);
    const session = await mesh.load({ ratios: '1:1:2', wire: 'f32', verify: true });
    const along = walk(other, session);
    await along.step();
    for (const [from, to] of [
      [2, 0],
      [0, 1],
      [1, 2],
    ] as const) {
      const { done } = session.moves.begin({ from, to, kind: 3, heads: 1, ffn: 32 });
      await along.step();
      await done;
      await along.step();
    }
  });
});

describe('layers', () => {
  test('move to the next stage and back, with the KV of all its members', async () => {
    const { session, along } = await open('1@2*1:1@2');
    await along.step();
    const stages = () => planOf(session).stages.map(({ layers }) => layers);
    for (const [move, expected] of [
      [
        { from: 0, to: 1, layers: 1 },
        [
          [0, 1],
          [1, 4],
        ],
      ],
      [
        { from: 2, to: 0, layers: 2 },
        [
          [0, 3],
          [3, 4],
        ],
      ],
      [
        { from: 0, to: 2, layers: 1 },
        [
          [0, 2],
          [2, 4],
        ],
      ],
    ] as const) {
      await moveAlong(session, along, move);
      expect(stages()).toEqual(expected);
      await along.step();
      await expectMemory(session);
    }
  });

  test('and shares in one command', async () => {
    const { session, along } = await open('1@2*1:1@2');
    await along.step();
    await moveAlong(session, along, { moves: [{ from: 2, to: 1, kind: 3, heads: 1, ffn: 32 }] });
    await moveAlong(session, along, { from: 1, to: 0, layers: 1 });
    await along.step();
    await expectMemory(session);
  });
});

describe('whole layouts', () => {
  test('change to fewer devices, other devices, stages, and back', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    for (const ratios of ['1', '1:1', '1@1*1@2*1@1', '0:1:1', '1@1*1:1@3', '3:2:1', '2:3:3']) {
      const change = session.moves.setRatios(ratios);
      await along.step();
      await change;
      await along.step();
      await expectMemory(session);
    }
  });
});

describe('when', () => {
  test('the prompt is still being read', async () => {
    const long = await course(NAME, 'ids200');
    mesh = playMesh({ model: long.model });
    for (const device of [1, 2]) await mesh.join(device);
    const session = await mesh.load({ ratios: '2:3:3', wire: 'f32', verify: true });
    const moves: Promise<MoveReport>[] = [];
    const along = walk(long, session);
    await along.step(40);
    for (const [from, to] of [
      [1, 2],
      [2, 0],
    ] as const) {
      moves.push(session.moves.migrate({ from, to, kind: 3, heads: 1, ffn: 64 }));
      await along.step(64);
    }
    const positions = (await Promise.all(moves)).map(({ position }) => position);
    expect(positions.every((position) => position > 0 && position < 200)).toBe(true);
    await along.step(200 - along.at);
    await along.step();
  });

  test('nothing has been said yet, and between two answers', async () => {
    const { session } = await open('2:3:3');
    const nothing = await session.moves.migrate({ from: 0, to: 1, kind: 3, ffn: 32 });
    expect(nothing).toMatchObject({ state: 'committed', position: 0, kvBytes: 0 });
    const request = { maxTokens: 6, temperature: 0, ignoreEos: true };
    const prompt = text.ids.slice(0, text.prompt);
    const first = await session.loop.generate({ ...request, ids: prompt });
    expect(first.ids).toEqual(greedy.slice(0, 6));
    const between = await session.moves.migrate({ from: 1, to: 2, kind: 1 });
    expect(between.position).toBe(text.prompt + 5);
    await session.moves.setRatios('1@1*1:1@3');
    const second = await session.loop.generate({ ...request, ids: [...prompt, ...first.ids] });
    expect(second.timings.cachedTokens).toBe(text.prompt + 5);
    expect(second.ids).toEqual(greedy.slice(6, 12));
    // Nobody waited for a token while nothing was generated.
    expect(session.moves.reports.every(({ longestGapMs }) => longestGapMs === 0)).toBe(true);
  });

  test('another conversation begins while KV is copied', async () => {
    let copying: (() => void) | undefined;
    const { session, along } = await open('2:3:3', [1, 2], {
      onRequest: (_, type) => {
        if (type !== 'send-kv') return;
        copying?.();
        copying = undefined;
      },
    });
    await along.step();
    await along.step(4);
    // The old conversation differs from place 10 on.
    await session.conductor.runner.forward(Uint32Array.from([1, 2, 3, 4, 5, 6]), 10);
    let again: Promise<void> | undefined;
    copying = () => {
      along.back(10);
      again = along.step(12);
    };
    const { position } = await session.moves.migrate({ from: 1, to: 2, kind: 1, heads: 2 });
    await again;
    expect(position).toBe(22);
    await along.step(20);
  });

  test('a position and layer are named: at every layer of the model', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    for (const layer of [0, 1, 2, 3]) {
      const position = along.at + 1;
      const { done } = session.moves.begin({
        from: layer % 3,
        to: (layer + 1) % 3,
        ...{ kind: 3, ffn: 32 },
        exact: { position, layer },
      });
      await vi.waitFor(() => expect(session.moves.reports.at(-1)?.state).toBe('copying'));
      await along.step();
      await along.step();
      expect(await done).toMatchObject({ state: 'committed', position });
      await along.step();
    }
    await expectMemory(session);
  });

  test('a position is named for layers that move', async () => {
    const { session, along } = await open('1@2*1:1@2');
    await along.step();
    const position = along.at + 2;
    const move = { from: 0, to: 1, layers: 1 };
    await expect(session.moves.migrate({ ...move, exact: { position, layer: 1 } })).rejects.toThrow(/at layer 0/);
    const { report, done } = session.moves.begin({ ...move, exact: { position, layer: 0 } });
    await vi.waitFor(() => expect(report.state).toBe('copying'));
    await along.step(2);
    expect(planOf(session).stages[0].layers).toEqual([0, 2]);
    await along.step();
    expect(await done).toMatchObject({ state: 'committed', position });
    expect(planOf(session).stages[0].layers).toEqual([0, 1]);
    await along.step(3);
    await expectMemory(session);
  });

  test('the named position lies in the middle of a batch', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    for (const layer of [0, 2]) {
      const position = along.at + 2;
      const { report, done } = session.moves.begin({ from: 1, to: 2, kind: 1, exact: { position, layer } });
      await vi.waitFor(() => expect(report.state).toBe('copying'));
      await along.step(5);
      expect(await done).toMatchObject({ state: 'committed', position });
    }
    await along.step();
  });

  test('candidates are asked for again after the plan has changed', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const { runner } = session.conductor;
    const want = { positions: 'last', top: 2, temperature: 1 } as const;
    const first = await runner.forward(Uint32Array.of(text.ids[along.at]), along.at, want);
    await session.moves.migrate({ from: 1, to: 2, kind: 3, ffn: 32 });
    const more = await runner.again({ ...want, top: 20 });
    expect(more.candidates).toHaveLength(1);
    const [before, after] = [first.candidates[0], more.candidates[0]];
    expect(after.ids).toHaveLength(20);
    expect([...after.ids.subarray(0, 2)]).toEqual([...before.ids]);
    expect(Math.abs(after.logits[0] - before.logits[0])).toBeLessThan(0.02);
    await session.moves.setRatios('1@1*1:1');
    expect((await runner.again({ ...want, top: 5 })).candidates[0].ids).toEqual(after.ids.slice(0, 5));
  });
});

describe('several at once', () => {
  test('queue, each with its state, and one that is refused does not hold up the next', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const begun = [
      session.moves.begin({ from: 0, to: 1, kind: 2, ffn: 32 }),
      session.moves.begin({ from: 1, to: 2, kind: 2, ffn: 33 }),
      session.moves.begin({ from: 1, to: 2, kind: 1 }),
    ];
    expect(begun.map(({ report }) => report.state)).toEqual(['queued', 'queued', 'queued']);
    const results = Promise.allSettled(begun.map(({ done }) => done));
    await along.step(2);
    expect((await results).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect(begun.map(({ report }) => report.state)).toEqual(['committed', 'refused', 'committed']);
    expect(begun[1].report.error).toContain('33');
    await along.step();
    await expectMemory(session);
  });
});

describe('a move that is taken back', () => {
  const phases = [
    ['prepare', 'cancelled'],
    ['send-kv', 'cancelled'],
    ['commit', 'committed'],
  ] as const;

  test.each(phases)('at %s is %s; the text goes on', async (phase, state) => {
    const controller = new AbortController();
    let armed = false;
    const { session, along } = await open('2:3:3', [1, 2], {
      onRequest(_, type) {
        if (armed && type === phase) controller.abort(new Error('taken back'));
      },
    });
    await along.step();
    await along.step(2);
    await expectMemory(session);
    const before = planOf(session);
    const memory = [memoryOf(1), memoryOf(2)];
    armed = true;
    const { report, done } = session.moves.begin({ from: 1, to: 2, kind: 3, heads: 1, ffn: 64 }, controller.signal);
    const result = done.catch((error: Error) => error.message);
    await along.step(2);
    expect(await result).toEqual(state === 'cancelled' ? 'taken back' : expect.objectContaining({ state }));
    expect(report.state).toBe(state);
    await along.step(2);
    if (state === 'cancelled') {
      expect(planOf(session)).toBe(before);
      await vi.waitFor(() => expect([memoryOf(1), memoryOf(2)]).toEqual(memory));
    }
    // What was left half done does not disturb the next.
    armed = false;
    await moveAlong(session, along, { from: 1, to: 2, kind: 3, heads: 1, ffn: 64 });
    await along.step();
    await expectMemory(session);
  });

  test.each(['prepare', 'send-kv'])('at %s by a device that was new is forgotten there', async (phase) => {
    const controller = new AbortController();
    let armed = false;
    const { session, along } = await open('1:1', [1, 2], {
      onRequest(_, type) {
        if (armed && type === phase) controller.abort(new Error('taken back'));
      },
    });
    await along.step();
    armed = true;
    const change = session.moves.setRatios('1:1:1', controller.signal).catch((error: Error) => error.message);
    await along.step();
    expect(await change).toBe('taken back');
    await vi.waitFor(() => expect(memoryOf(2)).toEqual({ weights: 0, kv: 0, scratch: 0, warm: 0 }));
    armed = false;
    await session.moves.setRatios('1:1:1');
    await along.step(2);
    await expectMemory(session);
  });

  test('while it waits for its turn is cancelled at once', async () => {
    const { session, along } = await open('2:3:3');
    await along.step();
    const controller = new AbortController();
    const first = session.moves.begin(
      { from: 0, to: 1, kind: 2, ffn: 32, exact: { position: 200, layer: 0 } },
      controller.signal,
    );
    const waits = new AbortController();
    const second = session.moves.begin({ from: 0, to: 1, kind: 2, ffn: 32 }, waits.signal);
    waits.abort(new Error('not that one'));
    await expect(second.done).rejects.toThrow('not that one');
    expect(second.report.state).toBe('cancelled');
    await vi.waitFor(() => expect(first.report.state).toBe('copying'));
    controller.abort(new Error('nor that'));
    await expect(first.done).rejects.toThrow('nor that');
    await along.step();
    await moveAlong(session, along, { from: 0, to: 1, kind: 2, ffn: 32 });
  });
});

describe('a device dies', () => {
  const deaths = (['prepare', 'send-kv', 'commit'] as const).flatMap((phase) =>
    [
      ['who gives', 1],
      ['who takes', 2],
    ].map(([who, device]) => [who, phase, device] as [string, string, number]),
  );

  test.each(deaths)('%s, at %s: the answer is as it was', async (_, phase, device) => {
    let armed = false;
    const { session } = await open('2:3:3', [1, 2], {
      onRequest(_device, type) {
        if (!armed || type !== phase) return;
        armed = false;
        setImmediate(() => mesh.kill(device));
      },
    });
    let move: Promise<unknown> | undefined;
    let t = 0;
    const { ids } = await session.loop.generate(
      { ids: text.ids.slice(0, text.prompt), maxTokens: TOKENS, temperature: 0, ignoreEos: true, reuse: false },
      {
        onToken() {
          if (++t !== 4) return;
          armed = true;
          move = session.moves.migrate({ from: 1, to: 2, kind: 3, heads: 2, ffn: 64 }).catch(() => undefined);
        },
      },
    );
    await move;
    expect(armed).toBe(false);
    expect(ids).toEqual(greedy);
    expect(session.moves.reports[0].state).toMatch(/failed|committed/);
    await vi.waitFor(() => expect(planOf(session).stages.flatMap(({ members }) => members)).toHaveLength(2));
  });
});

test('what is added while KV is copied follows before the switch, beside more tokens', async () => {
  const asked: string[] = [];
  const { session, along } = await open('2:3:3', [1, 2], { onRequest: (_, type) => asked.push(type) });
  await along.step(4);
  const bulk = mesh.devices.get(1)?.links.get(0)?.bulk ?? [];
  /** Nothing of the next copy gets through until tokens have come. */
  const holdNextCopy = async (copies: number) => {
    for (const channel of bulk) channel.held = true;
    await vi.waitFor(() => expect(asked.filter((type) => type === 'send-kv')).toHaveLength(copies));
    await along.step();
    await along.step();
    await along.step();
    for (const channel of bulk) {
      channel.held = false;
      channel.deliver();
    }
  };
  const { done } = session.moves.begin({ from: 1, to: 0, kind: 1, heads: 1 });
  await holdNextCopy(1);
  // A second copy comes before the switch, so that this one does not hold tokens up either.
  await holdNextCopy(2);
  const { kvBytes, position } = await done;
  expect(position).toBeGreaterThanOrEqual(10);
  expect(kvBytes).toBe(position * 2 * (4 + 2 * text.model.catalogue.hyper.headDim) * text.model.catalogue.hyper.layers);
  await along.step();
});

test('no member ever holds more than its old and its new share', async () => {
  let look: () => void = () => undefined;
  const { session, along } = await open('2:3:3', [1, 2], {
    onRequest: (_, type) => {
      if (type === 'commit') look();
    },
  });
  await along.step();
  const { catalogue } = text.model;
  const { hyper } = catalogue;
  const due = (plan: Plan) => planBytes(plan, hyper, sizesOf(catalogue, plan, 256));
  for (const ratios of ['3:2:3', '1@2*1:1@2', '1:3:4']) {
    const before = due(planOf(session));
    const next = due(session.preview(ratios).plan);
    const held = new Map<number, number>();
    look = () => {
      for (const index of mesh.devices.keys()) held.set(index, memoryOf(index)?.weights ?? 0);
    };
    await session.moves.setRatios(ratios);
    for (const [index, weights] of held) {
      const both = [before, next].map((of) => of.find(({ device }) => device === index)?.weightBytes ?? 0);
      expect(weights, `device ${index} before ${ratios}`).toBeLessThanOrEqual(both[0] + both[1] + 100);
    }
    expect(held.size).toBe(2);
    await along.step();
  }
});

test('a disk that fills while a share is fetched costs a note, not the move', async () => {
  freshIndexedDb();
  const notes: string[] = [];
  const real = openDatabase('edgevisor-shards');
  let full = false;
  const store = await openShardStore({
    onNote: (note) => notes.push(note),
    database: (mode, work) =>
      full && mode === 'readwrite'
        ? Promise.reject(new DOMException('no room', 'QuotaExceededError'))
        : real(mode, work),
  });
  mesh = playMesh({ model: text.model });
  await mesh.join(1);
  await mesh.join(2, { openStore: async () => store });
  const session = await mesh.load({ ratios: '2:3:3', wire: 'f32', verify: true });
  const along = walk(text, session);
  await along.step();
  await store?.flush();
  expect(notes).toEqual([]);
  full = true;
  await moveAlong(session, along, { from: 1, to: 2, kind: 3, heads: 2, ffn: 96 });
  await store?.flush();
  expect(notes).toEqual([expect.stringMatching(/no more room/)]);
  await along.step();
  await expectMemory(session);
});

test('any legal moves in any order keep the cover exact and the text', async () => {
  const node = fc.integer({ min: 0, max: 2 });
  const share = fc.record({
    from: node,
    to: node,
    kind: fc.constantFrom(1 as const, 2 as const, 3 as const),
    heads: fc.integer({ min: 1, max: 3 }),
    ffn: fc.integer({ min: 1, max: 8 }).map((blocks) => 32 * blocks),
  });
  const layers = fc.record({ from: node, to: node, layers: fc.integer({ min: 1, max: 2 }) });
  const move: fc.Arbitrary<Migration> = fc.oneof(
    { weight: 5, arbitrary: share },
    { weight: 3, arbitrary: layers },
    { weight: 2, arbitrary: fc.record({ moves: fc.array(share, { minLength: 1, maxLength: 3 }) }) },
  );
  const ratios = fc.constantFrom('2:3:3', '1:1:6', '1@2*1:1@2', '1:1@1*1@3', '1@1*1@1*1@2', '0:1:1');
  await fc.assert(
    fc.asyncProperty(ratios, fc.array(move, { minLength: 4, maxLength: 10 }), async (start, moves) => {
      const { session, along } = await open(start);
      try {
        await along.step();
        for (const one of moves) {
          const change = session.moves.migrate(one).catch((error: { code?: string }) => {
            expect(error.code).toBe('refused');
          });
          await along.step();
          await change;
          expect(checkPlan(planOf(session), text.model.catalogue.hyper)).toEqual([]);
          await along.step();
        }
        await expectMemory(session);
      } finally {
        await mesh.close();
      }
    }),
    { numRuns: 8 },
  );
});
