/** `npm start`: builds what must be built, makes sure of the default model, and serves. Flags: see `--help`. */
import { existsSync } from 'node:fs';
import { StartError, serve } from '../signaling-server/main.ts';
import { listModels } from '../signaling-server/model-files.ts';
import { DEFAULT_MODELS_DIR, parseServerOptions, USAGE, UsageError } from '../signaling-server/options.ts';
import { ensureKernels, ensurePages } from './build.ts';
import { ensureModel, ModelFetchError } from './default-model.ts';
import { RunError } from './run.ts';

async function main(): Promise<void> {
  const options = parseServerOptions(process.argv.slice(2), process.env);
  if (options === 'help') {
    console.log(USAGE);
    return;
  }
  await ensureKernels();
  await ensurePages(console.log);
  await prepareModels(options.models);
  await serve(options);
}

/**
 * Fetches the default model, unless the person has a directory of models of their own. Without it the pages still work:
 * a model can be picked from the disk.
 */
async function prepareModels(directory: string): Promise<void> {
  if (directory !== DEFAULT_MODELS_DIR) {
    if (!existsSync(directory)) throw new StartError(`There is no directory ${directory} to take models from.`);
    if ((await listModels(directory)).length > 0) return;
  }
  try {
    await ensureModel(directory, console.log);
  } catch (error) {
    if (!(error instanceof ModelFetchError)) throw error;
    console.error(`${error.message}\nGoing on without it.`);
  }
}

const forPeople = [StartError, UsageError, RunError];

main().catch((error: unknown) => {
  console.error(forPeople.some((kind) => error instanceof kind) ? (error as Error).message : error);
  process.exitCode = 1;
});
