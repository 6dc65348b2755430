import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { BackendChoice } from '../api.ts';
import { ask } from './events.ts';
import { BOUNDS, clampSetting, type Settings } from './state/settings.ts';
import { shared } from './styles/shared.ts';

const BACKENDS: readonly [BackendChoice, string][] = [
  ['auto', 'Automatic (whichever is measured faster)'],
  ['wasm', 'Processor (WASM)'],
  ['webgpu', 'Graphics (WebGPU)'],
];

/** How the next model is run: backend, threads, context. */
@customElement('engine-options')
export class EngineOptions extends LitElement {
  static override styles = [
    shared,
    css`
      .pair {
        display: grid;
        grid-template-columns: 1fr 1fr;
        gap: 0.75rem;
      }

      label {
        display: block;
        margin-bottom: 0.25rem;
        font-size: 0.9rem;
      }
    `,
  ];

  @property({ attribute: false }) settings!: Readonly<Settings>;

  protected override render(): TemplateResult {
    const { backend, threads, context } = this.settings;
    return html`<div class="stack">
      <div>
        <label for="backend">Computed by</label>
        <select id="backend" @change=${this.#backend}>
          ${BACKENDS.map(([value, text]) => html`<option value=${value} ?selected=${value === backend}>${text}</option>`)}
        </select>
      </div>
      <div class="pair">
        ${this.#number('threads', 'Threads', threads)} ${this.#number('context', 'Context, in tokens', context)}
      </div>
      <p class="fine muted">
        Left empty, threads follow the processor, and the context is the model’s own as far as memory allows.
      </p>
    </div>`;
  }

  #number(name: 'threads' | 'context', label: string, value: number | undefined): TemplateResult {
    const { min, max, step } = BOUNDS[name];
    return html`<div>
      <label for=${name}>${label}</label>
      <input
        id=${name}
        type="number"
        inputmode="numeric"
        min=${min}
        max=${max}
        step=${step}
        placeholder="automatic"
        .value=${value === undefined ? '' : String(value)}
        @change=${(event: Event) => {
          const field = event.target as HTMLInputElement;
          const read = clampSetting(name, field.value);
          field.value = read === undefined ? '' : String(read);
          ask(this, 'setting', { [name]: read });
        }}
      >
    </div>`;
  }

  readonly #backend = (event: Event): void => {
    const chosen = BACKENDS.find(([value]) => value === (event.target as HTMLSelectElement).value);
    if (chosen) ask(this, 'setting', { backend: chosen[0] });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'engine-options': EngineOptions;
  }
}
