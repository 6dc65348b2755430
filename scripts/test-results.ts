import { readFile } from 'node:fs/promises';

/** How a test runner's tests went. */
export interface Tally {
  passed: number;
  failed: number;
  skipped: SkippedTest[];
}

export interface SkippedTest {
  title: string;
  why?: string;
}

/** Reads what Vitest's JSON reporter wrote. A file of tests that could not be loaded counts as one failed test. */
export async function readVitest(path: string): Promise<Tally> {
  const report: VitestReport = JSON.parse(await readFile(path, 'utf8'));
  const tally: Tally = { passed: 0, failed: 0, skipped: [] };
  for (const file of report.testResults) {
    if (file.status === 'failed' && file.assertionResults.length === 0) tally.failed++;
    for (const { status, fullName } of file.assertionResults)
      if (status === 'passed') tally.passed++;
      else if (status === 'failed') tally.failed++;
      else tally.skipped.push({ title: fullName });
  }
  return tally;
}

interface VitestReport {
  testResults: { status: string; assertionResults: { status: string; fullName: string }[] }[];
}

/** Reads what Playwright's JSON reporter wrote. An error outside a test counts as one failed test. */
export async function readPlaywright(path: string): Promise<Tally> {
  const report: PlaywrightReport = JSON.parse(await readFile(path, 'utf8'));
  const tally: Tally = { passed: 0, failed: report.errors.length, skipped: [] };
  for (const { title, tests } of report.suites.flatMap(specsOf))
    for (const test of tests)
      if (test.status === 'expected' || test.status === 'flaky') tally.passed++;
      else if (test.status === 'unexpected') tally.failed++;
      else {
        const why = whySkipped(test);
        tally.skipped.push({ title: `[${test.projectName}] ${title}`, ...(why !== undefined && { why }) });
      }
  return tally;
}

/** How a test went in an engine: `passed`, `failed`, `flaky` (passed when tried again), `skipped`. */
export interface EngineResult {
  outcome: 'passed' | 'failed' | 'flaky' | 'skipped';
  why?: string;
}

const OUTCOMES: Record<string, EngineResult['outcome']> = { expected: 'passed', unexpected: 'failed', flaky: 'flaky' };

/** How the tests of a file went in each engine, by title, in the file's order. */
export async function readByEngine(path: string, file: RegExp): Promise<Map<string, Map<string, EngineResult>>> {
  const report: PlaywrightReport = JSON.parse(await readFile(path, 'utf8'));
  const results = new Map<string, Map<string, EngineResult>>();
  for (const spec of report.suites.flatMap(specsOf).filter((one) => file.test(one.file))) {
    const row = results.get(spec.title) ?? new Map<string, EngineResult>();
    results.set(spec.title, row);
    for (const test of spec.tests) {
      const why = whySkipped(test);
      row.set(test.projectName, { outcome: OUTCOMES[test.status] ?? 'skipped', ...(why !== undefined && { why }) });
    }
  }
  return results;
}

const whySkipped = ({ annotations }: PlaywrightTest): string | undefined =>
  annotations.find(({ type }) => type === 'skip' || type === 'fixme')?.description;

interface PlaywrightTest {
  status: string;
  projectName: string;
  annotations: { type: string; description?: string }[];
}

interface PlaywrightSpec {
  title: string;
  /** Relative to the tests' directory. */
  file: string;
  tests: PlaywrightTest[];
}

interface PlaywrightSuite {
  specs: PlaywrightSpec[];
  suites?: PlaywrightSuite[];
}

interface PlaywrightReport {
  suites: PlaywrightSuite[];
  errors: unknown[];
}

function specsOf(suite: PlaywrightSuite): PlaywrightSpec[] {
  return [...suite.specs, ...(suite.suites ?? []).flatMap(specsOf)];
}
