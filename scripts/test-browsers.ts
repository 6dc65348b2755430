/**
 * `npm run test:browsers`: the same cases in every browser engine of this machine, with the default model, and a table of
 * what ran where. `--short` takes a small model, as `npm test` does.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DEFAULT_MODELS_DIR } from '../signaling-server/options.ts';
import { ensureKernels, ensurePages } from './build.ts';
import { ensureModel } from './default-model.ts';
import { engineTable } from './engine-table.ts';
import { ensureBrowsers } from './install-browsers.ts';
import { RunError, run } from './run.ts';

const say = (line: string) => console.log(line);
/** Of the short form too: what differs between engines and is no case of its own. */
const SPECS = ['regression', 'mesh-webkit'];

async function main(): Promise<void> {
  const { short } = parseArgs({ options: { short: { type: 'boolean', default: false } } }).values;
  if (!short) await ensureModel(DEFAULT_MODELS_DIR, say);
  await ensureKernels();
  await ensurePages(say);
  await ensureBrowsers(say);
  const scratch = await mkdtemp(join(tmpdir(), 'edgevisor-browsers-'));
  try {
    const report = join(scratch, 'report.json');
    const env = {
      ...process.env,
      PLAYWRIGHT_JSON_OUTPUT_FILE: report,
      REGRESSION: short ? 'short' : 'long',
    };
    const failure = await run('npx', ['playwright', 'test', ...SPECS, '--reporter=list,json'], { env }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!existsSync(report)) throw failure ?? new Error('The test runner left no report.');
    say(`\n${(await engineTable(report)).join('\n')}`);
    if (failure) process.exitCode = 1;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof RunError || error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
