/** Ratios that a person is typing: what they would make, or what is wrong with them, before they are applied. */
import type { MeshHandle, PlanPreview } from '../../api.ts';

/** A preview is asked for when the person has not typed for this long. */
const TYPING_PAUSE_MS = 250;

/** Why the text cannot be used, and the place in it where the handle names one; length 0 is a gap. */
export interface RatiosFault {
  message: string;
  at: number | undefined;
  length: number;
}

export type DraftState = 'empty' | 'checking' | 'good' | 'bad' | 'applying';

/** Dispatches `change` whenever anything below is different. */
export class RatiosDraft extends EventTarget {
  text = '';
  state: DraftState = 'empty';
  preview: PlanPreview | undefined;
  fault: RatiosFault | undefined;

  readonly #handle: Pick<MeshHandle, 'previewRatios' | 'setRatios'>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts texts, so that the answer for an old one is not taken for the present one's. */
  #version = 0;

  constructor(handle: Pick<MeshHandle, 'previewRatios' | 'setRatios'>) {
    super();
    this.#handle = handle;
  }

  type(text: string, pauseMs = TYPING_PAUSE_MS): void {
    clearTimeout(this.#timer);
    this.#version += 1;
    this.text = text;
    this.fault = undefined;
    if (text.trim() === '') {
      this.state = 'empty';
      this.preview = undefined;
    } else {
      this.state = 'checking';
      const version = this.#version;
      this.#timer = setTimeout(() => void this.#check(version), pauseMs);
    }
    this.#changed();
  }

  /** The plan has changed under the text. */
  recheck(): void {
    if (this.state === 'good' || this.state === 'bad' || this.state === 'checking') this.type(this.text);
  }

  async apply(): Promise<void> {
    clearTimeout(this.#timer);
    this.#version += 1;
    const version = this.#version;
    this.state = 'applying';
    this.fault = undefined;
    this.#changed();
    try {
      await this.#handle.setRatios(this.text);
      if (version === this.#version) this.type('');
    } catch (error) {
      if (version === this.#version) this.#fail(error);
    }
  }

  async #check(version: number): Promise<void> {
    try {
      const preview = await this.#handle.previewRatios(this.text);
      if (version !== this.#version) return;
      this.preview = preview;
      this.state = 'good';
      this.#changed();
    } catch (error) {
      if (version === this.#version) this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.state = 'bad';
    this.preview = undefined;
    this.fault = faultOf(error, this.text);
    this.#changed();
  }

  #changed(): void {
    this.dispatchEvent(new Event('change'));
  }
}

/** The handle's error as a fault, its place kept within the text. */
export function faultOf(error: unknown, text: string): RatiosFault {
  const message = error instanceof Error ? error.message : String(error);
  const at = numberOf(error, 'at');
  if (at === undefined) return { message, at, length: 0 };
  const start = Math.min(Math.max(0, at), text.length);
  const length = Math.min(Math.max(0, numberOf(error, 'length') ?? 0), text.length - start);
  return { message, at: start, length };
}

function numberOf(error: unknown, name: 'at' | 'length'): number | undefined {
  if (typeof error !== 'object' || error === null || !(name in error)) return undefined;
  const value = (error as Record<string, unknown>)[name];
  return typeof value === 'number' && Number.isInteger(value) ? value : undefined;
}
