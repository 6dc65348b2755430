import { type FileHandle, open, readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';

/** What `/models/` says of a model. */
export interface ModelEntry {
  /** Name of its file; of a split model, of the first part. */
  name: string;
  /** Over all parts. */
  bytes: number;
  /** Names of the parts of a split model that are not there. */
  missing?: string[];
}

/** An open model file; whoever opened it closes the handle. */
export interface OpenModel {
  handle: FileHandle;
  size: number;
  /** Changes whenever the file does. */
  etag: string;
}

const MODEL_NAME = /^[^/\\\0]+\.gguf$/i;
/** How llama.cpp names the parts of a split model. */
const PART_NAME = /^(.+)-(\d{5})-of-(\d{5})\.gguf$/i;

/** Models of a directory by name. A split model stands there once, under its first part. */
export async function listModels(directory: string): Promise<ModelEntry[]> {
  const sizes = new Map<string, number>();
  for (const name of await readdir(directory)) {
    const path = await modelPath(directory, name);
    if (path) sizes.set(name, (await stat(path)).size);
  }
  const entries: ModelEntry[] = [];
  for (const [name, bytes] of sizes) {
    const [, stem, index, count] = name.match(PART_NAME) ?? [];
    if (!stem || !index || !count) entries.push({ name, bytes });
    else if (Number(index) === 1) entries.push(splitEntry(stem, count, sizes));
  }
  return entries.sort((a, b) => a.name.localeCompare(b.name, 'en'));
}

function splitEntry(stem: string, count: string, sizes: ReadonlyMap<string, number>): ModelEntry {
  const names = Array.from(
    { length: Number(count) },
    (_, i) => `${stem}-${String(i + 1).padStart(5, '0')}-of-${count}.gguf`,
  );
  const missing = names.filter((name) => !sizes.has(name));
  const bytes = names.reduce((sum, name) => sum + (sizes.get(name) ?? 0), 0);
  return { name: names[0]!, bytes, ...(missing.length > 0 && { missing }) };
}

/** Opens a model by the name that the list gives, or gives undefined where there is no such file. */
export async function openModel(directory: string, name: string): Promise<OpenModel | undefined> {
  const path = await modelPath(directory, name);
  if (!path) return undefined;
  const handle = await open(path, 'r');
  const { size, mtimeMs } = await handle.stat();
  return { handle, size, etag: `"${size.toString(16)}-${Math.round(mtimeMs * 1000).toString(16)}"` };
}

/**
 * Path of a model that may be served: a plain file right in the directory. A link is followed only to a place inside it,
 * so nothing outside the directory can be read whatever the name is.
 */
async function modelPath(directory: string, name: string): Promise<string | undefined> {
  if (!MODEL_NAME.test(name) || name.startsWith('.')) return undefined;
  try {
    const path = await realpath(join(directory, name));
    const inside = path.startsWith((await realpath(directory)) + sep);
    return inside && (await stat(path)).isFile() ? path : undefined;
  } catch {
    return undefined; // not there, a link to nowhere, not readable: all the same to the one who asks
  }
}

/** Names of links in a directory that would be models but point out of it, to tell the person why they are not served. */
export async function linksOutOf(directory: string): Promise<string[]> {
  const names = (await readdir(directory, { withFileTypes: true }))
    .filter((entry) => entry.isSymbolicLink() && MODEL_NAME.test(entry.name))
    .map((entry) => entry.name);
  const served = await Promise.all(names.map((name) => modelPath(directory, name)));
  return names.filter((_, i) => !served[i]);
}
