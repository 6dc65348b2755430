/** Cases by engines: what ran where, and why what did not. */
import { findBrowser, findWebKit } from './browsers.ts';
import { type EngineResult, readByEngine } from './test-results.ts';

export type EngineName = 'chromium' | 'firefox' | 'webkit';
const REGRESSION = /regression\.spec\.ts$/;
const COLUMN = 10; // characters

/** Why an engine has no results at all, for each. */
type Missing = Record<EngineName, string | undefined>;

/** Lines of a table of the regression's cases in every engine, from Playwright's JSON report, and the reasons below it. */
export async function engineTable(report: string): Promise<string[]> {
  return tableOf(await readByEngine(report, REGRESSION), {
    chromium: findBrowser('chromium') ? undefined : 'there is no Chromium on this machine',
    firefox: findBrowser('firefox') ? undefined : 'there is no Firefox on this machine',
    webkit: findWebKit() ? undefined : 'there is no WebKitGTK on this machine (packages webkit2gtk-driver and xvfb)',
  });
}

/** The table of results by case and engine. */
export function tableOf(cases: Map<string, Map<string, EngineResult>>, missing: Missing): string[] {
  const width = Math.max(0, ...[...cases.keys()].map((title) => title.length));
  const line = (title: string, cells: string[]) =>
    `${title.padEnd(width)}  ${cells.map((cell) => cell.padEnd(COLUMN)).join('')}`;
  const engines = Object.keys(missing) as EngineName[];
  const rows = [...cases].map(([title, row]) =>
    line(
      title,
      engines.map((engine) => row.get(engine)?.outcome ?? 'skipped'),
    ),
  );
  const reasons = engines.flatMap((engine) => reasonsOf(engine, cases, missing[engine]));
  return [line('', engines), ...rows, ...reasons];
}

function reasonsOf(
  engine: EngineName,
  cases: Map<string, Map<string, EngineResult>>,
  missing: string | undefined,
): string[] {
  if (missing) return [`- skipped in ${engine}: ${missing}`];
  return [...cases].flatMap(([title, row]) => {
    const result = row.get(engine);
    if (result && result.outcome !== 'skipped') return [];
    return [`- skipped in ${engine}, ${title}: ${result?.why ?? 'it did not get to run'}`];
  });
}
