/** What the profile view shows: where the last answer's time went on every device, while somebody looks. */
import type { DeviceProfile, EdgeVisor } from '../../api.ts';
import { type Failure, failureOf } from './engine-session.ts';

/** Time between two looks while an answer is written: often enough to see it move, seldom enough to cost nothing. */
const PACE_MS = 1000;

const BUSY: ReadonlySet<string> = new Set(['prefill', 'decode']);

/** Dispatches `change` whenever anything below is different. */
export class ProfileSession extends EventTarget {
  /** Undefined until there has been an answer. */
  profiles: readonly DeviceProfile[] | undefined;
  failure: Failure | undefined;

  readonly #handle: Pick<EdgeVisor, 'profile' | 'status' | 'on'>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchers = 0;

  constructor(handle: Pick<EdgeVisor, 'profile' | 'status' | 'on'>) {
    super();
    this.#handle = handle;
    handle.on('state', (state) => this.#stateChanged(state));
  }

  /** Looks now, and from now on. Returns the function that ends it. */
  watch(): () => void {
    this.#watchers++;
    void this.#handle.status().then(({ state }) => this.#stateChanged(state));
    return () => {
      this.#watchers--;
    };
  }

  #stateChanged(state: string): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (BUSY.has(state)) this.#lookLater();
    else if (state === 'ready') void this.#look();
    else if (state === 'idle' || state === 'loading') {
      this.profiles = undefined;
      this.failure = undefined;
      this.dispatchEvent(new Event('change'));
    }
  }

  #lookLater(): void {
    this.#timer = setTimeout(async () => {
      const mine = this.#timer;
      await this.#look();
      if (this.#timer === mine) this.#lookLater();
    }, PACE_MS);
  }

  async #look(): Promise<void> {
    if (this.#watchers === 0) return;
    try {
      this.profiles = await this.#handle.profile();
      this.failure = undefined;
    } catch (error) {
      this.failure = failureOf('The profile could not be read', error);
    }
    this.dispatchEvent(new Event('change'));
  }
}
