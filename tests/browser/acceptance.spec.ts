/** The acceptance tests (`npm run acceptance`) in short: the same code with a small model, behind slow links. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AcceptanceCase, CASES, type Form } from '../acceptance/cases.ts';
import { keptPages, type Pages } from '../acceptance/pages.ts';
import { writeRecord } from '../acceptance/record.ts';
import { createRunner, type RunCase } from '../acceptance/run.ts';
import { machine } from '../bench/machine.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { startTestServer, type TestServer } from './support/servers.ts';
import { expect, test } from './support/test.ts';

const MODEL = 'tiny-llama.Q4_0';
const { ids } = readGolden(repoPath(`tests/fixtures/${MODEL}.json`)).cases.find(({ name }) => name === 'ids33')!;
const FORM: Form = {
  model: MODEL,
  prompts: { P1: { ids }, P2: { ids } },
  // Up to the first step at which two tokens are as good as equal.
  steps: 24,
  ignoreEos: true,
  // Without, the answer would be over before a command has come.
  query: 'emulate=delay:10',
  expected: () => undefined,
};
/** The runs of one device first: the others are held against them. */
const order = ({ ratios, backend }: AcceptanceCase): number => (ratios === '1' ? 0 : backend === 'wasm' ? 1 : 2);
const SECRET = /room=[\w-]{10,}/;

let folder: string | undefined;
let server: TestServer | undefined;
let pages: Pages | undefined;
let run: RunCase | undefined;

test.beforeAll(async ({ browser }) => {
  folder = mkdtempSync(join(tmpdir(), 'edgevisor-'));
  const socket = join(folder, 'plan.sock');
  server = await startTestServer({ EDGEVISOR_PLAN_SOCKET: socket });
  pages = keptPages({ browser, url: server.url, socket, form: FORM });
  run = createRunner({ pages, socket, form: FORM });
});
test.afterAll(async () => {
  await pages?.close();
  await server?.close();
  if (folder) rmSync(folder, { recursive: true });
});

// By backend, so that the tabs can stay.
for (const one of [...CASES].sort((a, b) => order(a) - order(b))) {
  test(`${one.number} ${one.title}`, async () => {
    const outcome = await (run as RunCase)(one);
    expect(outcome.failure).toBeUndefined();
    expect(outcome.checks.filter(({ passed }) => !passed)).toEqual([]);
    const record = writeRecord(outcome, {
      ...{ machine: machine(), load: 0, date: new Date(0), commit: 'none', command: 'npm test', guide: '' },
    });
    expect(record).toContain(`${one.title}: PASSED`);
    // All tokens, the commands as they were sent, no secret.
    expect(record).toContain(`\n| ${FORM.steps} `);
    if (one.move) expect(record).toContain(`> ${JSON.stringify(one.move)}`);
    expect(record).not.toMatch(SECRET);
  });
}
