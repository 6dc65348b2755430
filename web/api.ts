/** The public scripting handle, `window.edgevisor`; documented in docs/scripting.md. Plain structured-clone data only. */
import type { BackendChoice } from './device/backend.ts';
import type { Operation } from './mesh/operations.ts';
import type { Message } from './model/types.ts';
import type { DeviceBytes } from './plan/holdings.ts';
import type { ModelShape } from './plan/shape.ts';
import type { Plan } from './plan/types.ts';

export type { BackendChoice, Message, ModelShape, Operation, Plan };

export interface ModelListing {
  name: string;
  bytes: number;
  supported: boolean;
  why?: string;
}

export interface LoadOptions {
  model: string | File | URL;
  /** The other files, in any order, where `model` is one file of a split model; the `.t` file of a `.m` file. */
  parts?: File[];
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
  /** The numbers that a plan cuts: with them a page knows which moves are legal. */
  shape: ModelShape;
  /** For people: why this backend, a capped context, a closed cache. One sentence each. */
  notes: string[];
}

/** One model in this browser's shard store. */
export interface StoredModel {
  /** Name for `deleteStored`. */
  digest: string;
  /** The model's name when it was stored. */
  model: string;
  /** Bytes stored of it, and the size of the whole file. */
  bytes: number;
  fileBytes: number;
  pieces: number;
  /** Milliseconds since 1970. */
  lastUsed: number;
}

/** Detail of `progress` events. */
export interface Progress {
  /** `header`, `probe`, `weights`, `ready`. */
  phase: string;
  /** One sentence for a person. */
  text: string;
  /** Bytes so far and in all; both 0 where the phase has no measure. */
  loaded: number;
  total: number;
}

/** Detail of `token` events and of `onToken`. */
export interface TokenEvent {
  id: number;
  /** Text that this token completes; empty inside a character, a possible stop string, or for a control token. */
  text: string;
  /** Milliseconds on the page's `performance.now()` clock. */
  at: number;
}

/** Detail of `log` events: what happened, for a person. */
export interface LogEvent {
  level: 'info' | 'warn' | 'error';
  text: string;
  /** Code of the error behind it, where there is one. */
  code?: string;
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
  onToken?: (token: TokenEvent) => void;
  signal?: AbortSignal;
}

export interface Generation {
  ids: number[];
  promptIds: number[];
  text: string;
  finishReason: 'stop' | 'length' | 'abort';
  /** One list per entry of `ids`, best first. */
  top?: [id: number, logit: number][][];
  /** The seed that was used; give it again for the same text. */
  seed: number;
  timings: {
    /** Prompt tokens in all, and how many of them were still in the KV cache. */
    promptTokens: number;
    cachedTokens: number;
    /** From the call to the first token. */
    prefillMs: number;
    /** Tokens after the first, and the time from the first to the last. */
    decodeTokens: number;
    decodeMs: number;
    /** Time between a token and the one before: `decodeTokens` values. */
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
  /** What computes, in words: `WebGPU, SwiftShader (software)`. Absent until the device has said it. */
  description?: string;
  threads: number;
  /** Measured matrix-vector speed, 1e9 multiply-accumulates a second. */
  gmacs: number;
  readbackMs: number;
  memoryLimit: number;
  memoryUsed: number;
  /** Of these, bytes of weights that were given away and are kept while there is room, in case they come back. */
  memoryWarm: number;
  weightBytes: number;
  kvBytes: number;
  link: 'self' | 'webrtc' | 'relay';
  rttMs: number;
  bytesSent: number;
  bytesReceived: number;
  tokens: number;
  /** While `loading`: bytes of its share that have arrived, and all of them. */
  loaded?: number;
  total?: number;
}

export interface MoveReport {
  id: number;
  /** What was asked for; absent for new ratios. */
  move?: Migration;
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

/** One forward pass through a device's share: a chunk of the prompt, or a token. */
export interface Pass {
  /** Of the plan under which it ran. */
  epoch: number;
  /** First position, and how many. */
  position: number;
  tokens: number;
  /** Computing, and waiting for the sums of the other members of its stage. */
  execMs: number;
  syncMs: number;
  /** Over all links of the device, since its pass before. */
  bytesSent: number;
  bytesReceived: number;
}

export interface DevicePasses {
  device: number;
  /** Oldest first. */
  passes: Pass[];
}

/** Milliseconds by operation; one that did not take place is not there. */
export type OperationMs = Partial<Record<Operation, number>>;

/** Sums over the batches of one kind. */
export interface PhaseProfile {
  batches: number;
  tokens: number;
  /** From the arrival of each batch at the device to its end; more than its operations take together. */
  totalMs: number;
  /** Ascending. */
  layers: { layer: number; ms: OperationMs }[];
  /** What belongs to no layer. */
  rest: OperationMs;
}

export interface DeviceProfile {
  device: number;
  /** False: its adapter has no timestamps, so that whole steps were timed. */
  timesOperations: boolean;
  /** Batches of several tokens, and of one. */
  prefill: PhaseProfile;
  decode: PhaseProfile;
}

/** Of a device's link to the host, measured when asked for. */
export interface LinkDelay {
  device: number;
  bytes: number;
  /** Half the round trip of a message of `bytes`, the median of 15. */
  oneWayMs: number;
}

/** A device that asks to join. */
export interface Knock {
  id: string;
  name: string;
  browser: string;
}

/** The host's room, as the page shows it. */
export interface RoomInfo {
  id: string;
  /** What other devices open to join; its fragment holds the secret. */
  link: string;
  /** `connecting`, `joined`, `closed`. */
  state: string;
  /** New devices wait until the host admits them. */
  ask: boolean;
  knocks: Knock[];
}

/** What a plan would give each device, before it is applied. */
export interface PlanPreview {
  plan: Plan;
  devices: DeviceBytes[];
}

/**
 * Node indices count over all stages in plan order, from 0. `exact`: where the new plan takes over, before this layer of
 * the token at this position; without it between two tokens, as soon as everything is there.
 */
export type Migration = { exact?: { position: number; layer: number } } & (
  | { stage?: number; from: number; to: number; kind: 1 | 2 | 3; heads?: number; ffn?: number }
  | { moves: { from: number; to: number; kind: 1 | 2 | 3; heads?: number; ffn?: number }[]; stage?: number }
  | { from: number; to: number; layers: number }
);

/** What the listeners of `on` are given. */
export interface EventDetails {
  plan: Plan;
  device: DeviceStatus;
  move: MoveReport;
  token: TokenEvent;
  log: LogEvent;
  progress: Progress;
  /** `Status.state`, when it changes. */
  state: string;
  room: RoomInfo;
}

export type EventName = keyof EventDetails;

export interface EdgeVisor extends MeshHandle {
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
  /** The last forward passes of every device of the plan, at most 512 each. */
  passes(): Promise<DevicePasses[]>;
  /** Where the last answer's time went on every device; needs a page with `?profile=1`. */
  profile(): Promise<DeviceProfile[]>;
  /** How long a message of so many bytes takes to every other device of the plan. */
  linkDelays(bytes: number): Promise<LinkDelay[]>;
  /** What this browser's shard store holds. */
  stored(): Promise<StoredModel[]>;
  deleteStored(digest: string): Promise<void>;
  /** Returns the function that ends it. */
  on<E extends EventName>(event: E, listener: (detail: EventDetails[E]) => void): () => void;
}

/** The handle's part for the mesh. */
export interface MeshHandle {
  /** Opens this page's room on the first call. */
  room(): Promise<RoomInfo>;
  setAsk(ask: boolean): Promise<void>;
  admit(id: string): Promise<void>;
  refuse(id: string): Promise<void>;
  renameDevice(index: number, name: string): Promise<void>;
  removeDevice(index: number): Promise<void>;
  /** A paused device stays in the room, but has no part in plans; its share goes to the others while text flows. */
  pauseDevice(index: number, paused: boolean): Promise<void>;

  /** What `setRatios` would make; nothing changes. Rejects as it does, with `at` and `length` of a fault in the text. */
  previewRatios(ratios: string): Promise<PlanPreview>;
  /** Resolves when the plan holds. Works while text is generated. */
  setRatios(ratios: string): Promise<{ epoch: number; plan: Plan }>;
  /** What `migrate` would make; nothing changes. Rejects with the reason where it would refuse. */
  previewMove(move: Migration): Promise<PlanPreview>;
  /** Resolves when committed. */
  migrate(move: Migration, options?: { signal?: AbortSignal }): Promise<MoveReport>;
}

/** The handle of the contribute page. */
export interface ContributeHandle {
  version: string;
  ready: Promise<void>;
  status(): Promise<ContributeStatus>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  leave(): Promise<void>;
  /** Enters the room of the page's link; on its own where the page was opened with one and lends already. */
  join(options?: { name?: string; memoryLimit?: number }): Promise<void>;
  setMemoryLimit(bytes: number): Promise<void>;
  on(event: 'status', listener: (status: ContributeStatus) => void): () => void;
}

export interface ContributeStatus {
  /** `no-room`, `ready`, `connecting`, `waiting`, `pending`, `joined`, `paused`, `left`, `removed`, `failed`. */
  state: string;
  /** In words, where something is wrong. */
  problem?: string;
  index?: number;
  name: string;
  backend: string;
  threads: number;
  gmacs: number;
  memoryLimit: number;
  memoryUsed: number;
  /** Of these, bytes of weights that were given away and are kept while there is room, in case they come back. */
  memoryWarm: number;
  model?: string;
  /** The part of the model that it computes. */
  layers?: [from: number, to: number];
  heads: number;
  ffn: number;
  loaded: number;
  total: number;
  tokens: number;
  link: 'none' | 'webrtc' | 'relay';
  rttMs: number;
  /** The screen is kept awake. */
  awake: boolean;
}
