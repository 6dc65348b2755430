import type { ReactiveController, ReactiveControllerHost } from 'lit';

/** Lets files be dropped anywhere on the page, and says while one hovers over it. */
export class FileDrop implements ReactiveController {
  hovering = false;
  readonly #host: ReactiveControllerHost;
  readonly #dropped: (files: File[]) => void;

  constructor(host: ReactiveControllerHost, dropped: (files: File[]) => void) {
    this.#host = host;
    this.#dropped = dropped;
    host.addController(this);
  }

  hostConnected(): void {
    document.addEventListener('dragover', this.#over);
    document.addEventListener('dragleave', this.#leave);
    document.addEventListener('drop', this.#drop);
  }

  hostDisconnected(): void {
    document.removeEventListener('dragover', this.#over);
    document.removeEventListener('dragleave', this.#leave);
    document.removeEventListener('drop', this.#drop);
  }

  #hover(hovering: boolean): void {
    if (hovering === this.hovering) return;
    this.hovering = hovering;
    this.#host.requestUpdate();
  }

  readonly #over = (event: DragEvent): void => {
    if (!event.dataTransfer?.types.includes('Files')) return;
    // Without this the browser opens the file in place of the page.
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
    this.#hover(true);
  };

  readonly #leave = (event: DragEvent): void => {
    // Leaving one element for another says so too; only the page's edge has nothing beyond it.
    if (event.relatedTarget === null) this.#hover(false);
  };

  readonly #drop = (event: DragEvent): void => {
    this.#hover(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    this.#dropped(files);
  };
}
