import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { StoredModel } from '../api.ts';
import { ask } from './events.ts';
import { formatBytes } from './format.ts';
import { binIcon } from './icons.ts';
import type { Failure } from './state/engine-session.ts';
import { shared } from './styles/shared.ts';

/** The models whose weights this browser keeps, with their sizes, to be deleted. */
@customElement('stored-models')
export class StoredModels extends LitElement {
  static override styles = [
    shared,
    css`
      li {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        padding: 0.35rem 0;
      }

      li + li {
        border-top: 1px solid var(--line);
      }

      .about {
        flex: 1;
        min-width: 0;
        overflow-wrap: anywhere;
        line-height: 1.35;
      }

      .failed {
        color: var(--danger);
      }

      .total {
        margin-top: 0.5rem;
      }
    `,
  ];

  @property({ attribute: false }) stored: readonly StoredModel[] | undefined;
  @property({ attribute: false }) failure: Failure | undefined;
  @state() private deleting: string | undefined;

  protected override render(): TemplateResult {
    return html`${this.failure ? html`<p class="failed fine" role="alert">${this.failure.what}: ${this.failure.message}</p>` : nothing}
      ${this.#list()}`;
  }

  #list(): TemplateResult | typeof nothing {
    if (!this.stored) return this.failure ? nothing : html`<p class="fine muted">Reading…</p>`;
    if (this.stored.length === 0) return html`<p class="fine muted">Nothing is stored.</p>`;
    const total = this.stored.reduce((sum, { bytes }) => sum + bytes, 0);
    return html`<ul>${this.stored.map((model) => this.#model(model))}</ul>
      <p class="total fine muted">${formatBytes(total)} in all</p>`;
  }

  #model({ digest, model, bytes, fileBytes }: StoredModel): TemplateResult {
    const sure = this.deleting === digest;
    return html`<li>
      <div class="about">
        <div>${model}</div>
        <div class="fine muted">${sure ? 'It must be loaded from its source again.' : `${formatBytes(bytes)} of a file of ${formatBytes(fileBytes)}`}</div>
      </div>
      ${
        sure
          ? html`<button class="small danger" @click=${() => {
              this.deleting = undefined;
              ask(this, 'delete-stored', digest);
            }}>Delete</button>
            <button class="small" @click=${() => {
              this.deleting = undefined;
            }}>Keep</button>`
          : html`<button
            class="quiet small icon"
            aria-label=${`Delete ${model} from this browser`}
            title="Delete"
            @click=${() => {
              this.deleting = digest;
            }}
          >${binIcon}</button>`
      }
    </li>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'stored-models': StoredModels;
  }
}
