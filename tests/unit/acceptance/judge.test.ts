/** The judgement of acceptance tests: a sound run passes, and whatever is wrong with one fails the check that is about it. */
import { describe, expect, test } from 'vitest';
import type { Form } from '../../acceptance/cases.ts';
import { CASES } from '../../acceptance/cases.ts';
import { judge, passedAll } from '../../acceptance/judge.ts';
import type { Evidence } from '../../acceptance/play.ts';
import { writeRecord } from '../../acceptance/record.ts';
import { machine } from '../../bench/machine.ts';
import { evidence } from './evidence.ts';

const FORM: Form = { model: 'tiny', prompts: { P1: { ids: [1] }, P2: { ids: [1] } }, expected: () => undefined };
const single = evidence(5).generation.ids;
const failing = (run: Evidence, form = FORM) =>
  judge(run, single, form)
    .filter(({ passed }) => !passed)
    .map(({ what }) => what);

test.each([5, 7] as const)('a sound run of test %i passes every check', (number) => {
  expect(failing(evidence(number))).toEqual([]);
  expect(passedAll(judge(evidence(number), single, FORM))).toBe(true);
});

const faults: [name: string, spoil: (run: Evidence) => void, check: RegExp][] = [
  ['no token', ({ generation }) => generation.ids.splice(0), /ends well/],
  ['an abort', ({ generation }) => Object.assign(generation, { finishReason: 'abort' }), /ends well/],
  ['a token that was not shown', ({ tokens }) => tokens.pop(), /shown as it came/],
  ['an error in the log', ({ logs }) => logs.push({ level: 'error', text: 'lost' }), /without an error/],
  ['a page that failed', ({ status }) => Object.assign(status, { state: 'failed' }), /ready for the next/],
  ['another backend', ({ status }) => Object.assign(status.devices[1]!, { backend: 'webgpu' }), /ran as asked/],
  ['another token', ({ generation }) => generation.ids.splice(3, 1, 7), /those of one device/],
  ['a device without a counter', ({ status }) => Object.assign(status.devices[2]!, { tokens: 0 }), /computed all/],
  ['a device that sent nothing', ({ status }) => Object.assign(status.devices[2]!, { bytesSent: 0 }), /computed all/],
  [
    'a device that missed a token',
    ({ passes }) => (passes[1]!.passes = passes[1]!.passes.slice(0, -1)),
    /computed all/,
  ],
  [
    'a device that did nothing in a pass',
    ({ passes }) => Object.assign(passes[1]!, { passes: passes[1]!.passes.map((pass) => ({ ...pass, execMs: 0 })) }),
    /computed all/,
  ],
  ['a command that was sent early', ({ exchanges }) => (exchanges[0]!.seen = [5, 6]), /command was sent/],
  [
    'a command that was refused',
    ({ exchanges }) => (exchanges[0]!.answer = '{"ok":false,"error":"no"}'),
    /command was sent/,
  ],
  ['a command that was never sent', ({ exchanges }) => exchanges.shift(), /command was sent/],
  ['a move that failed', ({ status }) => Object.assign(status.moves[0]!, { state: 'failed' }), /was committed/],
  [
    'a socket that does not say so',
    ({ exchanges }) => (exchanges[1]!.answer = '{"ok":true,"moves":[]}'),
    /was committed/,
  ],
  ['the old epoch', ({ after }) => Object.assign(after, { epoch: 1 }), /next epoch/],
  ['shares that stayed', (run) => Object.assign(run, { after: { ...run.before, epoch: 2 } }), /shares are those/],
  ['a switch near the beginning', ({ status }) => (status.moves[0]!.position = 13), /took over at least/],
  ['a switch near the end', ({ status }) => (status.moves[0]!.position = 25), /took over at least/],
  [
    'a device that switched late',
    ({ passes }) =>
      Object.assign(passes[2]!, {
        passes: passes[2]!.passes.map((pass) => ({ ...pass, epoch: pass.position < 20 ? 1 : 2 })),
      }),
    /old plan/,
  ],
];

describe.each([5, 7] as const)('test %i fails for', (number) => {
  test.each(faults)('%s', (_, spoil, check) => {
    const run = evidence(number);
    spoil(run);
    expect(failing(run)).toContainEqual(expect.stringMatching(check));
  });
});

test('a run is held against the known tokens of its model, as far as both go', () => {
  const known = (tokens: number[]): Form => ({ ...FORM, expected: () => tokens });
  expect(failing(evidence(5), known([...single, 1, 2]))).toEqual([]);
  expect(failing(evidence(5), known([1, ...single]))).toEqual([expect.stringContaining('tests/fixtures')]);
});

describe('a record', () => {
  const circumstances = {
    ...{ machine: machine(), load: 0, date: new Date(0), commit: 'abc', command: 'npm run acceptance', guide: 'g.md' },
  };
  const [five] = CASES.filter(({ number }) => number === 5);

  test('has every token, and texts that would break a table in a form that does not', () => {
    const run = evidence(5);
    const record = writeRecord(
      { test: five!, model: 'tiny', checks: judge(run, single, FORM), evidence: run },
      circumstances,
    );
    expect(record).toContain('# 05 CPU, a head moves while text flows: PASSED');
    const rows = record
      .split('## Tokens')[1]!
      .split('## Devices')[0]!
      .split('\n')
      .filter((line) => /^\| \d/.test(line));
    expect(rows).toHaveLength(single.length);
    const columns = (line: string) => line.split(/(?<!\\)\|/).length;
    expect(new Set(rows.map(columns)).size).toBe(1);
  });

  test('says FAILED where a check fails, and where there was no run', () => {
    const run = evidence(5);
    run.generation.ids[2] = 0;
    const spoiled = { test: five!, model: 'tiny', checks: judge(run, single, FORM), evidence: run };
    expect(writeRecord(spoiled, circumstances)).toContain('flows: FAILED');
    const none = { test: five!, model: 'tiny', checks: [], failure: 'The model was not loaded.' };
    expect(writeRecord(none, circumstances)).toMatch(/flows: FAILED[\s\S]*The model was not loaded\./);
  });
});
