import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { readModelFile } from '../../../web/model/gguf.ts';
import { bytesSource } from '../../../web/model/sources.ts';
import type { ModelFile } from '../../../web/model/types.ts';

/** A path beside the repository where shared golden data lie, and whether it is there. */
export function shared(path: string): { path: string; missing: boolean } {
  const full = fileURLToPath(new URL(`../../../../shared/golden/${path}`, import.meta.url));
  return { path: full, missing: !existsSync(full) };
}

export function fixture(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/${name}`, import.meta.url));
}

/** Opens a model file from disk, whole in memory. */
export function openModel(path: string): Promise<ModelFile> {
  return readModelFile(bytesSource(new Uint8Array(readFileSync(path)), path.split('/').at(-1)));
}
