import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readPlaywright, readVitest } from '../../../scripts/test-results.ts';

const root = mkdtempSync(join(tmpdir(), 'edgevisor-results-'));
afterAll(() => rmSync(root, { recursive: true }));

function report(content: unknown): string {
  const path = join(root, 'report.json');
  writeFileSync(path, JSON.stringify(content));
  return path;
}

test('Vitest: tests are counted, and a file that could not be loaded is a failure', async () => {
  const path = report({
    testResults: [
      {
        status: 'failed',
        assertionResults: [
          { status: 'passed', fullName: 'a' },
          { status: 'passed', fullName: 'b' },
          { status: 'failed', fullName: 'c' },
          { status: 'skipped', fullName: 'd' },
          { status: 'todo', fullName: 'e' },
        ],
      },
      { status: 'failed', assertionResults: [] },
      { status: 'passed', assertionResults: [] },
    ],
  });
  expect(await readVitest(path)).toEqual({ passed: 2, failed: 2, skipped: [{ title: 'd' }, { title: 'e' }] });
});

test('Playwright: tests of nested suites are counted by browser, with the reasons of those skipped', async () => {
  const spec = (title: string, status: string, annotations: object[] = []) => ({
    title,
    tests: [{ status, projectName: 'firefox', annotations }],
  });
  const path = report({
    errors: [{ message: 'a spec file that does not load' }],
    suites: [
      {
        specs: [spec('a', 'expected'), spec('b', 'unexpected')],
        suites: [{ specs: [spec('c', 'flaky'), spec('d', 'skipped', [{ type: 'skip', description: 'no WebRTC' }])] }],
      },
    ],
  });
  expect(await readPlaywright(path)).toEqual({
    passed: 2,
    failed: 2,
    skipped: [{ title: '[firefox] d', why: 'no WebRTC' }],
  });
});
