/** The parts of the benchmarks that compute what is reported: wrong ones would give wrong figures without a sign. */
import { describe, expect, test } from 'vitest';
import type { Logit } from '../support/golden.ts';
import type { Run } from './engine.ts';
import { type MigrateResult, renderMigrate } from './migrate-report.ts';
import { parseSingleOptions } from './options.ts';
import { cutPrompt } from './prompt.ts';
import { replaceSection } from './results.ts';
import { roundingError } from './rounding.ts';
import { type EngineResult, renderSingle, type SingleResult, speeds } from './single-report.ts';
import { ratios, summarize } from './statistics.ts';
import { table } from './table.ts';

describe('statistics', () => {
  test('median of odd and even numbers of rounds, with the spread', () => {
    expect(summarize([3, 1, 2])).toEqual({ median: 2, low: 1, high: 3, rounds: 3 });
    expect(summarize([4, 1, 2, 10])).toEqual({ median: 3, low: 1, high: 10, rounds: 4 });
    expect(() => summarize([])).toThrow(RangeError);
  });

  test('ratios pair the rounds: a slow spell that hits both engines falls out', () => {
    expect(ratios([10, 2, 10], [5, 1, 5])?.median).toBe(2);
    expect(ratios([10, 2, 10], [5, 1, 5])?.low).toBe(2);
    expect(ratios([10], [])).toBeUndefined();
  });
});

describe('options', () => {
  test('defaults, lists and --quick', () => {
    expect(parseSingleOptions([])).toMatchObject({
      ...{ threads: [1, 2], backends: ['wasm', 'webgpu'], engines: ['ours', 'wllama', 'native'] },
      ...{ prompt: 128, decode: 64, record: false },
    });
    expect(
      parseSingleOptions(['--threads', '1,4', '--backend', 'wasm', '--quick', '--engines', 'native,ours']),
    ).toMatchObject({
      ...{ threads: [1, 4], backends: ['wasm'], rounds: 3, engines: ['ours', 'native'] },
    });
    expect(parseSingleOptions(['--help'])).toBe('help');
  });

  test.each([
    ['--threads', '0'],
    ['--rounds', 'x'],
    ['--backend', 'cpu'],
    ['--engines', 'ours,other'],
    ['--nothing', '1'],
  ])('%s %s is refused with the usage', (...args) => {
    expect(() => parseSingleOptions(args)).toThrow(/Usage: npm run bench -- single/);
  });
});

describe('prompt', () => {
  /** Words are tokens, except that `b c` alone is one. */
  const words = {
    ...{ addBos: true, bos: 9 },
    encode: (text: string) => (text === 'b c' ? [7] : text.split(' ').map((word) => word.charCodeAt(0))),
    decode: (ids: number[]) => ids.map((id) => String.fromCharCode(id)).join(' '),
  };

  test('has the length asked for, BOS included, and text that becomes the same ids', () => {
    expect(cutPrompt(words, 'a b c d', 3)).toEqual({ ids: [9, 97, 98], text: 'a b' });
    expect(cutPrompt({ ...words, addBos: false }, 'a b c d', 3)).toEqual({ ids: [97, 98, 99], text: 'a b c' });
  });

  test('is refused where the text is too short or its start becomes other tokens', () => {
    expect(() => cutPrompt(words, 'a b', 4)).toThrow(/too short/);
    expect(() => cutPrompt(words, 'b c d', 3)).toThrow(/cannot be cut/);
  });
});

const run = (promptTokens: number, prefillMs: number, decodeTokens: number, decodeMs: number, ids?: number[]): Run => ({
  ...{ promptTokens, prefillMs, decodeTokens, decodeMs },
  ...(ids && { ids }),
});

const engine = (part: Partial<EngineResult>): EngineResult => ({
  ...{ family: 'ours', backend: 'wasm', threads: 1, description: 'it', start: {}, runs: [] },
  ...part,
});

const result = (engines: EngineResult[]): SingleResult => ({
  ...{ benchmark: 'single', date: '2026-11-25T00:00:00Z', loadBefore: 0, rounds: 1, engines },
  machine: { processor: 'P', cores: 2, memoryBytes: 2 ** 30, system: 's', node: 'v' },
  workload: { model: 'm.gguf', bytes: 100e6, promptTokens: 128, decodeTokens: 64, context: 512 },
});

describe('report', () => {
  test('tokens a second of both phases', () => {
    const runs = [run(128, 1000, 64, 2000)];
    expect(speeds({ runs }, 'prefill')).toEqual([128]);
    expect(speeds({ runs }, 'decode')).toEqual([32]);
  });

  test('compares with the peer of as many threads, and threads with one thread', () => {
    const markdown = renderSingle(
      result([
        engine({ runs: [run(128, 1000, 64, 2000)] }),
        engine({ threads: 2, runs: [run(128, 500, 64, 1600)] }),
        engine({ family: 'native', backend: 'cpu', threads: 2, runs: [run(128, 1000, 64, 800)] }),
      ]),
    );
    expect(markdown).toMatch(/\| ours WASM, 2 threads +\|.+\| +2\.00 \| +0\.50 \|\n/);
    expect(markdown).toMatch(/\| ours WASM, 1 thread +\|.+\| +\| +\|\n/);
    expect(markdown).toContain('ours 2.00 and 1.25 (2 threads)');
  });

  test('peak memory over the size of the file, the worse of cold and cached', () => {
    const start = { warmLoadMs: 1, coldPeak: { tab: 150e6, browser: 160e6 }, warmPeak: { tab: 120e6, browser: 170e6 } };
    expect(renderSingle(result([engine({ start })]))).toMatch(/ 150 \| +120 \| +\| +\| +170 \| +1\.50 \|/);
  });

  test('rounding error over llama.cpp’s on the same texts', () => {
    const text = {
      ...{ name: 't', ids: [1], greedy: [2, 3], exactDisagreesAt: [] },
      steps: [
        {
          exact: [
            [5, 10],
            [6, 9],
          ] as Logit[],
          llamacpp: [
            [5, 10.5],
            [7, 1],
          ] as Logit[],
        },
        {
          exact: [
            [5, 8],
            [6, 7],
          ] as Logit[],
          llamacpp: [
            [5, 7.7],
            [6, 7],
          ] as Logit[],
        },
      ],
    };
    const own: Logit[][] = [
      [
        [6, 9],
        [5, 10.1],
        [9, 0],
      ],
      [
        [5, 8],
        [6, 7.1],
      ],
    ];
    const rounding = roundingError([text], [own]);
    expect(rounding).toMatchObject({ texts: 1, steps: 2 });
    expect(rounding.ours.worst).toBeCloseTo(0.1);
    expect(rounding.ours.rms).toBeCloseTo(Math.sqrt(0.02 / 4));
    expect(rounding.llamacpp.worst).toBeCloseTo(0.5);
    expect(rounding.llamacpp.rms).toBeCloseTo(Math.sqrt(0.34 / 3));
    expect(renderSingle(result([engine({ rounding })]))).toMatch(
      /\| ours WASM, 1 thread \| +1 \| +2 \| +0\.071 \| +0\.34 \| +0\.21 \| +0\.10 \| +0\.50 \| +0\.20 \|/,
    );
    expect(() => roundingError([text], [[[[5, 10]], []]])).toThrow(/token 6 is not among the best/);
  });

  test('names a failed engine, a busy machine, and where tokens part', () => {
    const markdown = renderSingle({
      ...result([
        engine({ failure: 'it broke' }),
        engine({ threads: 2, runs: [run(1, 1, 1, 1, [5, 6, 7])] }),
        engine({ family: 'native', backend: 'cpu', threads: 1, runs: [run(1, 1, 1, 1, [5, 6, 8])] }),
      ]),
      loadBefore: 3,
    });
    expect(markdown).toContain('**ours WASM, 1 thread failed**: it broke');
    expect(markdown).toContain('Noisy');
    expect(markdown).toContain('ours WASM, 2 threads 2 of 3');
  });
});

test('a table has padded columns', () => {
  expect(table(['a', 'long'], [['name', '1']])).toBe('| a    | long |\n| ---- | ---: |\n| name |    1 |');
});

test('recording replaces only what is between the marks', () => {
  const document = 'a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n';
  expect(replaceSection(document, 'x', 'new\n')).toBe('a\n<!-- x: begin -->\nnew\n<!-- x: end -->\nb\n');
  expect(() => replaceSection(document, 'y', '')).toThrow(/no lines/);
});

describe('report of `migrate`', () => {
  const move = { id: 1, state: 'committed' as const, epoch: 2, position: 9, kvBytes: 8000, commitMs: 5 };
  const result: MigrateResult = {
    ...{ benchmark: 'migrate', date: '2026-11-25T12:00:00Z', loadBefore: 0, model: 'm', backend: 'wasm', seed: 1 },
    machine: { processor: 'P', cores: 2, memoryBytes: 2 ** 30, system: 'linux', node: 'v20' },
    runs: [
      {
        ...{ ratios: '1:1:1', tabs: 3, tokens: 5, sameText: true },
        ...{ stillGapsMs: [10, 10, 10, 20], movedGapsMs: [20, 12, 10, 60] },
        // The second plan takes 12 ms a token, in which the last one, with no quiet token of its own, is counted too.
        marks: [
          { plan: 0, disturbed: true },
          { plan: 1, disturbed: false },
          { plan: 1, disturbed: true },
          { plan: 2, disturbed: true },
        ],
        moves: [
          { ...move, weightBytes: 1e6, prepareMs: 100, copyMs: 1, longestGapMs: 20 },
          { ...move, weightBytes: 3e6, prepareMs: 300, copyMs: 2, longestGapMs: 60 },
        ],
      },
    ],
  };

  test('divides by the median token and by the speed of the unmoved run', () => {
    const lines = renderMigrate(result).split('\n');
    const cell = (name: string) =>
      lines
        .find((line) => line.startsWith(`| ${name}`))
        ?.split('|')[2]
        ?.trim();
    expect(cell('moves in tokens')).toBe('2 in 5');
    expect(cell('text equal')).toBe('yes');
    expect(cell('its longest')).toBe('2.00');
    expect(cell('longest gap around a move')).toBe('4.00 (6.00)');
    expect(cell('tokens/s ÷ unmoved run')).toBe('0.49');
    // 10 ms before the first move, then 12 three times.
    expect(cell('tokens/s ÷ the same plans')).toBe('0.45');
    expect(cell('prepare')).toBe('200 (300)');
    expect(cell('weights')).toBe('2000 (3000)');
  });

  test('says so where the text differs', () => {
    expect(renderMigrate({ ...result, runs: result.runs.map((run) => ({ ...run, sameText: false })) })).toContain(
      '**no**',
    );
  });
});
