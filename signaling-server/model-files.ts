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
  /** Of a `.m` file of distributed-llama: name of the file with its tokenizer, where there is one. */
  tokenizer?: string;
}

/** An open model file; whoever opened it closes the handle. */
export interface OpenModel {
  handle: FileHandle;
  size: number;
  /** Changes whenever the file does. */
  etag: string;
}

/** Files that are handed out; tokenizers (`.t`) go with a model and are none themselves. */
const FILE_NAME = /^[^/\\\0]+\.(gguf|m|t)$/i;
const TOKENIZER_NAME = /\.t$/i;
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
    if (TOKENIZER_NAME.test(name)) continue;
    if (SEPARATE_NAME.test(name)) entries.push(separateEntry(name, bytes, [...sizes.keys()]));
    else if (!stem || !index || !count) entries.push({ name, bytes });
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

/** distributed-llama's models have their tokenizer in a file of its own. */
const SEPARATE_NAME = /\.m$/i;
/** How its published models are named: `dllama_model_NAME_q40.m` goes with `dllama_tokenizer_NAME_q40.t` or `…_NAME.t`. */
const PUBLISHED_NAME = /^dllama_model_(.+?)(_(?:q40|q80|f16|f32))?\.m$/i;

/** The tokenizer of a `.m` file: of the same name, else by the published names, else the only one beside the only model. */
function separateEntry(name: string, bytes: number, names: readonly string[]): ModelEntry {
  const [, stem, type = ''] = name.match(PUBLISHED_NAME) ?? [];
  const published = stem === undefined ? [] : [`dllama_tokenizer_${stem}${type}.t`, `dllama_tokenizer_${stem}.t`];
  const tokenizers = names.filter((each) => TOKENIZER_NAME.test(each));
  const alone = tokenizers.length === 1 && names.filter((each) => SEPARATE_NAME.test(each)).length === 1;
  const wanted = [name.replace(SEPARATE_NAME, '.t'), ...published, ...(alone ? tokenizers : [])];
  const tokenizer = wanted.find((each) => names.includes(each));
  return { name, bytes, ...(tokenizer !== undefined && { tokenizer }) };
}

/** Opens a model or tokenizer by the name that the list gives, or gives undefined where there is no such file. */
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
  if (!FILE_NAME.test(name) || name.startsWith('.')) return undefined;
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
    .filter((entry) => entry.isSymbolicLink() && FILE_NAME.test(entry.name))
    .map((entry) => entry.name);
  const served = await Promise.all(names.map((name) => modelPath(directory, name)));
  return names.filter((_, i) => !served[i]);
}
