/** `npm run acceptance`: EdgeVisor's six acceptance tests, and two more, in real tabs. See `docs/acceptance.md`. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from '@playwright/test';
import { ensureKernels, ROOT } from '../../scripts/build.ts';
import { ensureModel } from '../../scripts/default-model.ts';
import { DEFAULT_MODELS_DIR } from '../../signaling-server/options.ts';
import { loadAverage, machine } from '../bench/machine.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { makeScratchDirectory } from '../browser/support/scratch.ts';
import { chromiumOptions } from '../support/chromium.ts';
import { readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';
import { startServerProcess } from '../support/server-process.ts';
import { CASES, type Form, PROMPTS } from './cases.ts';
import { freshPages } from './pages.ts';
import { type Outcome, verdict } from './record.ts';
import { keep } from './records.ts';
import { createRunner } from './run.ts';

const USAGE = `Usage: npm run acceptance -- [options]

  --only 1,3      some of the tests:
${CASES.map(({ number, title, ratios }) => `                  ${number}  ${title} (${ratios})`).join('\n')}
  --model NAME    a file in models/ (or MODELS_DIR), without .gguf (default ${DEFAULT_MODEL})
  --gpu           WebGPU on the machine's GPU instead of the software adapter
  --help          print this text

Writes docs/test-records/. Ends with exit code 1 where a check fails.`;

/** The command cannot be carried out; `message` says why and what to do. */
class AcceptanceError extends Error {
  override name = 'AcceptanceError';
}

interface Options {
  tests: typeof CASES;
  model: string;
  gpu: boolean;
}

function readOptions(args: string[]): Options | 'help' {
  const { only, model = DEFAULT_MODEL, gpu = false, help } = parsed(args);
  if (help) return 'help';
  const numbers = only?.split(',').map(Number);
  const unknown = numbers?.find((number) => !CASES.some((test) => test.number === number));
  if (unknown !== undefined) throw new AcceptanceError(`--only ${only} names a test that there is not.\n\n${USAGE}`);
  const tests = CASES.filter(({ number }) => numbers?.includes(number) ?? true);
  return { tests, model: model.replace(/\.gguf$/, ''), gpu };
}

function parsed(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        ...{ only: { type: 'string' }, model: { type: 'string' }, gpu: { type: 'boolean' }, help: { type: 'boolean' } },
      },
    }).values;
  } catch (error) {
    throw new AcceptanceError(`${(error as Error).message}\n\n${USAGE}`);
  }
}

/** What llama.cpp answers to the two prompts, of the one model whose answers are kept. */
function expectedOf(model: string): Form['expected'] {
  if (model !== DEFAULT_MODEL) return () => undefined;
  const { cases } = readGolden(repoPath('tests/fixtures/smollm2-135m-instruct.q4_1.json'));
  return (promptIds) => cases.find(({ ids }) => ids.join() === promptIds.join())?.greedy;
}

/** The commit, and whether anything but records was changed since. */
function commit(): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
  try {
    const changed = git('status', '--porcelain', '--', '.', ':!docs/test-records');
    return `${git('rev-parse', '--short=10', 'HEAD')}${changed ? ' with changes that are not committed' : ''}`;
  } catch {
    return 'unknown: these sources are no git checkout';
  }
}

async function main(args: string[]): Promise<void> {
  const options = readOptions(args);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  const { tests, model, gpu } = options;
  const launch = chromiumOptions({ gpu });
  if (!launch) throw new AcceptanceError('No Chromium to test in. Install it, or set CHROMIUM_PATH.');
  const models = process.env.MODELS_DIR ?? DEFAULT_MODELS_DIR;
  if (model === DEFAULT_MODEL) await ensureModel(models, console.log);
  else if (!existsSync(join(models, `${model}.gguf`)))
    throw new AcceptanceError(`There is no ${model}.gguf in ${models}. Put it there, or set MODELS_DIR.`);
  await ensureKernels();

  const circumstances = { machine: machine(), load: loadAverage(), date: new Date(), commit: commit() };
  const scratch = makeScratchDirectory();
  // The paths of sockets must be short.
  const folder = mkdtempSync(join(tmpdir(), 'edgevisor-'));
  const socket = join(folder, 'plan.sock');
  try {
    const server = await startServerProcess(models, scratch, { EDGEVISOR_PLAN_SOCKET: socket });
    try {
      const browser = await chromium.launch(launch);
      try {
        const form: Form = { model, prompts: PROMPTS, expected: expectedOf(model) };
        const pages = freshPages({ browser, url: server.url, socket, form });
        const run = createRunner({ pages, socket, form });
        for (const test of tests) {
          const flags = [
            `--only ${test.number}`,
            ...(model === DEFAULT_MODEL ? [] : [`--model ${model}`]),
            ...(gpu ? ['--gpu'] : []),
          ];
          const outcome = await run(test);
          const path = keep(
            outcome,
            { ...circumstances, command: `npm run acceptance -- ${flags.join(' ')}` },
            DEFAULT_MODEL,
          );
          tell(outcome, path);
          if (verdict(outcome) === 'FAILED') process.exitCode = 1;
        }
      } finally {
        await browser.close();
      }
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    rmSync(scratch, { recursive: true, force: true });
  }
}

function tell(outcome: Outcome, path: string): void {
  const { test, checks, failure } = outcome;
  console.log(`\n${verdict(outcome)}  ${test.number} ${test.title} (${path})`);
  if (failure) console.log(`  ${failure}`);
  for (const { what, passed, found } of checks) console.log(`  ${passed ? 'passed' : 'FAILED'}  ${what}: ${found}`);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof AcceptanceError ? error.message : error);
  process.exitCode = 1;
});
