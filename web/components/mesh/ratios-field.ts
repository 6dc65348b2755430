import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { shared } from '../styles/shared.ts';
import type { DraftState, RatiosFault } from './ratios-draft.ts';
import type { Suggestion } from './suggestions.ts';

/** Where ratios are typed. Dispatches `type` with the text, and `apply`. What they would make is shown in the slot. */
@customElement('ratios-field')
export class RatiosField extends LitElement {
  static override styles = [
    shared,
    css`
      form {
        display: flex;
        gap: 0.5rem;
      }

      input {
        font-family: var(--mono);
      }

      input[aria-invalid='true'] {
        border-color: var(--danger);
      }

      label {
        display: block;
        margin-bottom: 0.25rem;
        font-size: 0.9rem;
      }

      .chips {
        margin: 0.5rem 0 0;
      }

      .chips button {
        border-color: var(--line);
        font-weight: 450;
      }

      .help {
        margin-top: 0.4rem;
      }

      .fault {
        margin-top: 0.5rem;
        color: var(--danger);
      }

      .echo {
        overflow-x: auto;
        color: var(--text);
        font-family: var(--mono);
        font-size: 0.95rem;
        white-space: pre;
      }

      .echo mark {
        background: var(--danger-soft);
        color: inherit;
        text-decoration: underline wavy var(--danger);
        text-underline-offset: 3px;
      }

      .gap {
        display: inline-block;
        width: 0.8em;
        border-bottom: 2px solid var(--danger);
        background: var(--danger-soft);
      }

      .preview {
        margin-top: 0.75rem;
      }

      code {
        font-family: var(--mono);
      }
    `,
  ];

  @property() text = '';
  @property() state: DraftState = 'empty';
  @property({ attribute: false }) fault: RatiosFault | undefined;
  @property({ attribute: false }) suggestions: readonly Suggestion[] = [];

  protected override render(): TemplateResult {
    const { text, state, fault } = this;
    return html`<label for="ratios">Shares</label>
      <form @submit=${this.#apply}>
        <input
          id="ratios"
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          placeholder="2:3:3"
          aria-describedby="help fault"
          aria-invalid=${state === 'bad' ? 'true' : 'false'}
          .value=${text}
          @input=${(event: Event) => this.#type((event.target as HTMLInputElement).value)}
        >
        <button class="primary" ?disabled=${state !== 'good'}>${state === 'applying' ? 'Applying…' : 'Apply'}</button>
      </form>
      ${
        this.suggestions.length === 0
          ? nothing
          : html`<div class="chips row" role="group" aria-label="Suggested shares">
            ${this.suggestions.map(
              ({ label, ratios }) =>
                html`<button class="small" @click=${() => this.#type(ratios)}>${label} <code>${ratios}</code></button>`,
            )}
          </div>`
      }
      <p class="help fine muted" id="help">
        A number for each device: <code>:</code> between devices that share layers, <code>*</code> before the next
        stage, <code>@</code> for its number of layers. <code>1@14*1:1@16</code>: the first has 14 layers, two share 16.
      </p>
      <div id="fault" role="alert">${fault ? this.#fault(text, fault) : nothing}</div>
      ${state === 'good' || state === 'applying' ? html`<div class="preview"><slot></slot></div>` : nothing}`;
  }

  #fault(text: string, { message, at, length }: RatiosFault): TemplateResult {
    return html`<div class="fault fine">
      ${
        at === undefined
          ? nothing
          : html`<div class="echo" aria-hidden="true"
            >${text.slice(0, at)}${
              length === 0 ? html`<span class="gap">&nbsp;</span>` : html`<mark>${text.slice(at, at + length)}</mark>`
            }${text.slice(at + length)}</div>`
      }
      <p>${message}</p>
    </div>`;
  }

  #type(text: string): void {
    this.dispatchEvent(new CustomEvent('type', { detail: text }));
  }

  readonly #apply = (event: Event): void => {
    event.preventDefault();
    if (this.state === 'good') this.dispatchEvent(new CustomEvent('apply'));
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'ratios-field': RatiosField;
  }
}
