import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_MODELS_DIR } from '../../signaling-server/options.ts';
import { BenchError } from './bench-error.ts';

/** Where a model lies: in models/ or MODELS_DIR, by its name without .gguf. Throws BenchError where it does not. */
export function modelFile(model: string): { directory: string; file: string; path: string } {
  const directory = process.env.MODELS_DIR || DEFAULT_MODELS_DIR;
  const file = `${model}.gguf`;
  const path = join(directory, file);
  if (!existsSync(path))
    throw new BenchError(`There is no ${path}. "npm start" fetches the default model; --model names another.`);
  return { directory, file, path };
}
