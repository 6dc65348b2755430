import type { ReactiveController, ReactiveControllerHost } from 'lit';

/** Draws its element again when one of the sources dispatches `change`, at most once an animation frame. */
export class FrameUpdates implements ReactiveController {
  readonly #host: ReactiveControllerHost;
  readonly #sources: readonly EventTarget[];
  #frame: number | undefined;

  constructor(host: ReactiveControllerHost, sources: readonly EventTarget[]) {
    this.#host = host;
    this.#sources = sources;
    host.addController(this);
  }

  hostConnected(): void {
    for (const source of this.#sources) source.addEventListener('change', this.#changed);
  }

  hostDisconnected(): void {
    for (const source of this.#sources) source.removeEventListener('change', this.#changed);
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
  }

  readonly #changed = (): void => {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.#host.requestUpdate();
    });
  };
}
