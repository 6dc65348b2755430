/** What passes between the page and the engine's Worker. Types only: neither side may pull the other in. */
import type {
  BackendChoice,
  DevicePasses,
  DeviceProfile,
  EvaluateOptions,
  Evaluation,
  EventDetails,
  Generation,
  LinkDelay,
  LoadInfo,
  Message,
  Migration,
  ModelListing,
  MoveReport,
  Plan,
  PlanPreview,
  Status,
  StoredModel,
  TokenEvent,
} from '../api.ts';
import type { Emulation } from '../device/page-options.ts';
import type { Neighbour } from '../mesh/page-mesh.ts';
import type { NumberType } from '../mesh/wire.ts';
import type { GenerateRequest } from './requests.ts';

/** Where a model comes from, as plain data (a URL object cannot be cloned). */
export type ModelPlace = { name: string } | { url: string } | { file: File; parts?: File[] };

export interface LoadRequest {
  place: ModelPlace;
  backend: BackendChoice;
  threads?: number;
  context?: number;
  ratios?: string;
  /** Number type of partial sums between devices. */
  wire?: NumberType;
  /** False: this device conducts, but computes nothing. */
  lend?: boolean;
  /** Compare the replicas' digests. */
  verify?: boolean;
  /** Time every operation. */
  profile?: boolean;
  emulation: Emulation;
}

/** The engine as the page calls it through Comlink. */
export interface EngineService {
  models(): Promise<ModelListing[]>;
  load(request: LoadRequest): Promise<LoadInfo>;
  unload(): Promise<void>;
  tokenize(text: string, special: boolean): Promise<number[]>;
  detokenize(ids: number[]): Promise<string>;
  render(messages: Message[], generationPrompt: boolean): Promise<string>;
  /** `call` names this generation in its token events and for `abort`. */
  generate(call: number, request: GenerateRequest): Promise<Generation>;
  abort(call: number): void;
  evaluate(options: EvaluateOptions): Promise<Evaluation>;
  status(): Promise<Status>;
  passes(): Promise<DevicePasses[]>;
  profile(): Promise<DeviceProfile[]>;
  linkDelays(bytes: number): Promise<LinkDelay[]>;
  stored(): Promise<StoredModel[]>;
  deleteStored(digest: string): Promise<void>;
  /** The page's end of the mesh (see `mesh/links.ts`). */
  connect(port: MessagePort, delayMs: number): void;
  /** What the page knows of the devices in the room. */
  setRoster(roster: Neighbour[]): void;
  pauseDevice(index: number, paused: boolean): void;
  previewRatios(ratios: string): Promise<PlanPreview>;
  previewMove(move: Migration): Promise<PlanPreview>;
  setRatios(ratios: string): Promise<{ epoch: number; plan: Plan }>;
  /** `call` names this move for `abort`. */
  migrate(call: number, move: Migration): Promise<MoveReport>;
  /** Answers a request of the server's plan socket; JSON both ways. */
  planRequest(request: string): Promise<string>;
}

/** Events that the engine itself makes; `at` of a token counts from `performance.timeOrigin` 1970. */
export interface EngineEvents extends Pick<EventDetails, 'log' | 'progress' | 'state' | 'plan' | 'device' | 'move'> {
  token: TokenEvent & { call: number };
}

export type Emit = <E extends keyof EngineEvents>(event: E, detail: EngineEvents[E]) => void;

/** A message from the Worker that is not Comlink's, on the same port, so that it keeps its place among the answers. */
export interface EngineMessage<E extends keyof EngineEvents = keyof EngineEvents> {
  event: E;
  detail: EngineEvents[E];
}
