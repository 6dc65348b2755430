/** Models in node: from a file on disk to executors on the WASM backend, without a browser. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Backend, BackendOptions } from '../../web/device/backend.ts';
import { createExecutor, type Executor } from '../../web/device/executor.ts';
import { loadShare } from '../../web/device/loader/load.ts';
import type { Share } from '../../web/device/loader/types.ts';
import { createPartReader } from '../../web/device/store/reader.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { catalogue } from '../../web/model/catalogue.ts';
import { openModelFile } from '../../web/model/open-file.ts';
import { bytesSource } from '../../web/model/sources.ts';
import type { Catalogue, HyperParameters, ModelFile } from '../../web/model/types.ts';

const repository = new URL('../../', import.meta.url);

/** Path of a file in the repository, or in the checkout of `shared` beside it. */
export const repoPath = (path: string): string => fileURLToPath(new URL(path, repository));

export const kernelModule = (name: 'plain' | 'relaxed'): WebAssembly.Module =>
  new WebAssembly.Module(readFileSync(repoPath(`wasm-cpu/build/${name}.wasm`)));

export interface OpenModel {
  file: ModelFile;
  catalogue: Catalogue;
  hyper: HyperParameters;
  /** An executor of a share on a backend of its own. */
  executor(share: Share, options?: ExecutorOptions): Promise<Executor>;
}

export interface ExecutorOptions {
  context?: number;
  maxBatch?: number;
  backend?: (options: BackendOptions) => Promise<Backend>;
}

const relaxedWasm = (options: BackendOptions) =>
  createWasmBackend({ ...options, threads: 1, module: kernelModule('relaxed') });

/** A `.m` file's tokenizer is the file of the same name beside it. */
export async function openModel(path: string): Promise<OpenModel> {
  const source = (name: string) => bytesSource(new Uint8Array(readFileSync(name)), name);
  const tokenizer = /\.m$/.test(path) ? source(path.replace(/\.m$/, '.t')) : undefined;
  const file = await openModelFile({ model: source(path), tokenizer });
  const parts = await catalogue(file);
  const { hyper } = parts;
  return {
    file,
    catalogue: parts,
    hyper,
    async executor(share, { context = 1024, maxBatch = 32, backend: create = relaxedWasm } = {}) {
      const backend = await create({ hyper, context, maxBatch });
      const reader = createPartReader({ source: file.source, digest: file.digest });
      return createExecutor(hyper, backend, await loadShare({ catalogue: parts, reader, backend, share }));
    },
  };
}

/** All of a model. */
export const wholeShare = (hyper: HyperParameters): Share => ({
  layers: [0, hyper.layers],
  qHeads: [[0, hyper.heads]],
  ffn: [[0, hyper.ffn]],
  vocab: [[0, hyper.vocab]],
  embedding: true,
  head: true,
});

/** The default model, where `npm start` or `npm test` has fetched it. */
export const DEFAULT_MODEL = repoPath('models/SmolLM2-135M-Instruct.Q4_1.gguf');
export const haveDefaultModel = existsSync(DEFAULT_MODEL);
