/** Tables of `peers`, `context` and `mesh`: the figures in them are worked out here by hand. */
import { describe, expect, test } from 'vitest';
import type { Pass, Plan } from '../../web/api.ts';
import { againstPlot, comparisons, renderAgainst } from './against-report.ts';
import { parseContextOptions } from './context.ts';
import { arithmeticMs, type ContextResult, contextPlots, promptMacs, renderContext } from './context-report.ts';
import { boundOf, type MeshResult, type MeshRow, memberTimes, partsOf, renderMesh, waitsOf } from './mesh-report.ts';
import { PEERS, parseSingleOptions } from './options.ts';
import type { EngineResult, SingleResult } from './single-report.ts';
import { pacing } from './slow-link.ts';
import { parseStartOptions } from './start.ts';
import { renderStart } from './start-report.ts';

const MACHINE = { processor: 'P', cores: 2, memoryBytes: 2 ** 30, system: 's', node: 'v' };
const when = { date: '2026-11-25T00:00:00Z', machine: MACHINE, loadBefore: 0 };

describe('against the peers', () => {
  const engine = (family: EngineResult['family'], prefillMs: number, decodeMs: number): EngineResult => ({
    ...{ family, backend: family === 'native' ? 'cpu' : 'wasm', threads: 1, description: `it is ${family}`, start: {} },
    runs: [{ promptTokens: 100, prefillMs, decodeTokens: 50, decodeMs }],
  });
  const result: SingleResult = {
    ...{ ...when, benchmark: 'single', rounds: 1 },
    workload: { model: 'm.gguf', bytes: 1, promptTokens: 100, decodeTokens: 50, context: 512 },
    engines: [engine('ours', 1000, 500), engine('wllama', 10_000, 5000), engine('native', 500, 1000)],
  };

  test('ours over each peer, phase by phase', () => {
    expect(comparisons(result).map(({ peer, phase, ratio }) => [peer, phase, ratio.median])).toEqual([
      ['wllama WASM, 1 thread', 'prefill', 10],
      ['wllama WASM, 1 thread', 'decode', 10],
      ['llama.cpp native, 1 thread', 'prefill', 0.5],
      ['llama.cpp native, 1 thread', 'decode', 2],
    ]);
    const markdown = renderAgainst(result, 'npm run bench -- peers --record', '![plot](plots/peers.svg)');
    expect(markdown).toContain('by `npm run bench -- peers --record` on');
    expect(markdown).toContain('![plot](plots/peers.svg)');
    expect(markdown).toMatch(
      /ours WASM, 1 thread \| +llama.cpp native, 1 thread \| +decode \| +100\.0 \| +50\.0 \| +2\.00 \(2\.00 to 2\.00\) \|/,
    );
  });

  test('a peer that failed is named and not compared', () => {
    const [ours, wllama] = result.engines as [EngineResult, EngineResult];
    const failed = { ...result, engines: [ours, { ...wllama, runs: [], failure: 'it broke' }] };
    expect(comparisons(failed)).toEqual([]);
    expect(renderAgainst(failed, 'c')).toContain('**wllama WASM, 1 thread failed**: it broke');
  });

  test('the plot has a bar an engine in every phase', () => {
    const svg = againstPlot(result) ?? '';
    for (const text of [
      'prefill, 1 thread',
      'decode, 1 thread',
      'ours, browser, WASM',
      'wllama, browser',
      'llama.cpp, native',
    ])
      expect(svg).toContain(`>${text}<`);
    expect([...svg.matchAll(/<rect class="f/g)]).toHaveLength(6);
    expect(againstPlot({ ...result, engines: [] })).toBeUndefined();
  });

  test('has fewer rounds than single, WASM alone by default, and a usage of its own', () => {
    expect(parseSingleOptions([], PEERS)).toMatchObject({ rounds: 5, backends: ['wasm'], profile: false });
    expect(parseSingleOptions(['--profile'])).toMatchObject({ rounds: 9, profile: true });
    expect(() => parseSingleOptions(['--rounds', '0'], PEERS)).toThrow(/Usage: npm run bench -- peers/);
  });
});

describe('start', () => {
  test('a slow link waits for what it has brought, and saves up no more than a burst', () => {
    const wait = pacing(1e6);
    // 10 kB take 10 ms at this rate, of which the burst forgives 5.
    expect(wait(10_000, 0)).toBe(5);
    expect(wait(10_000, 5)).toBe(10);
    expect(wait(1000, 1000)).toBe(0);
    expect(wait(10_000, 1000)).toBe(6);
  });

  test('options, and the table: text over download, round by round', () => {
    expect(parseStartOptions(['--quick', '--rates', '7,8'])).toMatchObject({
      ...{ rates: [7, 8], rounds: 1, backend: 'auto' },
    });
    expect(() => parseStartOptions(['--rates', '0'])).toThrow(/whole numbers above 0/);
    expect(() => parseStartOptions(['--backend', 'gpu'])).toThrow(/--backend/);
    const markdown = renderStart({
      ...{ ...when, benchmark: 'start', model: 'm', backend: 'auto', bytes: 9e6, rounds: 2 },
      rows: [{ rate: 10, downloadMs: [1000, 2000], openToTextMs: [1500, 2200] }],
    });
    expect(markdown).toMatch(/\| 10 +\| +1\.50 \| +1\.85 \| +1\.30 \(1\.10 to 1\.50\) \|/);
  });
});

describe('context', () => {
  const shape = { layers: 2, dim: 4, heads: 2, kvHeads: 1, headDim: 2, ffn: 8, vocab: 10 };
  const result: ContextResult = {
    ...{ ...when, benchmark: 'context', model: 'm', shape, rounds: 1, decodeTokens: 4 },
    engines: [
      {
        ...{ backend: 'wasm', threads: 1, description: 'a browser' },
        prefill: [
          { length: 10, ms: [100] },
          { length: 20, ms: [300] },
        ],
        decode: [
          { position: 100, msPerToken: [10, 8, 9] },
          { position: 1000, msPerToken: [12] },
        ],
      },
    ],
  };

  test('the arithmetic of a prompt: weights a token, pairs of tokens, one head', () => {
    // q and o 4 × 4, k and v 4 × 2, three times 4 × 8, in two layers; pairs: both heads, two values, 10 · 11 / 2 of them, twice.
    const layers = 2 * (2 * 16 + 2 * 8 + 3 * 32);
    expect(promptMacs(shape, 10)).toBe(10 * layers + 40 + 2 * 2 * 2 * 10 * 11);
    expect(arithmeticMs(shape, { length: 10, ms: 100 }, 10)).toBe(100);
    expect(arithmeticMs(shape, { length: 10, ms: 100 }, 20)).toBeCloseTo(
      (100 * promptMacs(shape, 20)) / promptMacs(shape, 10),
    );
  });

  test('speeds by position and length, against the first and the arithmetic', () => {
    const markdown = renderContext(result, ['![plot](plots/context-decode.svg)']);
    expect(markdown).toMatch(/\| +100 \| +9\.00 \| +111\.1 \| +1\.00 \|/);
    expect(markdown).toMatch(/\| +1000 \| +12\.00 \| +83\.3 \| +0\.75 \|/);
    const ratio = (300 / arithmeticMs(shape, { length: 10, ms: 100 }, 20)).toFixed(2);
    expect(markdown).toMatch(new RegExp(`\\| +20 \\| +0\\.30 \\| +66\\.7 \\| +${ratio} \\|`));
    expect(markdown).toContain('![plot](plots/context-decode.svg)');
  });

  test('plots of both, the work alone beside the prefill', () => {
    const { decode, prefill } = contextPlots(result);
    expect([...(decode ?? '').matchAll(/<circle /g)]).toHaveLength(2);
    expect(decode).toContain('>1,000<');
    expect(prefill).toContain('>the work alone<');
    expect(contextPlots({ ...result, engines: [] })).toEqual({});
  });

  test('options', () => {
    expect(parseContextOptions([])).toMatchObject({
      ...{ positions: [100, 1000, 2000, 4000], lengths: [128, 256, 512, 1024, 2048, 4096] },
      ...{ backends: ['wasm'], threads: 1, rounds: 3, record: false },
    });
    expect(parseContextOptions(['--quick', '--positions', '30,20', '--backend', 'both'])).toMatchObject({
      ...{ positions: [20, 30], lengths: [128, 512], rounds: 1, backends: ['wasm', 'webgpu'] },
    });
    expect(() => parseContextOptions(['--lengths', '0'])).toThrow(/Usage: npm run bench -- context/);
  });
});

describe('mesh', () => {
  const member = (device: number): Plan['stages'][number]['members'][number] => ({
    device,
    qHeads: [],
    ffn: [],
    vocab: [],
  });
  const plan = (...stages: [from: number, to: number, devices: number[]][]): Plan => ({
    epoch: 1,
    stages: stages.map(([from, to, devices]) => ({ layers: [from, to], members: devices.map(member) })),
  });
  const TP = plan([0, 30, [0, 1, 2]]);
  const PP = plan([0, 15, [0]], [15, 30, [1]]);

  test('what a token waits for', () => {
    expect(waitsOf(plan([0, 30, [0]]))).toEqual({ sums: 0, rows: 0, answers: 0 });
    expect(waitsOf(TP)).toEqual({ sums: 60, rows: 1, answers: 1 });
    expect(waitsOf(PP)).toEqual({ sums: 0, rows: 1, answers: 1 });
    expect(waitsOf(plan([0, 10, [0]], [10, 30, [1, 2]]))).toEqual({ sums: 40, rows: 1, answers: 1 });
    // A host that only conducts sends the token, too.
    expect(waitsOf(plan([0, 30, [1]]))).toEqual({ sums: 0, rows: 0, answers: 2 });
  });

  const row = (of: Plan, given: Partial<MeshRow>): MeshRow => ({
    ...{ layout: 'TP', ratios: '1:1:1', delayMs: 3, plan: of, hostBytes: [275_000], prefillPerSecond: [20] },
    ...{ tokensPerSecond: [5], members: [], delays: { sum: [], row: [] } },
    ...given,
  });
  const times = (device: number, computeMs: number, syncMs: number) => ({
    ...{ device, computeMs, syncMs, sentBytes: 1500, receivedBytes: 2500 },
  });
  const delay = (device: number, oneWayMs: number) => ({ device, bytes: 1, oneWayMs });
  const shared = row(TP, {
    members: [times(0, 5, 190), times(1, 8, 187), times(2, 7, 150)],
    delays: { sum: [delay(1, 2.5), delay(2, 3)], row: [delay(1, 3), delay(2, 4)] },
  });

  test('the bound: the slowest member of each stage and the slowest link', () => {
    expect(boundOf(shared)).toEqual({ sumMs: 3, rowMs: 4, networkMs: 61 * 3 + 4, computeMs: 8 });
    const pipeline = row(PP, {
      members: [times(0, 5, 0), times(1, 6, 0)],
    });
    expect(boundOf(pipeline)).toMatchObject({ computeMs: 11, networkMs: 0 });
  });

  test('the parts of a device’s token add up to the token', () => {
    const parts = shared.members.map((one) => partsOf(shared, one));
    // Sixty sums of 3 ms; of the other 7 ms of messages only 5 are left.
    expect(parts[0]).toEqual({ computeMs: 5, transferMs: 185, othersMs: 10, restMs: 0 });
    // A wait shorter than the measured transfer is all transfer.
    expect(parts[2]).toEqual({ computeMs: 7, transferMs: 157, othersMs: 0, restMs: 36 });
    for (const one of parts) expect(Object.values(one).reduce((a, b) => a + b, 0)).toBe(200);
  });

  test('means of the last tokens, without the prompt', () => {
    const pass = (tokens: number, execMs: number): Pass => ({
      ...{ epoch: 1, position: 0, tokens, execMs, syncMs: 10 * execMs, bytesSent: 1500, bytesReceived: 2500 },
    });
    const passes = [pass(64, 500), pass(1, 90), pass(1, 1), pass(1, 6), pass(1, 2)];
    expect(
      memberTimes(
        [
          { device: 4, passes },
          { device: 5, passes: [] },
        ],
        3,
      ),
    ).toEqual([times(4, 3, 30)]);
  });

  test('the tables say speed, bound and share reached', () => {
    const alone = row(plan([0, 30, [0]]), { layout: 'alone', ratios: '1', delayMs: 0, tokensPerSecond: [50] });
    const result: MeshResult = {
      ...when,
      benchmark: 'mesh',
      model: 'm',
      wire: 'q15',
      rounds: 1,
      decodeTokens: 8,
      rows: [alone, shared],
    };
    const markdown = renderMesh(result);
    expect(markdown).toMatch(/TP \(`1:1:1`\), 3 ms \| +5\.0 \| +0\.10 \| +20\.0 \| +275\.0 \| +1\.00 \|/);
    // 187 ms of network, 8 of computing: 1000 / 195 a second.
    expect(markdown).toMatch(
      /TP \(`1:1:1`\), 3 ms \| +62 \| +3\.00 \| +187\.0 \| +5\.3 \| +8\.0 \| +5\.1 \| +0\.97 \|/,
    );
    expect(markdown).toMatch(
      /TP \(`1:1:1`\), 3 ms \| +1 \| +8\.00 \| +185\.00 \| +7\.00 \| +0\.00 \| +1\.5 \| +2\.5 \|/,
    );
  });
});
