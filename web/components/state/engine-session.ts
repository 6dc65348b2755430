/** The model side of the page: which models there are, which is loaded or being loaded, what is stored. */
import type {
  EdgeVisor,
  LoadInfo,
  LoadOptions,
  LogEvent,
  ModelListing,
  Progress,
  Status,
  StoredModel,
} from '../../api.ts';

/** Lines of the log that are kept for the person to read. */
const LOG_LINES = 200;

export type EnginePhase = 'empty' | 'loading' | 'ready' | 'failed';

/** A failure as it is shown: what could not be done, the handle's own words, its code. */
export interface Failure {
  what: string;
  message: string;
  code: string | undefined;
}

export const failureOf = (what: string, error: unknown): Failure => ({
  what,
  message: error instanceof Error ? error.message : String(error),
  code: error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined,
});

type Handle = Pick<EdgeVisor, 'models' | 'load' | 'unload' | 'status' | 'stored' | 'deleteStored' | 'on'>;

/** A model's name as a person knows it: the file's name, also for an address. */
export const modelName = (model: LoadOptions['model']): string => {
  if (typeof model === 'string') return model;
  if (model instanceof URL) return decodeURIComponent(model.pathname.split('/').at(-1) || model.host);
  return model.name;
};

/** Dispatches `change` whenever anything below is different. */
export class EngineSession extends EventTarget {
  /** Undefined until the list has arrived. */
  models: readonly ModelListing[] | undefined;
  modelsFailure: Failure | undefined;
  stored: readonly StoredModel[] | undefined;
  storedFailure: Failure | undefined;
  phase: EnginePhase = 'empty';
  /** What is being loaded, or what was asked for last. */
  asked: LoadOptions | undefined;
  /** What the model that runs was asked for with, where this page did. */
  running: LoadOptions | undefined;
  progress: Progress | undefined;
  /** `performance.now()` when the present phase of loading began, and the bytes then: for the time that is left. */
  progressSince = { at: 0, loaded: 0 };
  failure: Failure | undefined;
  info: LoadInfo | undefined;
  status: Status | undefined;
  log: readonly LogEvent[] = [];

  readonly #handle: Handle;
  /** Counts loads, so that one that was cancelled cannot speak for the next. */
  #attempt = 0;
  /** A load of this page is under way; what the handle says of its state meanwhile is no news. */
  #loading = false;

  constructor(handle: Handle) {
    super();
    this.#handle = handle;
    handle.on('progress', (progress) => this.#progressed(progress));
    handle.on('state', () => void this.refreshStatus());
    handle.on('log', (line) => {
      this.log = [...this.log.slice(1 - LOG_LINES), line];
      this.#changed();
    });
  }

  async refreshModels(): Promise<void> {
    this.modelsFailure = undefined;
    try {
      this.models = await this.#handle.models();
    } catch (error) {
      this.modelsFailure = failureOf('The list of models could not be read', error);
    }
    this.#changed();
  }

  async refreshStored(): Promise<void> {
    try {
      this.stored = await this.#handle.stored();
      this.storedFailure = undefined;
    } catch (error) {
      this.storedFailure = failureOf('The stored models could not be listed', error);
    }
    this.#changed();
  }

  async deleteStored(digest: string): Promise<void> {
    try {
      await this.#handle.deleteStored(digest);
      await this.refreshStored();
    } catch (error) {
      this.storedFailure = failureOf('The stored model could not be deleted', error);
      this.#changed();
    }
  }

  /** Takes what the handle says of itself, so that what a script loads or unloads shows here too. */
  async refreshStatus(): Promise<void> {
    const status = await this.#handle.status();
    this.status = status;
    if (!this.#loading) this.#adopt(status);
    this.#changed();
  }

  /** Resolves to whether the model is ready; a failure is in `failure`. */
  async load(options: LoadOptions): Promise<boolean> {
    this.#attempt += 1;
    const attempt = this.#attempt;
    this.asked = options;
    this.#loading = true;
    this.phase = 'loading';
    this.progress = undefined;
    this.failure = undefined;
    this.#changed();
    try {
      const info = await this.#handle.load(options);
      if (attempt !== this.#attempt) return false;
      this.info = info;
      this.running = options;
      this.phase = 'ready';
    } catch (error) {
      if (attempt !== this.#attempt) return false;
      this.phase = 'failed';
      this.failure = failureOf(`${modelName(options.model)} could not be loaded`, error);
    }
    this.#loading = false;
    this.progress = undefined;
    this.#changed();
    void this.refreshStatus();
    void this.refreshStored();
    return this.phase === 'ready';
  }

  /** Ends a load, or gives the loaded model's memory back. */
  async unload(): Promise<void> {
    this.#attempt += 1;
    this.#loading = false;
    this.phase = 'empty';
    this.info = undefined;
    this.running = undefined;
    this.progress = undefined;
    this.failure = undefined;
    this.#changed();
    try {
      await this.#handle.unload();
    } catch (error) {
      this.phase = 'failed';
      this.failure = failureOf('The model could not be unloaded', error);
    }
    await this.refreshStatus();
    await this.refreshStored();
  }

  dismissFailure(): void {
    this.failure = undefined;
    if (this.phase === 'failed') this.phase = 'empty';
    this.#changed();
  }

  #adopt({ state, model }: Status): void {
    if (state === 'loading') {
      this.phase = 'loading';
    } else if (model) {
      if (model.model !== this.info?.model) this.running = undefined;
      this.info = model;
      this.phase = 'ready';
    } else {
      const ran = this.phase === 'ready' || this.phase === 'loading';
      this.info = undefined;
      this.running = undefined;
      this.progress = undefined;
      if (ran) this.#stopped(state);
    }
  }

  /** The model is gone without a wish of this page: a script unloaded it, or the engine failed. */
  #stopped(state: string): void {
    this.phase = 'empty';
    if (state !== 'failed') return;
    const reason = this.log.findLast(({ level }) => level === 'error');
    this.phase = 'failed';
    this.failure = {
      what: 'The model stopped running',
      message: reason?.text ?? 'The engine gave no reason. Load the model again.',
      code: reason?.code,
    };
  }

  #progressed(progress: Progress): void {
    if (this.phase !== 'loading') return;
    if (progress.phase !== this.progress?.phase) {
      this.progressSince = { at: performance.now(), loaded: progress.loaded };
    }
    this.progress = progress;
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }
}
