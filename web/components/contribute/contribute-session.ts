/** The contribute page's state: what the handle says, what the person asked for, and where https would be. */
import type { ContributeHandle, ContributeStatus } from '../../api.ts';
import { fetchAddresses, secureOrigin } from '../mesh/addresses.ts';

/** Dispatches `change` whenever anything below is different. */
export class ContributeSession extends EventTarget {
  /** Undefined until the handle has said it for the first time. */
  status: ContributeStatus | undefined;
  /** A wish of the person is being carried out. */
  busy = false;
  /** Why the last wish was not granted. */
  problem: string | undefined;
  /** This page has been in the room: then connecting means coming back. */
  wasJoined = false;
  /** The page was opened by plain http, which takes threads and WebGPU away; the person has not said to go on so. */
  plain: boolean;
  /** The same page by https; undefined until it is known, and where the server has none. */
  secureLink: string | undefined;

  readonly #handle: ContributeHandle;

  /** @param secure whether the browser trusts this page's origin (`isSecureContext`) */
  constructor(handle: ContributeHandle, secure: boolean) {
    super();
    this.#handle = handle;
    this.plain = !secure;
    handle.on('status', (status) => this.#took(status));
  }

  async start(): Promise<void> {
    if (this.plain) void this.#findSecureLink();
    await this.#handle.ready;
    this.#took(await this.#handle.status());
  }

  join(options: { name: string; memoryLimit: number | undefined }): Promise<void> {
    const { name, memoryLimit } = options;
    return this.#ask(() => this.#handle.join({ name, ...(memoryLimit !== undefined && { memoryLimit }) }));
  }

  pause(): Promise<void> {
    return this.#ask(() => this.#handle.pause());
  }

  resume(): Promise<void> {
    return this.#ask(() => this.#handle.resume());
  }

  leave(): Promise<void> {
    return this.#ask(() => this.#handle.leave());
  }

  setMemoryLimit(bytes: number): Promise<void> {
    return this.#ask(() => this.#handle.setMemoryLimit(bytes));
  }

  /** The person goes on with one thread. */
  acceptPlain(): void {
    this.plain = false;
    this.#changed();
  }

  async #ask(wish: () => Promise<void>): Promise<void> {
    this.busy = true;
    this.problem = undefined;
    this.#changed();
    try {
      await wish();
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    }
    this.busy = false;
    this.#took(await this.#handle.status());
  }

  async #findSecureLink(): Promise<void> {
    try {
      const origin = secureOrigin(location.hostname, await fetchAddresses());
      if (origin) this.secureLink = `${origin}${location.pathname}${location.search}${location.hash}`;
    } catch {
      // The page then says what is missing without a link.
    }
    this.#changed();
  }

  #took(status: ContributeStatus): void {
    this.status = status;
    if (status.state === 'joined' || status.state === 'paused') this.wasJoined = true;
    if (status.state === 'left') this.wasJoined = false;
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }
}
