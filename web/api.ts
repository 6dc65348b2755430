/** The public scripting handle, `window.edgevisor`; documented in docs/scripting.md. Plain structured-clone data only. */
import type { Message } from './model/types.ts';
import type { Plan } from './plan/types.ts';

export type { Message, Plan };

export type BackendChoice = 'auto' | 'wasm' | 'webgpu';

export interface ModelListing {
  name: string;
  bytes: number;
  supported: boolean;
  why?: string;
}

export interface LoadOptions {
  model: string | File | URL;
  backend?: BackendChoice;
  threads?: number;
  context?: number;
  ratios?: string;
}

export interface LoadInfo {
  model: string;
  architecture: string;
  layers: number;
  context: number;
  backend: 'wasm' | 'webgpu';
  threads: number;
  bytes: number;
  plan: Plan;
}

export interface GenerateOptions {
  messages?: Message[];
  prompt?: string;
  ids?: number[];
  maxTokens?: number;
  /** 0 is greedy. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  seed?: number;
  stop?: string[];
  ignoreEos?: boolean;
  /** false: start with an empty KV cache. */
  reuse?: boolean;
  /** Record this many best [id, logit] pairs of every generated token. */
  top?: number;
  onToken?: (token: { id: number; text: string; at: number }) => void;
  signal?: AbortSignal;
}

export interface Generation {
  ids: number[];
  promptIds: number[];
  text: string;
  finishReason: 'stop' | 'length' | 'abort';
  top?: [number, number][][];
  timings: {
    promptTokens: number;
    cachedTokens: number;
    prefillMs: number;
    decodeTokens: number;
    decodeMs: number;
    gapsMs: number[];
  };
}

export interface EvaluateOptions {
  ids: number[];
  /** First position that gets an entry. */
  from?: number;
  top?: number;
  full?: boolean;
}

export interface Evaluation {
  /** Teacher-forced: one entry per position from `from` on. */
  logits: [id: number, logit: number][][];
  /** All logits of the last position. */
  full?: Float32Array;
}

export interface DeviceStatus {
  index: number;
  id: string;
  name: string;
  self: boolean;
  state: 'joining' | 'loading' | 'ready' | 'computing' | 'paused' | 'lost' | 'gone';
  browser: string;
  backend: string;
  threads: number;
  /** Measured matrix-vector speed, 1e9 multiply-accumulates a second. */
  gmacs: number;
  readbackMs: number;
  memoryLimit: number;
  memoryUsed: number;
  weightBytes: number;
  kvBytes: number;
  link: 'self' | 'webrtc' | 'relay';
  rttMs: number;
  bytesSent: number;
  bytesReceived: number;
  tokens: number;
}

export interface MoveReport {
  id: number;
  state: 'queued' | 'preparing' | 'copying' | 'committed' | 'refused' | 'cancelled' | 'failed';
  error?: string;
  epoch: number;
  weightBytes: number;
  kvBytes: number;
  prepareMs: number;
  copyMs: number;
  commitMs: number;
  position: number;
  longestGapMs: number;
}

export interface Status {
  /** `idle`, `loading`, `ready`, `prefill`, `decode`, `failed`. */
  state: string;
  model?: LoadInfo;
  plan?: Plan;
  devices: DeviceStatus[];
  moves: MoveReport[];
}

export type EventName = 'plan' | 'device' | 'move' | 'token' | 'log';

export interface EdgeVisor {
  version: string;
  /** The page is up; no model needed. */
  ready: Promise<void>;
  models(): Promise<ModelListing[]>;
  load(options: LoadOptions): Promise<LoadInfo>;
  unload(): Promise<void>;
  tokenize(text: string, options?: { special?: boolean }): Promise<number[]>;
  detokenize(ids: number[]): Promise<string>;
  render(messages: Message[], options?: { generationPrompt?: boolean }): Promise<string>;
  generate(options: GenerateOptions): Promise<Generation>;
  evaluate(options: EvaluateOptions): Promise<Evaluation>;
  status(): Promise<Status>;
  on(event: EventName, listener: (detail: unknown) => void): () => void;
}
