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
  const specs = report.suites.flatMap(specsOf);
  for (const { title, tests } of specs)
    for (const { status, projectName, annotations } of tests)
      if (status === 'expected' || status === 'flaky') tally.passed++;
      else if (status === 'unexpected') tally.failed++;
      else {
        const why = annotations.find(({ type }) => type === 'skip' || type === 'fixme')?.description;
        tally.skipped.push({ title: `[${projectName}] ${title}`, ...(why !== undefined && { why }) });
      }
  return tally;
}

interface PlaywrightSpec {
  title: string;
  tests: { status: string; projectName: string; annotations: { type: string; description?: string }[] }[];
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
