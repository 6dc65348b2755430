/** Asks the registry whether what runs on people's machines has known holes. */
import { spawn } from 'node:child_process';

/** What came of it. `unasked`: the registry could not be asked, which says nothing of the packages. */
export type Audit = { state: 'clean' } | { state: 'found'; text: string } | { state: 'unasked'; why: string };

/** A registry that is slow must not hold up the tests. */
const PATIENCE_MS = 60_000;
const BAD: readonly string[] = ['high', 'critical'];

/** `npm audit` of the packages that are not only for development. Findings below `high` are no finding. */
export function audit(): Promise<Audit> {
  return new Promise((resolve) => {
    const args = ['audit', '--omit=dev', '--audit-level=high', '--json'];
    const shell = process.platform === 'win32';
    const child = spawn('npm', args, { shell, stdio: ['ignore', 'pipe', 'ignore'], timeout: PATIENCE_MS });
    let said = '';
    child.stdout.on('data', (chunk: Buffer) => {
      said += chunk;
    });
    child.once('error', (error) => resolve({ state: 'unasked', why: error.message }));
    child.once('close', () => resolve(judgeAudit(said)));
  });
}

/** Reads what `npm audit --json` has said: a report (version 2), or an error of the registry. */
export function judgeAudit(said: string): Audit {
  let report: AuditReport;
  try {
    report = JSON.parse(said);
  } catch {
    return { state: 'unasked', why: `npm audit gave no report within ${PATIENCE_MS / 1000} s` };
  }
  const { vulnerabilities } = report;
  if (!vulnerabilities) return { state: 'unasked', why: report.message ?? report.error?.summary ?? 'no report came' };
  const lines = Object.entries(vulnerabilities)
    .filter(([, { severity }]) => BAD.includes(severity))
    .map(([name, { severity, via }]) => {
      const titles = (via ?? []).flatMap((each) => (typeof each === 'string' ? [] : [`${each.title} ${each.url}`]));
      return `${name}: ${severity}${titles.map((title) => `\n  ${title}`).join('')}`;
    });
  return lines.length === 0 ? { state: 'clean' } : { state: 'found', text: lines.join('\n') };
}

interface AuditReport {
  message?: string;
  error?: { summary?: string };
  vulnerabilities?: Record<string, { severity: string; via?: (string | { title: string; url: string })[] }>;
}
