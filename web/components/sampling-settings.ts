import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { ask } from './events.ts';
import { BOUNDS, clampSetting, type NumberSetting, type Settings, samplingDefaults } from './state/settings.ts';
import { shared } from './styles/shared.ts';

interface Field {
  name: Exclude<NumberSetting, 'threads' | 'context'>;
  label: string;
  help: string;
}

const FIELDS: readonly Field[] = [
  { name: 'temperature', label: 'Temperature', help: '0 always takes the likeliest token; higher is more varied.' },
  { name: 'topK', label: 'Top-k', help: 'Choose among this many likeliest tokens; 0 is all of them.' },
  { name: 'topP', label: 'Top-p', help: 'Choose among the likeliest that together have this probability; 1 is all.' },
  {
    name: 'minP',
    label: 'Min-p',
    help: 'Leave out what is less likely than this share of the likeliest; 0 is nothing.',
  },
  { name: 'repetitionPenalty', label: 'Repetition penalty', help: 'Above 1 makes tokens that were used less likely.' },
  { name: 'maxTokens', label: 'Longest answer', help: 'In tokens; a word is one or two.' },
  { name: 'seed', label: 'Seed', help: 'The same seed gives the same answer. Empty: another one each time.' },
];

/** How answers are drawn from the model. Changes hold from the next answer on. */
@customElement('sampling-settings')
export class SamplingSettings extends LitElement {
  static override styles = [
    shared,
    css`
      .field {
        display: grid;
        grid-template-columns: 1fr 6.5rem;
        align-items: center;
        gap: 0.1rem 0.75rem;
      }

      .field p {
        grid-column: 1 / -1;
      }

      label {
        font-size: 0.9rem;
      }

      .prompt label {
        display: block;
        margin-bottom: 0.25rem;
      }

      textarea {
        min-height: 5rem;
      }
    `,
  ];

  @property({ attribute: false }) settings!: Readonly<Settings>;

  protected override render(): TemplateResult {
    return html`<div class="stack">
      <div class="prompt">
        <label for="system">System prompt</label>
        <textarea
          id="system"
          placeholder="The model’s own"
          .value=${this.settings.systemPrompt}
          @change=${(event: Event) =>
            ask(this, 'setting', { systemPrompt: (event.target as HTMLTextAreaElement).value })}
        ></textarea>
      </div>
      ${FIELDS.map((field) => this.#field(field))}
      <div><button class="small" @click=${() => ask(this, 'setting', samplingDefaults())}>Reset to defaults</button></div>
    </div>`;
  }

  #field({ name, label, help }: Field): TemplateResult {
    const { min, max, step } = BOUNDS[name];
    const value = this.settings[name];
    return html`<div class="field">
      <label for=${name}>${label}</label>
      <input
        id=${name}
        type="number"
        inputmode="decimal"
        min=${min}
        max=${max}
        step=${step}
        aria-describedby=${`${name}-help`}
        placeholder=${name === 'seed' ? 'random' : ''}
        .value=${value === undefined ? '' : String(value)}
        @change=${(event: Event) => this.#changed(name, event.target as HTMLInputElement)}
      >
      <p class="fine muted" id=${`${name}-help`}>${help}</p>
    </div>`;
  }

  /** An emptied field goes back to its default, which for the seed is none. */
  #changed(name: Field['name'], field: HTMLInputElement): void {
    const value = clampSetting(name, field.value) ?? samplingDefaults()[name];
    field.value = value === undefined ? '' : String(value);
    ask(this, 'setting', { [name]: value });
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'sampling-settings': SamplingSettings;
  }
}
