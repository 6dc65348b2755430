import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import type { ModelListing, StoredModel } from '../api.ts';
import type { Capability } from './capabilities.ts';
import './capability-list.ts';
import './engine-options.ts';
import { ask } from './events.ts';
import { formatBytes } from './format.ts';
import { chevronIcon, fileIcon } from './icons.ts';
import type { Failure } from './state/engine-session.ts';
import { parseModelAddress } from './state/query.ts';
import type { Settings } from './state/settings.ts';
import { shared } from './styles/shared.ts';

/** The header of a file is not kept, so a whole model has a little less than its file. */
const WHOLE = 0.9;

const keptWords = (kept: StoredModel | undefined): string | undefined => {
  if (!kept) return undefined;
  return kept.bytes > kept.fileBytes * WHOLE ? 'kept in this browser' : 'partly kept in this browser';
};

/** Where a model comes from: the server's list, an address, a file. */
@customElement('model-picker')
export class ModelPicker extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        overflow-y: auto;
      }

      .page {
        display: flex;
        flex-direction: column;
        gap: 1.75rem;
        max-width: var(--column);
        margin: 0 auto;
        padding: 1.75rem 1.25rem 3rem;
      }

      header p {
        margin-top: 0.4rem;
      }

      section h2 {
        margin-bottom: 0.6rem;
      }

      .models {
        overflow: hidden;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
      }

      .models li {
        display: flex;
        align-items: center;
        gap: 0.75rem;
        padding: 0.75rem 0.9rem;
      }

      .models li + li {
        border-top: 1px solid var(--line);
      }

      .about {
        flex: 1;
        min-width: 0;
      }

      .name {
        font-weight: 600;
        overflow-wrap: anywhere;
      }

      .why {
        color: var(--warning);
      }

      .address {
        display: flex;
        gap: 0.5rem;
      }

      .address input {
        flex: 1;
      }

      .wrong {
        margin-top: 0.4rem;
        color: var(--danger);
      }

      .drop {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.6rem 0.9rem;
        padding: 1rem;
        border: 1.5px dashed var(--line-strong);
        border-radius: var(--radius);
      }

      details summary {
        display: inline-flex;
        align-items: center;
        gap: 0.3rem;
        padding: 0.2rem 0.5rem 0.2rem 0;
        font-weight: 600;
      }

      details[open] summary svg {
        transform: rotate(180deg);
      }

      summary::-webkit-details-marker {
        display: none;
      }

      details > :last-child {
        margin-top: 0.75rem;
      }

      .failed {
        padding: 0.75rem 0.9rem;
        border: 1px solid var(--danger);
        border-radius: var(--radius);
        background: var(--danger-soft);
      }

      .failed .row {
        margin-top: 0.5rem;
      }
    `,
  ];

  @property({ attribute: false }) models: readonly ModelListing[] | undefined;
  @property({ attribute: false }) modelsFailure: Failure | undefined;
  @property({ attribute: false }) stored: readonly StoredModel[] | undefined;
  @property({ attribute: false }) settings!: Readonly<Settings>;
  @property({ attribute: false }) capabilities: readonly Capability[] = [];
  /** Name of the model that is loaded. */
  @property() loaded: string | undefined;
  /** A model is being loaded: nothing else can be. */
  @property({ type: Boolean }) busy = false;

  @state() private wrongAddress = '';
  @query('#address') private address!: HTMLInputElement;
  @query('#file') private file!: HTMLInputElement;

  protected override render(): TemplateResult {
    const lacking = this.capabilities.some(({ level }) => level !== 'good');
    return html`<div class="page">
      <header>
        <h1>Choose a model</h1>
        <p class="muted">It runs here, in your browser. What you write stays on this device.</p>
      </header>
      <slot></slot>
      <section aria-labelledby="listed">
        <h2 id="listed">On this server</h2>
        ${this.#list()}
      </section>
      <section aria-labelledby="elsewhere">
        <h2 id="elsewhere">From this device</h2>
        <div class="drop">
          <button ?disabled=${this.busy} @click=${() => this.file.click()}>${fileIcon} Open a model file</button>
          <span class="muted">.gguf, or .m and .t together; or drop it anywhere on this page</span>
          <input id="file" type="file" accept=".gguf,.m,.t" multiple hidden aria-label="Model file" @change=${this.#picked}>
        </div>
      </section>
      <section aria-labelledby="by-address">
        <h2 id="by-address"><label for="address">From an address</label></h2>
        <form class="address" novalidate @submit=${this.#submitAddress}>
          <input
            id="address"
            type="url"
            inputmode="url"
            autocomplete="url"
            spellcheck="false"
            placeholder="https://…/model.gguf"
            aria-describedby="wrong-address"
            aria-invalid=${this.wrongAddress === '' ? 'false' : 'true'}
            .value=${URL.canParse(this.settings.lastModel ?? '') ? (this.settings.lastModel ?? '') : ''}
          >
          <button ?disabled=${this.busy}>Load</button>
        </form>
        <p class="wrong fine" id="wrong-address" role="alert">${this.wrongAddress}</p>
      </section>
      <details>
        <summary>How to run it ${chevronIcon}</summary>
        <engine-options .settings=${this.settings}></engine-options>
      </details>
      <details ?open=${lacking}>
        <summary>What this browser can do ${chevronIcon}</summary>
        <capability-list .capabilities=${this.capabilities}></capability-list>
      </details>
    </div>`;
  }

  #list(): TemplateResult {
    if (this.modelsFailure) {
      const { what, message } = this.modelsFailure;
      return html`<div class="failed" role="alert">
        <p><strong>${what}.</strong> ${message}</p>
        <div class="row">
          <button class="small" @click=${() => ask(this, 'refresh-models', undefined)}>Try again</button>
        </div>
      </div>`;
    }
    if (!this.models) return html`<p class="muted">Reading the list…</p>`;
    if (this.models.length === 0) {
      return html`<p class="muted">The server has no models. Put .gguf files, or .m with .t, into its models folder, or use one of the other ways.</p>`;
    }
    const last = this.settings.lastModel;
    const sorted = [...this.models].sort((a, b) => Number(b.name === last) - Number(a.name === last));
    const first = sorted.find(({ supported }) => supported)?.name;
    return html`<ul class="models">${sorted.map((model) => this.#model(model, first))}</ul>`;
  }

  #model({ name, bytes, supported, why }: ModelListing, first: string | undefined): TemplateResult {
    const facts = [
      formatBytes(bytes),
      keptWords(this.stored?.find((kept) => kept.model === name)),
      name === this.settings.lastModel ? 'used last' : undefined,
      name === this.loaded ? 'running' : undefined,
    ].filter((fact) => fact !== undefined);
    return html`<li>
      <div class="about">
        <p class="name">${name}</p>
        <p class="fine muted">${facts.join(' · ')}</p>
        ${supported ? nothing : html`<p class="fine why">Cannot be run: ${why ?? 'this kind of model is not supported.'}</p>`}
      </div>
      ${
        supported
          ? html`<button
            class=${name === first ? 'primary' : ''}
            aria-label=${`Load ${name}`}
            ?disabled=${this.busy}
            @click=${() => ask(this, 'load-model', name)}
          >Load</button>`
          : nothing
      }
    </li>`;
  }

  readonly #submitAddress = (event: Event): void => {
    event.preventDefault();
    try {
      const url = parseModelAddress(this.address.value);
      this.wrongAddress = '';
      ask(this, 'load-model', url);
    } catch (error) {
      this.wrongAddress = error instanceof Error ? error.message : String(error);
      this.address.focus();
    }
  };

  readonly #picked = (): void => {
    const files = [...(this.file.files ?? [])];
    // Picking the same file twice in a row must count both times.
    this.file.value = '';
    if (files.length > 0) ask(this, 'load-files', files);
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'model-picker': ModelPicker;
  }
}
