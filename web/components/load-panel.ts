import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Progress } from '../api.ts';
import { ask } from './events.ts';
import { formatBytes, formatWait, percent, secondsLeft } from './format.ts';
import type { Failure } from './state/engine-session.ts';
import { shared } from './styles/shared.ts';

/** How the loading of a model goes, in bytes and in words, or why it did not. */
@customElement('load-panel')
export class LoadPanel extends LitElement {
  static override styles = [
    shared,
    css`
      section {
        padding: 1rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
      }

      .failed {
        border-color: var(--danger);
        background: var(--danger-soft);
      }

      p {
        overflow-wrap: anywhere;
      }

      progress {
        margin: 0.75rem 0 0.4rem;
      }

      .figures {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.25rem 1rem;
        font-variant-numeric: tabular-nums;
      }

      .row {
        margin-top: 0.75rem;
      }
    `,
  ];

  /** Name of the model. */
  @property() model = '';
  @property({ type: Boolean }) loading = false;
  @property({ attribute: false }) progress: Progress | undefined;
  @property({ attribute: false }) since = { at: 0, loaded: 0 };
  @property({ attribute: false }) failure: Failure | undefined;

  protected override render(): TemplateResult | typeof nothing {
    if (this.failure) return this.#failed(this.failure);
    return this.loading ? this.#progress() : nothing;
  }

  #progress(): TemplateResult {
    const { text = 'Opening the model.', loaded = 0, total = 0 } = this.progress ?? {};
    const measured = total > 0;
    const left = this.progress ? secondsLeft(this.progress, this.since, performance.now()) : undefined;
    return html`<section aria-labelledby="what">
      <h2 id="what">Loading ${this.model}</h2>
      <p class="muted">${text}</p>
      ${
        measured
          ? html`<progress aria-labelledby="what" max=${total} .value=${Math.min(loaded, total)}></progress>`
          : html`<progress aria-labelledby="what"></progress>`
      }
      <div class="figures">
        <span class="fine muted">
          ${measured ? `${formatBytes(loaded)} of ${formatBytes(total)} · ${percent(loaded, total)} %` : nothing}
          ${left === undefined ? nothing : ` · ${formatWait(left)} left`}
        </span>
        <button class="small" @click=${() => ask(this, 'unload-model', undefined)}>Cancel</button>
      </div>
    </section>`;
  }

  #failed({ what, message, code }: Failure): TemplateResult {
    return html`<section class="failed" role="alert">
      <h2>${what}</h2>
      <p>${message}</p>
      ${code === undefined ? nothing : html`<p class="fine muted">Error code: ${code}</p>`}
      <div class="row">
        <button class="small" @click=${() => ask(this, 'retry-load', undefined)}>Try again</button>
        <button class="small" @click=${() => ask(this, 'show-models', undefined)}>Choose another model</button>
        <button class="small quiet" @click=${() => ask(this, 'dismiss-failure', undefined)}>Dismiss</button>
      </div>
    </section>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'load-panel': LoadPanel;
  }
}
