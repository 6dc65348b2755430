/** The folder of records: writes them, and an index of all that are there. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT } from '../../scripts/build.ts';
import { table } from '../bench/table.ts';
import { rate } from './markdown.ts';
import { type Circumstances, type Outcome, recordName, verdict, writeRecord } from './record.ts';

const FOLDER = join(ROOT, 'docs', 'test-records');

/** What the index says of a record; kept in the record's last line. */
interface Entry {
  number: number;
  title: string;
  verdict: string;
  model: string;
  tokens?: number;
  prefill?: string;
  decode?: string;
  alone?: string;
  computedBy?: string;
  date: string;
}

/** Writes a record and renews the index; gives the record's path from the repository's root. */
export function keep(outcome: Outcome, circumstances: Omit<Circumstances, 'guide'>, defaultModel: string): string {
  const own = outcome.model === defaultModel;
  const folder = own ? FOLDER : join(FOLDER, outcome.model);
  mkdirSync(folder, { recursive: true });
  const path = join(folder, recordName(outcome.test));
  const record = writeRecord(outcome, { ...circumstances, guide: own ? '../acceptance.md' : '../../acceptance.md' });
  writeFileSync(path, `${record}\n<!-- ${JSON.stringify(entryOf(outcome, circumstances.date))} -->\n`);
  writeIndex();
  return relative(ROOT, path);
}

function entryOf(outcome: Outcome, date: Date): Entry {
  const { test, model, evidence, single } = outcome;
  const decode = (timings: { decodeTokens: number; decodeMs: number }) => rate(timings.decodeTokens, timings.decodeMs);
  return {
    ...{ number: test.number, title: test.title, verdict: verdict(outcome), model },
    ...(evidence && {
      tokens: evidence.generation.ids.length,
      prefill: rate(evidence.generation.timings.promptTokens, evidence.generation.timings.prefillMs),
      decode: decode(evidence.generation.timings),
      computedBy: evidence.status.devices[0]?.description ?? '',
    }),
    ...(single && { alone: decode(single.generation.timings) }),
    date: date.toISOString().slice(0, 10),
  };
}

function writeIndex(): void {
  const rows = readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })
    .filter((name) => /(^|\/)\d\d-.*\.md$/.test(name))
    .sort()
    .map((name) => {
      const entry = readEntry(join(FOLDER, name));
      return [
        `[${String(entry.number).padStart(2, '0')} ${entry.title}](${name})`,
        entry.verdict,
        entry.model,
        String(entry.tokens ?? ''),
        entry.prefill ?? '',
        entry.decode ?? '',
        entry.alone ?? '',
        entry.computedBy ?? '',
        entry.date,
      ];
    });
  const heads = [
    'test',
    'result',
    'model',
    'tokens',
    'prefill tok/s',
    'decode tok/s',
    'one device',
    'host computes by',
    'date',
  ];
  const text = [
    '# Records of the acceptance tests',
    'Written by `npm run acceptance`, which replaces the records of the tests that it runs: [what they are](../acceptance.md). "One device" is the decode speed of the run that the test was compared with.',
    table(heads, rows),
  ];
  writeFileSync(join(FOLDER, 'README.md'), `${text.join('\n\n')}\n`);
}

function readEntry(path: string): Entry {
  const [, json] = readFileSync(path, 'utf8').match(/<!-- (\{.*\}) -->\s*$/) ?? [];
  if (!json) throw new Error(`${path} does not end as records do. It was not written by this command; remove it.`);
  return JSON.parse(json) as Entry;
}
