/**
 * `npm test`: every check of the project, in steps that it names in plain words. A check, a build or the default model
 * that fails ends it; failing tests do not keep the other tests from running. Ends with a line
 * `N passed, N failed, N skipped` over all tests. `--only check|unit|browser` runs one part (and what it needs).
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DEFAULT_MODELS_DIR } from '../signaling-server/options.ts';
import { audit } from './audit.ts';
import { findWebKit } from './browsers.ts';
import { ensureKernels, ensurePages } from './build.ts';
import { ensureModel } from './default-model.ts';
import { engineTable } from './engine-table.ts';
import { ensureBrowsers } from './install-browsers.ts';
import { RunError, run } from './run.ts';
import { readPlaywright, readVitest, type SkippedTest, type Tally } from './test-results.ts';

type Part = 'check' | 'unit' | 'browser';
const PARTS: readonly string[] = ['check', 'unit', 'browser'] satisfies Part[];
const USAGE = `Usage: npm test -- [--only ${PARTS.join('|')}]`;

interface Step {
  name: string;
  parts: Part[];
  run: () => Promise<void>;
}

/** Fits host-page, contribute-page and mesh-panel, and has no character that a shell would read. */
const PAGES_ON_FAKES = '-pa[gn]el?.spec';

const say = (line: string) => console.log(line);
const total: Tally = { passed: 0, failed: 0, skipped: [] };

function steps(scratch: string): Step[] {
  return [
    {
      name: 'Type check, lint and format check',
      parts: ['check'],
      run: () => run('npm', ['run', '--silent', 'check']),
    },
    { name: 'Dependency audit', parts: ['check'], run: checkDependencies },
    { name: 'Default model', parts: ['unit', 'browser'], run: () => ensureModel(DEFAULT_MODELS_DIR, say) },
    { name: 'WASM kernels', parts: ['unit', 'browser'], run: () => ensureKernels() },
    { name: 'Unit and kernel tests', parts: ['unit'], run: () => runVitest(join(scratch, 'unit.json')) },
    { name: 'Pages', parts: ['browser'], run: () => ensurePages(say) },
    { name: 'Browser tests', parts: ['browser'], run: () => runPlaywright(join(scratch, 'browser.json')) },
  ];
}

async function checkDependencies(): Promise<void> {
  const result = await audit();
  if (result.state === 'found') throw new Error(`Packages have known holes; "npm audit fix" may help.\n${result.text}`);
  if (result.state === 'unasked') total.skipped.push({ title: 'Dependency audit', why: `not asked: ${result.why}` });
}

function runVitest(report: string): Promise<void> {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  return runTests(() => run('npx', ['vitest', 'run', ...reporters]), report, readVitest);
}

async function runPlaywright(report: string): Promise<void> {
  const browsers = await ensureBrowsers(say);
  if (browsers.length === 0)
    throw new Error('No browser to test with. Install Chromium or Firefox, or set CHROMIUM_PATH or FIREFOX_PATH.');
  for (const name of ['chromium', 'firefox'] as const)
    if (!browsers.includes(name))
      total.skipped.push({ title: `All tests in ${name}`, why: 'this browser is not on the machine' });
  if (!findWebKit())
    total.skipped.push({
      title: 'All tests in webkit',
      why: 'packages webkit2gtk-driver and xvfb are not on the machine',
    });
  // Whether a page shows what a fake tells it takes little of a machine: two at a time. The rest wants all of it.
  await playwright(['--workers', '2', '--grep', PAGES_ON_FAKES], `${report}.pages`);
  await playwright(['--grep-invert', PAGES_ON_FAKES], report);
  say(`\nThe same cases in every engine:\n${(await engineTable(report)).join('\n')}`);
}

function playwright(args: string[], report: string): Promise<void> {
  const env = { ...process.env, PLAYWRIGHT_JSON_OUTPUT_FILE: report };
  const runner = () => run('npx', ['playwright', 'test', '--reporter=list,json', ...args], { env });
  return runTests(runner, report, readPlaywright);
}

/** Runs a test runner and adds up its tests. One that ends with a failure that no test accounts for has crashed. */
async function runTests(
  runner: () => Promise<void>,
  report: string,
  read: (path: string) => Promise<Tally>,
): Promise<void> {
  const failure = await runner().then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!existsSync(report)) throw failure ?? new Error('The test runner left no report.');
  const tally = await read(report);
  total.passed += tally.passed;
  total.failed += tally.failed;
  total.skipped.push(...tally.skipped);
  if (failure && tally.failed === 0) throw failure;
}

async function runSteps(chosen: Step[]): Promise<void> {
  for (const step of chosen) {
    say(`\n=== ${step.name}`);
    const start = Date.now();
    try {
      await step.run();
    } catch (error) {
      const reason = error instanceof RunError || error instanceof Error ? error.message : String(error);
      say(`\nStopped at "${step.name}": ${reason}`);
      total.failed++;
      return;
    }
    say(`    (${((Date.now() - start) / 1000).toFixed(0)} s)`);
  }
}

function describeSkipped(skipped: SkippedTest[]): void {
  if (skipped.length > 0) say('\nSkipped:');
  for (const { title, why } of skipped) say(`- ${title}${why ? `: ${why}` : ''}`);
}

async function main(): Promise<void> {
  const { only } = parseArgs({ options: { only: { type: 'string' } } }).values;
  if (only !== undefined && !PARTS.includes(only)) throw new Error(`There is no part "${only}".`);
  const scratch = await mkdtemp(join(tmpdir(), 'edgevisor-test-'));
  try {
    await runSteps(steps(scratch).filter(({ parts }) => only === undefined || parts.some((part) => part === only)));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  describeSkipped(total.skipped);
  say(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped`);
  if (total.failed > 0) process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
  process.exitCode = 1;
});
