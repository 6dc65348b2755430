/** Runs node-llama-cpp for `native.ts`, which talks to it by messages: a crash of its own takes nobody with it. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Run } from '../engine.ts';
import { PEERS } from '../peers.ts';

export type NativeRequest =
  | { call: 'load'; path: string; context: number; threads: number }
  | { call: 'run'; ids: number[]; decodeTokens: number };

export interface NativeAnswer {
  result?: unknown;
  error?: string;
}

/** What is used of node-llama-cpp's interface; its own types are only there once the peers are installed. */
interface Sequence {
  clearHistory(): Promise<void>;
  /** Yields the next token after each evaluation. */
  evaluate(ids: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncGenerator<number, void>;
}

interface NodeLlamaCpp {
  getLlama(options: Record<string, unknown>): Promise<{
    llamaCppRelease: { release: string };
    loadModel(options: { modelPath: string; gpuLayers: number }): Promise<{
      createContext(options: Record<string, number>): Promise<{ getSequence(): Sequence }>;
    }>;
  }>;
}

let sequence: Sequence | undefined;

async function load({ path, context, threads }: Extract<NativeRequest, { call: 'load' }>) {
  const entry = pathToFileURL(join(PEERS, 'node-llama-cpp', 'dist', 'index.js')).href;
  const { getLlama } = (await import(entry)) as NodeLlamaCpp;
  // `maxThreads` 0: the threads that are asked for, not fewer.
  const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, maxThreads: 0, logLevel: 'error' });
  const start = performance.now();
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const made = await model.createContext({ contextSize: context, batchSize: context, threads, sequences: 1 });
  sequence = made.getSequence();
  return { ms: performance.now() - start, release: llama.llamaCppRelease.release };
}

async function run({ ids, decodeTokens }: Extract<NativeRequest, { call: 'run' }>): Promise<Run> {
  if (!sequence) throw new Error('No model is loaded.');
  await sequence.clearHistory();
  const start = performance.now();
  const tokens = sequence.evaluate(ids, { temperature: 0, yieldEogToken: true });
  const generated = [await nextOf(tokens)];
  const first = performance.now();
  while (generated.length <= decodeTokens) generated.push(await nextOf(tokens));
  const end = performance.now();
  await tokens.return();
  return { promptTokens: ids.length, prefillMs: first - start, decodeTokens, decodeMs: end - first, ids: generated };
}

async function nextOf(tokens: AsyncGenerator<number, void>): Promise<number> {
  const { value } = await tokens.next();
  if (value === undefined) throw new Error('It ended before it had generated what was asked for.');
  return value;
}

process.on('message', (request: NativeRequest) => {
  const answer = request.call === 'load' ? load(request) : run(request);
  answer.then(
    (result) => process.send?.({ result } satisfies NativeAnswer),
    (error: unknown) => process.send?.({ error: String(error) } satisfies NativeAnswer),
  );
});
