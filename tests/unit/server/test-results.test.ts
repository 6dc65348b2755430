import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { tableOf } from '../../../scripts/engine-table.ts';
import { readByEngine, readPlaywright, readVitest } from '../../../scripts/test-results.ts';

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

test('cases by engines: one row a case, with what ran, what did not and why', async () => {
  const result = (projectName: string, status: string, why?: string) => ({
    ...{ projectName, status, annotations: why ? [{ type: 'skip', description: why }] : [] },
  });
  const path = report({
    errors: [],
    suites: [
      {
        specs: [
          {
            ...{ title: 'join', file: 'regression/regression.spec.ts' },
            tests: [result('chromium', 'expected'), result('webkit', 'flaky')],
          },
          {
            ...{ title: 'quota small', file: 'regression/regression.spec.ts' },
            tests: [result('chromium', 'unexpected'), result('webkit', 'skipped', 'it cannot be limited')],
          },
          { title: 'another', file: 'mesh.spec.ts', tests: [result('chromium', 'expected')] },
        ],
      },
    ],
  });
  const cases = await readByEngine(path, /regression\.spec\.ts$/);
  expect([...cases.keys()]).toEqual(['join', 'quota small']);
  expect(cases.get('quota small')?.get('webkit')).toEqual({ outcome: 'skipped', why: 'it cannot be limited' });
  expect(tableOf(cases, { chromium: undefined, firefox: 'there is none', webkit: undefined })).toEqual([
    '             chromium  firefox   webkit    ',
    'join         passed    skipped   flaky     ',
    'quota small  failed    skipped   skipped   ',
    '- skipped in firefox: there is none',
    '- skipped in webkit, quota small: it cannot be limited',
  ]);
});
