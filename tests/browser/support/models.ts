import { copyFileSync, existsSync, linkSync, mkdtempSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ROOT } from '../../../scripts/build.ts';

/** The default model's name, as in `?model=`. */
export const DEFAULT_MODEL = 'SmolLM2-135M-Instruct.Q4_1';

/**
 * A fresh directory with every model the tests use: those of `tests/fixtures` and the default one. They are hard links
 * (copies where the file system has none), since the server follows no link out of its directory.
 */
export function makeModelsDirectory(parent: string): string {
  const directory = mkdtempSync(join(parent, 'models-'));
  for (const file of modelFiles()) {
    const target = join(directory, basename(file));
    try {
      linkSync(file, target);
    } catch {
      copyFileSync(file, target);
    }
  }
  return directory;
}

function modelFiles(): string[] {
  const fixtures = join(ROOT, 'tests', 'fixtures');
  const names = readdirSync(fixtures, { recursive: true, encoding: 'utf8' });
  const found = names.filter((name) => name.endsWith('.gguf')).map((name) => join(fixtures, name));
  const model = join(ROOT, 'models', `${DEFAULT_MODEL}.gguf`);
  return existsSync(model) ? [...found, model] : found;
}

/** Whether the default model is there; the few tests that need it are skipped without, and say so. */
export function hasDefaultModel(): boolean {
  return existsSync(join(ROOT, 'models', `${DEFAULT_MODEL}.gguf`));
}
