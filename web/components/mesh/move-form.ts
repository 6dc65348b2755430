import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { Migration, Plan } from '../../api.ts';
import { DEFAULT_FFN, DEFAULT_HEADS } from '../../plan/moves.ts';
import { nodesOf } from '../../plan/nodes.ts';
import { BLOCK, type ModelShape } from '../../plan/shape.ts';
import { shared } from '../styles/shared.ts';
import { type MoveFields, type MoveOption, moveOptions } from './move-options.ts';
import { amountWords, type Forecast, forecastWords } from './move-words.ts';

/** Moves between any two devices of the plan, by buttons. Dispatches `move` and `consider`, as the picture does. */
@customElement('move-form')
export class MoveForm extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        container-type: inline-size;
      }

      .fields {
        display: grid;
        grid-template-columns: repeat(6, minmax(0, 1fr));
        gap: 0.5rem;
      }

      .field {
        grid-column: span 2;
      }

      .field.wide {
        grid-column: span 3;
      }

      label {
        display: block;
        margin-bottom: 0.15rem;
        font-size: 0.8rem;
      }

      .buttons {
        display: grid;
        grid-template-columns: repeat(4, 1fr);
        gap: 0.5rem;
        margin-top: 0.75rem;
      }

      .buttons button {
        padding-inline: 0.3rem;
        white-space: nowrap;
      }

      @container (max-width: 24rem) {
        .buttons {
          grid-template-columns: 1fr 1fr;
        }
      }

      .after {
        min-height: 1.4em;
        margin-top: 0.5rem;
      }

      .after li + li {
        margin-top: 0.2rem;
      }
    `,
  ];

  @property({ attribute: false }) plan: Plan | undefined;
  @property({ attribute: false }) shape: ModelShape | undefined;
  /** Names of devices, by index. */
  @property({ attribute: false }) names: ReadonlyMap<number, string> = new Map();
  @property({ attribute: false }) forecast: Forecast | undefined;

  @state() private fields: MoveFields = { from: 0, to: 1, heads: DEFAULT_HEADS, ffn: DEFAULT_FFN, layers: 1 };
  /** The button whose move is being thought of. */
  @state() private considered: MoveOption['name'] | undefined;

  protected override render(): TemplateResult | typeof nothing {
    const { plan } = this;
    if (!plan || nodesOf(plan).length < 2) return nothing;
    const options = moveOptions(this.fields, plan, this.shape);
    return html`<div role="group" aria-label="Move a share">
      <div class="fields">
        ${this.#node('from', 'From', plan)} ${this.#node('to', 'To', plan)}
        ${this.#amount('heads', 'KV heads', 1)} ${this.#amount('ffn', 'FFN columns', BLOCK)} ${this.#amount('layers', 'Layers', 1)}
      </div>
      <div class="buttons">${options.map((option) => this.#button(option))}</div>
      ${this.#after(options)}
    </div>`;
  }

  #node(name: 'from' | 'to', label: string, plan: Plan): TemplateResult {
    return html`<div class="field wide">
      <label for=${name}>${label}</label>
      <select id=${name} @change=${(event: Event) => this.#set(name, (event.target as HTMLSelectElement).value)}>
        ${nodesOf(plan).map(
          ({ node, stage, member }) =>
            html`<option value=${node} ?selected=${node === this.fields[name]}>
              ${node} · ${this.#name(member.device)}${plan.stages.length > 1 ? `, stage ${stage}` : ''}
            </option>`,
        )}
      </select>
    </div>`;
  }

  #amount(name: 'heads' | 'ffn' | 'layers', label: string, step: number): TemplateResult {
    return html`<div class="field">
      <label for=${name}>${label}</label>
      <input
        id=${name}
        type="number"
        inputmode="numeric"
        min=${step}
        step=${step}
        .value=${String(this.fields[name])}
        @input=${(event: Event) => this.#set(name, (event.target as HTMLInputElement).value)}
      >
    </div>`;
  }

  #button({ name, label, move, refused }: MoveOption): TemplateResult {
    const consider = (): void => this.#consider(name, move);
    const forget = (): void => this.#consider(undefined, undefined);
    return html`<button
      ?disabled=${refused !== undefined}
      aria-label=${`Move ${amountWords(move)} to ${this.#nodeName(move.to)}`}
      @pointerenter=${consider}
      @pointerleave=${forget}
      @focus=${consider}
      @blur=${forget}
      @click=${() => {
        forget();
        this.#tell('move', move);
      }}
    >${label} →</button>`;
  }

  /** What the considered move would carry; else why some buttons are off. */
  #after(options: MoveOption[]): TemplateResult {
    const considered = options.find(({ name }) => name === this.considered);
    if (considered && JSON.stringify(this.forecast?.move) === JSON.stringify(considered.move)) {
      return html`<p class="after fine">${forecastWords(this.forecast!, (device) => this.#name(device))}</p>`;
    }
    const reasons = new Map<string, string[]>();
    for (const { label, refused } of options) {
      if (refused !== undefined) reasons.set(refused, [...(reasons.get(refused) ?? []), label]);
    }
    return html`<ul class="after fine muted">
      ${[...reasons].map(([reason, labels]) => html`<li>${labels.join(', ')}: ${reason}</li>`)}
    </ul>`;
  }

  #set(name: keyof MoveFields, text: string): void {
    const value = Number.parseInt(text, 10);
    if (!Number.isNaN(value)) this.fields = { ...this.fields, [name]: value };
  }

  #consider(name: MoveOption['name'] | undefined, move: Migration | undefined): void {
    if (name === this.considered) return;
    this.considered = name;
    this.#tell('consider', move);
  }

  #name(device: number): string {
    return this.names.get(device) ?? `Device ${device}`;
  }

  #nodeName(node: number): string {
    const found = this.plan && nodesOf(this.plan)[node];
    return found ? this.#name(found.member.device) : `node ${node}`;
  }

  #tell(event: 'move' | 'consider', detail: Migration | undefined): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'move-form': MoveForm;
  }
}
