/** What `bench -- single` compares: engines that run one model on the same token ids. */
import type { DeviceProfile } from '../../web/api.ts';
import type { GoldenCase } from '../support/golden.ts';
import type { Memory } from './memory.ts';
import type { RoundingError } from './rounding.ts';

/** One file and the work on it; the same for every engine. */
export interface Workload {
  /** Absolute directory that the model lies in. */
  directory: string;
  /** Its file in there, and its size. */
  file: string;
  bytes: number;
  prompt: Prompt;
  /** A few tokens, for the time to the first answer. */
  shortPrompt: Prompt;
  /** Tokens to decode after the first one, which is the prefill's. */
  decodeTokens: number;
  /** Positions of the KV cache. */
  context: number;
  /** Texts whose exact logits are known, where they are for this file. */
  texts?: GoldenCase[] | undefined;
}

/** The same tokens twice, since wllama takes only text: it makes exactly these ids of it (BOS comes by itself). */
export interface Prompt {
  ids: number[];
  text: string;
}

/** One generation from an empty KV cache. */
export interface Run {
  promptTokens: number;
  /** From the call to the first token. */
  prefillMs: number;
  /** Tokens after the first, and the time from the first to the last. */
  decodeTokens: number;
  decodeMs: number;
  /** What was generated, where the engine says. */
  ids?: number[];
}

/** Times of starting, in ms, and what was added to the browser's memory since it showed an empty page. */
export interface Start {
  /** Nothing cached: from the call of `load` to a model that answers. */
  coldLoadMs?: number;
  /** The same after a reload of the page, the model cached. */
  warmLoadMs?: number;
  /** After that reload: from the opening of the page to the first token of an answer to eight tokens. */
  openToTokenMs?: number;
  /** Highest while loading cold and running the workload once. */
  coldPeak?: Memory;
  /** Highest while loading from the cache and running the workload once. */
  warmPeak?: Memory;
  /** Two seconds after that. */
  resting?: Memory;
  /** What the engine itself says that it holds: weights, KV cache, scratch, in bytes. */
  ownBytes?: number;
}

export interface OpenEngine {
  /** In words: versions and what computes. */
  description: string;
  start: Start;
  run(): Promise<Run>;
  /** Where the time of the same workload goes, from a page that looks; only ours can tell. */
  profile?(): Promise<DeviceProfile>;
  /** On texts whose exact logits are known; only ours tells its logits. */
  rounding?(texts: readonly GoldenCase[]): Promise<RoundingError>;
  close(): Promise<void>;
}

export type Family = 'ours' | 'wllama' | 'native';

export interface Engine {
  family: Family;
  backend: 'wasm' | 'webgpu' | 'cpu';
  threads: number;
  /** Loads the model cold and warm, runs the workload once to warm up, and stays ready for `run`. */
  open(workload: Workload): Promise<OpenEngine>;
}

export function labelOf({ family, backend, threads }: Pick<Engine, 'family' | 'backend' | 'threads'>): string {
  const who = family === 'native' ? 'llama.cpp native' : `${family} ${backend === 'wasm' ? 'WASM' : 'WebGPU'}`;
  return backend === 'webgpu' ? who : `${who}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}
