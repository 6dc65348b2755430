import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { ContributeStatus } from '../../api.ts';
import { formatBytes, plural } from '../format.ts';
import { shared } from '../styles/shared.ts';
import { contributeStyle } from './contribute-style.ts';
import { activity, layerWords, linkWords } from './lending-words.ts';
import './memory-slider.ts';

const BACKENDS: Readonly<Record<string, string>> = { wasm: 'processor (WASM)', webgpu: 'graphics (WebGPU)' };

/** What a device in the room does, with its controls. Dispatches `pause`, `resume`, `leave`, and `limit` with bytes. */
@customElement('lending-card')
export class LendingCard extends LitElement {
  static override styles = [
    shared,
    contributeStyle,
    css`
      :host {
        display: flex;
        flex-direction: column;
        gap: 0.75rem;
      }

      .now {
        display: flex;
        gap: 0.75rem;
        align-items: flex-start;
      }

      .dot {
        flex: none;
        width: 0.9rem;
        height: 0.9rem;
        margin-top: 0.45rem;
        border: 2px solid var(--muted);
        border-radius: 50%;
      }

      .on .dot {
        border-color: var(--accent);
        background: var(--accent);
      }

      progress {
        margin-top: 0.75rem;
      }

      .tokens {
        margin-top: 1rem;
        padding-top: 0.9rem;
        border-top: 1px solid var(--line);
        font-variant-numeric: tabular-nums;
      }

      .tokens strong {
        display: block;
        font-size: 2rem;
        line-height: 1.1;
      }

      dl {
        display: grid;
        grid-template-columns: minmax(5.5rem, max-content) minmax(0, 1fr);
        gap: 0.35rem 0.9rem;
        font-size: 0.9rem;
        font-variant-numeric: tabular-nums;
      }

      dt {
        color: var(--muted);
      }

      dd {
        overflow-wrap: anywhere;
      }

      .note {
        margin-top: 0.75rem;
        padding: 0.6rem 0.8rem;
        border-radius: var(--radius-small);
        background: var(--warning-soft);
        font-size: 0.9rem;
      }
    `,
  ];

  @property({ attribute: false }) status!: ContributeStatus;
  @property({ type: Boolean }) busy = false;

  protected override render(): TemplateResult {
    const { status } = this;
    const { state, tokens, problem, loaded, total, layers } = status;
    const { title, text } = activity(status);
    const paused = state === 'paused';
    const loading = total > 0 && loaded < total;
    return html`<section class=${!paused && layers ? 'on' : ''} aria-labelledby="title">
        <div class="now">
          <span class="dot"></span>
          <div>
            <h2 id="title">${title}</h2>
            <p class="muted">${text}</p>
          </div>
        </div>
        ${loading ? html`<progress aria-label="Loading its share" max=${total} .value=${loaded}></progress>` : nothing}
        ${problem === undefined ? nothing : html`<p class="note" role="status">${problem}</p>`}
        <p class="tokens"><strong>${tokens.toLocaleString('en')}</strong> ${tokens === 1 ? 'token' : 'tokens'} helped with</p>
        <div class="actions">
          ${
            paused
              ? html`<button class="primary" ?disabled=${this.busy} @click=${() => this.#tell('resume')}>Resume</button>`
              : html`<button ?disabled=${this.busy} @click=${() => this.#tell('pause')}>Pause</button>`
          }
          <button ?disabled=${this.busy} @click=${() => this.#tell('leave')}>Leave</button>
        </div>
      </section>
      <section aria-label="What it computes">${this.#facts()}</section>
      <section aria-label="Memory">${this.#memory()}</section>`;
  }

  #facts(): TemplateResult {
    const { name, index, model, layers, heads, ffn, backend, threads, gmacs, awake } = this.status;
    const fact = (term: string, value: string | undefined) =>
      value === undefined ? nothing : html`<dt>${term}</dt><dd>${value}</dd>`;
    const computed = [BACKENDS[backend] ?? backend, threads > 0 ? plural(threads, 'thread') : ''].filter(Boolean);
    return html`<dl>
      ${fact('Name', index === undefined ? name : `${name}, device ${index}`)} ${fact('Model', model)}
      ${fact('Layers', layers && layerWords(layers))}
      ${fact('Heads', layers ? `${heads.toLocaleString('en')} in each layer` : undefined)}
      ${fact('FFN columns', layers ? `${ffn.toLocaleString('en')} in each layer` : undefined)}
      ${fact('Link', linkWords(this.status))}
      ${fact('Computed by', computed.length > 0 ? computed.join(', ') : undefined)}
      ${fact('Speed', gmacs > 0 ? `${gmacs.toFixed(1)} billion products a second` : undefined)}
      ${fact('Screen', awake ? 'kept awake' : 'may go to sleep: keep this page in front')}
    </dl>`;
  }

  #memory(): TemplateResult {
    const { memoryUsed, memoryWarm, memoryLimit } = this.status;
    const warm = memoryWarm > 0 ? `, ${formatBytes(memoryWarm)} of it in case a share comes back` : '';
    return html`<memory-slider
        .limit=${memoryLimit}
        @limit=${({ detail }: CustomEvent<number>) => this.#tell('limit', detail)}
      ></memory-slider>
      <p class="fine muted">${formatBytes(memoryUsed)} in use${warm}</p>
      ${
        memoryLimit > 0
          ? html`<progress aria-label="Memory in use" max=${memoryLimit} .value=${Math.min(memoryUsed, memoryLimit)}></progress>`
          : nothing
      }`;
  }

  #tell(event: 'pause' | 'resume' | 'leave' | 'limit', detail?: number): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'lending-card': LendingCard;
  }
}
