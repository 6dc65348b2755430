/** `npm run plan`: what it sends for a command line, what it prints, and when it moves by itself. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { PlanError, runPlan, USAGE } from '../../scripts/plan.ts';
import { type LayerRow, rebalance } from '../../scripts/plan-watch.ts';

type Json = Record<string, unknown>;

let folder: string;
let path: string;
let server: Server;
let heard: Json[];
let reply: (request: Json) => Json;
let printed: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'plan-client-'));
  path = join(folder, 's');
  heard = [];
  printed = [];
  reply = () => ({ ok: true, lastSeq: 41, ppMigration: { lastSeq: 7 } });
  server = createServer((socket) => {
    let line = '';
    socket.on('data', (data) => {
      line += String(data);
      if (!line.endsWith('\n')) return;
      const request = JSON.parse(line) as Json;
      heard.push(request);
      socket.end(`${JSON.stringify(reply(request))}\n`);
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true });
});

const run = (line: string, signal?: AbortSignal) =>
  runPlan(
    line.split(' ').filter(Boolean),
    { EDGEVISOR_PLAN_SOCKET: path },
    {
      print: (text) => printed.push(text),
      ...(signal && { signal }),
    },
  );
const cmdOf = (request: Json | undefined) => request?.cmd as Json;

describe('commands', () => {
  const next = { mode: 'next_barrier', stageIndex: 0xffffffff };
  test.each<[string, string, Json]>([
    [
      '--kind 1 --stage 0 --from 1 --to 2 --heads 1',
      'set_plan',
      { ...next, seq: 42, stageIndex: 0, fromNodeIndex: 1, toNodeIndex: 2, cmdKind: 1, nHeadsToMove: 1 },
    ],
    [
      '--kind2 --from 0 --to 2 --ffn 64 --seq 90',
      'set_plan',
      { ...next, seq: 90, fromNodeIndex: 0, toNodeIndex: 2, cmdKind: 2, nFfnToMove: 64 },
    ],
    [
      'set_plan --from 0 --to 1 --mode next',
      'set_plan',
      { ...next, mode: 'next', seq: 42, fromNodeIndex: 0, toNodeIndex: 1 },
    ],
    [
      '--kind3 --from 0 --to 1 --exact 120,7',
      'set_plan',
      {
        ...next,
        seq: 42,
        mode: 'exact',
        triggerPos: 120,
        triggerLayer: 7,
        fromNodeIndex: 0,
        toNodeIndex: 1,
        cmdKind: 3,
      },
    ],
    [
      '--move 0,1 --move 1,2,1,2 --move 2,0,3,1,512',
      'set_plan',
      {
        ...next,
        seq: 42,
        moves: [
          { fromNodeIndex: 0, toNodeIndex: 1 },
          { fromNodeIndex: 1, toNodeIndex: 2, cmdKind: 1, headMove: 2 },
          { fromNodeIndex: 2, toNodeIndex: 0, cmdKind: 3, headMove: 1, ffnMove: 512 },
        ],
      },
    ],
    [
      '--layers 2 --from 0 --to 1',
      'set_pp_migration',
      { ...next, seq: 8, fromNodeIndex: 0, toNodeIndex: 1, layerCount: 2 },
    ],
    [
      'set_pp_migration --from 0 --to 1 --exact 60',
      'set_pp_migration',
      { ...next, seq: 8, mode: 'exact', triggerPos: 60, fromNodeIndex: 0, toNodeIndex: 1 },
    ],
  ])('%s', async (line, op, cmd) => {
    expect(await run(line)).toBe(0);
    expect(heard.at(-1)).toEqual({ op, cmd });
  });

  test.each<[string, Json]>([
    ['ping', { op: 'ping' }],
    ['status --room ab12', { op: 'status', room: 'ab12' }],
    ['perf', { op: 'perf' }],
    ['clear', { op: 'clear' }],
    ['layer_prof', { op: 'layer_prof', all: true }],
    ['layer_prof --layer 3 --stage 1', { op: 'layer_prof', layerIndex: 3, stageIndex: 1 }],
  ])('%s', async (line, request) => {
    expect(await run(line)).toBe(0);
    expect(heard).toEqual([request]);
    expect(JSON.parse(printed[0])).toMatchObject({ ok: true });
  });

  test('a refusal is printed and gives exit code 1', async () => {
    reply = () => ({ ok: false, error: 'stale seq' });
    expect(await run('--from 0 --to 1 --seq 1')).toBe(1);
    expect(printed[0]).toContain('stale seq');
  });

  test('--wait waits for the end of the move', async () => {
    const states = ['preparing', 'copying', 'failed'];
    reply = ({ op }) =>
      op === 'set_plan'
        ? { ok: true, state: 'queued' }
        : {
            ok: true,
            moves: [
              { op: 'set_plan', seq: 5, state: states.shift() },
              { op: 'set_pp_migration', seq: 5, state: 'committed' },
            ],
          };
    expect(await run('--from 0 --to 1 --seq 5 --wait')).toBe(1);
    expect(JSON.parse(printed[0])).toEqual({ ok: false, op: 'set_plan', seq: 5, state: 'failed' });
    expect(states).toEqual([]);
  });

  test.each([
    ['--from 0', /--from A --to B/],
    ['--from a --to 1', /--from must be a whole number/],
    ['--move 0', /--move takes 2 to 5 numbers/],
    ['--from 0 --to 1 --exact 5', /--exact takes 2 numbers/],
    ['--kind 1 --kind2 --from 0 --to 1', /one kind/],
    ['--colour red', /Unknown option/],
    ['fly', /no command fly/],
    ['ping status', /One command/],
    ['watch --threshold 3', /--threshold/],
  ])('%s is refused with what to do', async (line, problem) => {
    const failing = run(line);
    await expect(failing).rejects.toThrow(PlanError);
    await expect(failing).rejects.toThrow(problem);
    expect(heard).toEqual([]);
  });

  test('a missing socket is explained', async () => {
    const output = { print: () => undefined };
    await expect(runPlan(['ping'], {}, output)).rejects.toThrow(/EDGEVISOR_PLAN_SOCKET/);
    const nowhere = join(folder, 'nowhere');
    await expect(runPlan(['ping', '--socket', nowhere], {}, output)).rejects.toThrow(
      `npm start -- --plan-socket ${nowhere}`,
    );
    expect(await run('--help')).toBe(0);
    expect(printed).toEqual([USAGE]);
  });
});

/** Rows of layers whose nodes (by stage) took so many microseconds. */
const rows = (layers: [stage: number, node: number, us: number, ok?: boolean][][]): LayerRow[] =>
  layers.map((nodes, layerIndex) =>
    nodes.map(([stageIndex, nodeIndex, us, ok = true]) => ({
      ok,
      stageIndex,
      nodeIndex,
      layerIndex,
      attnUs: us,
      ffnUs: 0,
    })),
  );

describe('watch', () => {
  test('finds the slowest and the fastest of the stage where they differ most', () => {
    const table = rows([
      [
        [0, 0, 100],
        [0, 1, 300],
        [0, 2, 200],
      ],
      [
        [0, 0, 100],
        [0, 1, 300],
        [0, 2, 50],
      ],
      [
        [1, 3, 100],
        [1, 4, 90],
      ],
      [[2, 5, 100]],
    ]);
    expect(rebalance(table, { threshold: 0.7 })).toMatchObject({ stage: 0, slowest: 1, fastest: 0 });
    expect(rebalance(table, { threshold: 0.7, layer: 1 })).toMatchObject({ slowest: 1, fastest: 2 });
    expect(rebalance(table, { threshold: 0.7, layer: 2 })).toBeUndefined();
    expect(rebalance(table, { threshold: 0.95, layer: 2 })).toMatchObject({ stage: 1, slowest: 3, fastest: 4 });
    expect(rebalance(table, { threshold: 0.3 })).toBeUndefined();
    expect(
      rebalance(
        rows([
          [
            [0, 0, 0, false],
            [0, 1, 300],
          ],
        ]),
        { threshold: 0.9 },
      ),
    ).toBeUndefined();
    expect(rebalance([], { threshold: 0.9 })).toBeUndefined();
  });

  test('moves from the slowest to the fastest, once for each look at new text, and stops', async () => {
    let epoch = 10;
    let looks = 0;
    const ending = new AbortController();
    reply = ({ op }) => {
      if (op === 'layer_prof') {
        if (++looks === 4) ending.abort();
        // The second look finds that nothing has been generated since.
        if (looks !== 2) epoch++;
        return {
          ok: true,
          layer_prof: {
            epoch,
            layers: rows([
              [
                [0, 0, 900],
                [0, 1, 100],
              ],
            ]),
          },
        };
      }
      if (op === 'status')
        return { ok: true, lastSeq: epoch, moves: [{ op: 'set_plan', seq: epoch + 1, state: 'committed' }] };
      return { ok: true, state: 'preparing' };
    };
    expect(await run('watch --kind 2 --ffn 32 --interval 1', ending.signal)).toBe(0);
    const commands = heard.filter(({ op }) => op === 'set_plan').map(cmdOf);
    expect(commands).toHaveLength(3);
    expect(commands[0]).toEqual({
      ...{ seq: 12, stageIndex: 0, fromNodeIndex: 0, toNodeIndex: 1, cmdKind: 2, nFfnToMove: 32 },
    });
    expect(printed[0]).toBe('stage 0: node 0 took 900 µs, node 1 100 µs: moved');
  });

  test('tells a refusal and goes on, to as many moves as it may make', async () => {
    let epoch = 0;
    reply = ({ op }) => {
      if (op === 'layer_prof')
        return {
          ok: true,
          layer_prof: {
            epoch: epoch++,
            layers: rows([
              [
                [0, 0, 900],
                [0, 1, 1],
              ],
            ]),
          },
        };
      return op === 'status' ? { ok: true, lastSeq: epoch } : { ok: false, error: 'Node 0 has no more.' };
    };
    expect(await run('watch --times 2 --interval 1')).toBe(0);
    expect(printed).toEqual(Array(2).fill('stage 0: node 0 took 900 µs, node 1 1 µs: Node 0 has no more.'));
  });
});
