/** The record of one acceptance test: Markdown that a stranger can read, made from what the run gathered. */
import { describeMachine, type Machine } from '../bench/machine.ts';
import { table } from '../bench/table.ts';
import { type AcceptanceCase, devicesIn } from './cases.ts';
import { type Check, passedAll } from './judge.ts';
import { cell, facts, fence, rate } from './markdown.ts';
import type { Evidence } from './play.ts';
import { devices, tokens } from './record-figures.ts';
import { answer, dialogue, move, NODES, shareTable, whatRan } from './record-run.ts';

/** Where and when a run took place. */
export interface Circumstances {
  machine: Machine;
  /** Busy processors before the first test. */
  load: number;
  date: Date;
  /** Of the sources; says so where files were changed since. */
  commit: string;
  /** What repeats the test. */
  command: string;
  /** Way from the record to docs/acceptance.md. */
  guide: string;
}

export interface Outcome {
  test: AcceptanceCase;
  model: string;
  checks: Check[];
  evidence?: Evidence;
  /** The single-device run that the answer was compared with. */
  single?: Evidence;
  /** The same question to one CPU device, for tests on a GPU. */
  cpu?: Evidence;
  /** Why there is no evidence. */
  failure?: string;
}

export const verdict = ({ checks, failure }: Pick<Outcome, 'checks' | 'failure'>): 'PASSED' | 'FAILED' =>
  failure === undefined && passedAll(checks) ? 'PASSED' : 'FAILED';

const twoDigits = (number: number): string => String(number).padStart(2, '0');

export const recordName = ({ number, slug }: AcceptanceCase): string => `${twoDigits(number)}-${slug}.md`;

export function writeRecord(outcome: Outcome, circumstances: Circumstances): string {
  const { test, evidence, checks, failure } = outcome;
  const parts = [
    `# ${twoDigits(test.number)} ${test.title}: ${verdict(outcome)}`,
    test.about,
    `Written by \`npm run acceptance\`, not by hand: [what the tests are, and how they are judged](${circumstances.guide}).`,
    summary(outcome, circumstances),
    '## Checks',
    ...(failure ? [`The run could not be carried out: ${failure}`] : []),
    ...(checks.length > 0 ? [checkTable(checks)] : []),
    ...(evidence ? sections(outcome, evidence, circumstances) : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

const checkTable = (checks: Check[]): string =>
  table(
    ['check', 'result', 'found'],
    checks.map(({ what, passed, found }) => [what, passed ? 'passed' : '**FAILED**', cell(found)]),
    'left',
  );

function summary({ test, model, evidence, single }: Outcome, { machine, load, date, commit }: Circumstances): string {
  const backend = test.backend === 'wasm' ? 'WebAssembly' : 'WebGPU';
  return facts([
    ['model', model],
    ['devices', `${devicesIn(test.ratios)}, shares \`${test.ratios}\`, ${backend}`],
    ...(evidence ? ran(evidence, single) : []),
    ['machine', describeMachine(machine, load)],
    ['run', `${date.toISOString().slice(0, 16).replace('T', ' ')} UTC, commit ${commit}, Node.js ${machine.node}`],
  ]);
}

function ran(evidence: Evidence, single: Evidence | undefined): [string, string][] {
  const { ids, promptIds } = evidence.generation;
  return [
    ['computed by', computers(evidence)],
    ['browser', evidence.browser],
    ['answer', `${ids.length} tokens after a prompt of ${promptIds.length}`],
    ['speed', speedOf(evidence)],
    ...(single ? [['one device', `${speedOf(single)}; ${computers(single)}`] satisfies [string, string]] : []),
  ];
}

const computers = ({ status }: Evidence): string =>
  [...new Set(status.devices.map(({ description, backend }) => description ?? backend))].join(', ');

function speedOf({ generation: { timings } }: Evidence): string {
  const { promptTokens, prefillMs, decodeTokens, decodeMs } = timings;
  return `prefill ${rate(promptTokens, prefillMs)}, decode ${rate(decodeTokens, decodeMs)} tokens/s`;
}

function sections({ cpu }: Outcome, evidence: Evidence, { command }: Circumstances): string[] {
  return [
    '## What was run',
    whatRan(evidence, command),
    ...(evidence.task.move ? ['## The move', ...move(evidence)] : ['## Shares', NODES, shareTable(evidence, 'before')]),
    '## Answer',
    ...answer(evidence, cpu),
    '## Tokens',
    ...tokens(evidence),
    '## Devices',
    ...devices(evidence),
    '## Dialogue with the plan socket',
    'Every line that was sent while the test ran (`>`), and the answer (`<`), as they went over the Unix socket.',
    fence(evidence.exchanges.map(dialogue).join('\n')),
  ];
}
