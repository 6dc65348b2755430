import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { DeviceStatus, LoadInfo, LogEvent, StoredModel } from '../api.ts';
import type { AnswerSpeed } from '../host/conversations.ts';
import type { Capability } from './capabilities.ts';
import './capability-list.ts';
import { ask } from './events.ts';
import { formatBytes, formatRate, plural, rate } from './format.ts';
import type { Failure } from './state/engine-session.ts';
import './stored-models.ts';
import { shared } from './styles/shared.ts';

const BACKEND_WORDS = { wasm: 'Processor (WASM)', webgpu: 'Graphics (WebGPU)' } as const;

/** What runs on this device, how fast, in how much memory, and what is kept here. */
@customElement('device-panel')
export class DevicePanel extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: flex;
        flex-direction: column;
        gap: 1.5rem;
      }

      h3 {
        margin-bottom: 0.5rem;
      }

      dl {
        display: grid;
        grid-template-columns: minmax(6rem, max-content) 1fr;
        gap: 0.3rem 0.9rem;
        font-size: 0.9rem;
        font-variant-numeric: tabular-nums;
      }

      dt {
        color: var(--muted);
      }

      dd {
        min-width: 0;
        overflow-wrap: anywhere;
      }

      .notes {
        margin: 0.7rem 0 0;
        padding-left: 1.1rem;
        list-style: disc;
      }

      progress {
        margin-top: 0.6rem;
      }

      .log {
        max-height: 14rem;
        margin-top: 0.5rem;
        padding: 0.5rem 0.65rem;
        overflow: auto;
        border-radius: var(--radius-small);
        background: var(--sunken);
        font-size: 0.8rem;
        overflow-wrap: anywhere;
      }

      .log .error {
        color: var(--danger);
      }

      .log .warn {
        color: var(--warning);
      }

      .row {
        margin-top: 0.75rem;
      }
    `,
  ];

  @property({ attribute: false }) info: LoadInfo | undefined;
  /** This page's own device. */
  @property({ attribute: false }) device: DeviceStatus | undefined;
  /** Of the newest answer that has figures. */
  @property({ attribute: false }) speed: AnswerSpeed | undefined;
  @property({ attribute: false }) stored: readonly StoredModel[] | undefined;
  @property({ attribute: false }) storedFailure: Failure | undefined;
  @property({ attribute: false }) capabilities: readonly Capability[] = [];
  @property({ attribute: false }) log: readonly LogEvent[] = [];

  protected override render(): TemplateResult {
    return html`
      <section aria-labelledby="running"><h3 id="running">Running</h3>${this.#running()}</section>
      ${this.info ? html`<section aria-labelledby="speed"><h3 id="speed">Speed</h3>${this.#speed()}</section>` : nothing}
      ${this.info ? html`<section aria-labelledby="memory"><h3 id="memory">Memory</h3>${this.#memory()}</section>` : nothing}
      <section aria-labelledby="stored">
        <h3 id="stored">Stored in this browser</h3>
        <stored-models .stored=${this.stored} .failure=${this.storedFailure}></stored-models>
      </section>
      <section aria-labelledby="browser">
        <h3 id="browser">This browser</h3>
        <capability-list .capabilities=${this.capabilities}></capability-list>
      </section>
      ${this.log.length === 0 ? nothing : this.#log()}
    `;
  }

  #running(): TemplateResult {
    if (!this.info) return html`<p class="fine muted">No model is loaded.</p>`;
    const { model, architecture, layers, context, backend, threads, bytes, notes } = this.info;
    return html`<dl>
        <dt>Model</dt>
        <dd>${model}</dd>
        <dt>Kind</dt>
        <dd>${architecture}, ${plural(layers, 'layer')}, ${formatBytes(bytes)}</dd>
        <dt>Computed by</dt>
        <dd>${BACKEND_WORDS[backend]}, ${plural(threads, 'thread')}</dd>
        <dt>Context</dt>
        <dd>${plural(context, 'token')}</dd>
      </dl>
      ${notes.length === 0 ? nothing : html`<ul class="notes fine">${notes.map((note) => html`<li>${note}</li>`)}</ul>`}
      <div class="row">
        <button class="small" @click=${() => ask(this, 'unload-model', undefined)}>Unload the model</button>
      </div>`;
  }

  #speed(): TemplateResult {
    const { speed, device } = this;
    const prefill = speed && rate(speed.promptTokens - speed.cachedTokens, speed.prefillMs);
    const decode = speed && rate(speed.decodeTokens, speed.decodeMs);
    return html`<dl>
      <dt>Prompt</dt>
      <dd>${prefill === undefined ? '–' : formatRate(prefill)}</dd>
      <dt>Answer</dt>
      <dd>${decode === undefined ? '–' : formatRate(decode)}</dd>
      ${
        device && device.gmacs > 0
          ? html`<dt>Measured</dt>
          <dd>${device.gmacs.toPrecision(3)} billion products a second</dd>`
          : nothing
      }
      ${
        device && device.readbackMs > 0
          ? html`<dt>Readback</dt>
          <dd>${device.readbackMs.toPrecision(2)} ms</dd>`
          : nothing
      }
    </dl>`;
  }

  #memory(): TemplateResult {
    const { device } = this;
    if (!device) return html`<p class="fine muted">Not known yet.</p>`;
    const { memoryUsed, memoryLimit, weightBytes, kvBytes } = device;
    return html`<dl>
        <dt>Weights</dt>
        <dd>${formatBytes(weightBytes)}</dd>
        <dt>Conversation</dt>
        <dd>${formatBytes(kvBytes)} (KV cache)</dd>
        <dt>In all</dt>
        <dd>${formatBytes(memoryUsed)}${memoryLimit > 0 ? ` of ${formatBytes(memoryLimit)}` : ''}</dd>
      </dl>
      ${
        memoryLimit > 0
          ? html`<progress aria-label="Memory in use" max=${memoryLimit} .value=${Math.min(memoryUsed, memoryLimit)}></progress>`
          : nothing
      }`;
  }

  #log(): TemplateResult {
    return html`<details>
      <summary class="fine">What happened (${this.log.length})</summary>
      <div class="log" tabindex="0" role="region" aria-label="What happened">
        ${this.log.map(({ level, text }) => html`<div class=${level}>${text}</div>`)}
      </div>
    </details>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'device-panel': DevicePanel;
  }
}
