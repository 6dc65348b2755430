import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { DeviceStatus } from '../../api.ts';
import { formatBytes, percent, plural } from '../format.ts';
import { binIcon, pauseIcon, pencilIcon, playIcon } from '../icons.ts';
import type { Failure } from '../state/engine-session.ts';
import { shared } from '../styles/shared.ts';
import { formatMs } from './move-words.ts';

const STATES: Record<DeviceStatus['state'], string> = {
  joining: 'joining',
  loading: 'loading',
  ready: 'ready',
  computing: 'computing',
  paused: 'paused',
  lost: 'connection lost',
  gone: 'gone',
};

const BACKENDS: Readonly<Record<string, string>> = { wasm: 'WASM', webgpu: 'WebGPU' };

const NAME_LENGTH = 60;

/** The devices of the room. Dispatches `rename` ({ index, name }), `pause` ({ index, paused }) and `remove` (index). */
@customElement('mesh-devices')
export class MeshDevices extends LitElement {
  static override styles = [
    shared,
    css`
      li {
        padding: 0.7rem 0.8rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
      }

      li + li {
        margin-top: 0.5rem;
      }

      .head {
        display: flex;
        gap: 0.5rem;
        align-items: center;
        min-height: 2rem;
      }

      .index {
        flex: none;
        min-width: 1.6rem;
        padding: 0.05rem 0.35rem;
        border-radius: 4px;
        background: var(--sunken);
        font-size: 0.85rem;
        font-variant-numeric: tabular-nums;
        text-align: center;
      }

      .name {
        flex: 1;
        min-width: 0;
        overflow-wrap: anywhere;
        font-weight: 600;
        line-height: 1.3;
      }

      form {
        display: flex;
        flex: 1;
        gap: 0.4rem;
      }

      form input {
        min-height: 2rem;
        padding: 0.15rem 0.5rem;
      }

      .state {
        display: inline-flex;
        gap: 0.35rem;
        align-items: center;
        white-space: nowrap;
      }

      .state::before {
        content: '';
        width: 0.55rem;
        height: 0.55rem;
        border: 2px solid var(--muted);
        border-radius: 50%;
      }

      .ready::before,
      .computing::before {
        border-color: var(--accent);
        background: var(--accent);
      }

      .lost {
        color: var(--danger);
      }

      .lost::before {
        border-color: var(--danger);
      }

      .facts {
        display: flex;
        flex-wrap: wrap;
        gap: 0.05rem 0.9rem;
        margin-top: 0.25rem;
        font-variant-numeric: tabular-nums;
      }

      .memory {
        margin-top: 0.35rem;
        font-variant-numeric: tabular-nums;
      }

      progress {
        margin-top: 0.25rem;
      }

      .sure {
        margin-top: 0.5rem;
      }

      .failed {
        margin-bottom: 0.5rem;
        color: var(--danger);
      }
    `,
  ];

  @property({ attribute: false }) devices: readonly DeviceStatus[] = [];
  @property({ attribute: false }) failure: Failure | undefined;

  @state() private renaming: number | undefined;
  @state() private removing: number | undefined;
  @query('form input') private nameField!: HTMLInputElement | null;
  @query('.keep') private keepButton!: HTMLButtonElement | null;

  protected override render(): TemplateResult {
    return html`${
      this.failure
        ? html`<p class="failed fine" role="alert">${this.failure.what}: ${this.failure.message}</p>`
        : nothing
    }
    ${
      this.devices.length === 0
        ? html`<p class="fine muted">Devices are listed here once a model is loaded or a room is open.</p>`
        : html`<ul aria-label="Devices">
          ${repeat(
            this.devices,
            ({ index }) => index,
            (device) => this.#device(device),
          )}
        </ul>`
    }`;
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('renaming')) this.nameField?.select();
    if (changed.has('removing')) this.keepButton?.focus();
  }

  #device(device: DeviceStatus): TemplateResult {
    const { index, name, self } = device;
    return html`<li aria-label=${`Device ${index}, ${name}`}>
      <div class="head">
        <span class="index" title="Its number in plans and ratios">${index}</span>
        ${
          this.renaming === index
            ? this.#renameForm(device)
            : html`<span class="name">${name}</span>
              <button
                class="quiet small icon"
                aria-label=${`Rename ${name}`}
                title="Rename"
                @click=${() => {
                  this.renaming = index;
                }}
              >${pencilIcon}</button>
              ${
                self
                  ? nothing
                  : html`${this.#pauseButton(device)}<button
                    class="quiet small icon"
                    aria-label=${`Remove ${name}`}
                    title="Remove from the room"
                    @click=${() => {
                      this.removing = index;
                    }}
                  >${binIcon}</button>`
              }`
        }
      </div>
      ${this.#facts(device)} ${this.#progress(device)} ${this.#memory(device)}
      ${this.removing === index ? this.#sure(device) : nothing}
    </li>`;
  }

  #pauseButton({ index, name, state }: DeviceStatus): TemplateResult {
    const paused = state === 'paused';
    return html`<button
      class="quiet small icon"
      aria-label=${paused ? `Let ${name} compute again` : `Pause ${name}`}
      title=${paused ? 'Let it compute again' : 'Pause: it stays in the room and computes nothing'}
      @click=${() => this.dispatchEvent(new CustomEvent('pause', { detail: { index, paused: !paused } }))}
    >${paused ? playIcon : pauseIcon}</button>`;
  }

  #facts({ state, browser, backend, threads, gmacs, link, rttMs, tokens, self }: DeviceStatus): TemplateResult {
    const computes = [BACKENDS[backend] ?? backend, threads > 0 ? plural(threads, 'thread') : ''].filter(Boolean);
    const links = { self: 'this device', webrtc: 'direct', relay: 'relayed' };
    const delay = self ? '' : `, ${formatMs(rttMs)}`;
    return html`<div class="facts fine muted">
      <span class="state ${state}">${STATES[state]}</span>
      <span title=${link === 'relay' ? 'By way of the server, since no direct connection came about' : nothing}>${links[link]}${delay}</span>
      <span>${browser}</span>
      ${computes.length > 0 ? html`<span>${computes.join(', ')}</span>` : nothing}
      ${gmacs > 0 ? html`<span title="Billions of products a second, measured">${gmacs.toFixed(1)} GMAC/s</span>` : nothing}
      <span>${plural(tokens, 'token')}</span>
    </div>`;
  }

  #progress({ state, name, loaded = 0, total = 0 }: DeviceStatus): TemplateResult | typeof nothing {
    if (state !== 'loading') return nothing;
    if (total === 0) return html`<progress aria-label=${`Loading the share of ${name}`}></progress>`;
    return html`<div class="memory fine">
      Loading its share: ${formatBytes(loaded)} of ${formatBytes(total)} · ${percent(loaded, total)} %
      <progress aria-label=${`Loading the share of ${name}`} max=${total} .value=${Math.min(loaded, total)}></progress>
    </div>`;
  }

  #memory({ name, memoryUsed, memoryWarm, memoryLimit }: DeviceStatus): TemplateResult | typeof nothing {
    if (memoryUsed === 0 && memoryLimit === 0) return nothing;
    const warm = memoryWarm > 0 ? `, ${formatBytes(memoryWarm)} of it kept in case it comes back` : '';
    if (memoryLimit === 0) return html`<div class="memory fine muted">Memory ${formatBytes(memoryUsed)}${warm}</div>`;
    return html`<div class="memory fine muted">
      Memory ${formatBytes(memoryUsed)} of ${formatBytes(memoryLimit)}${warm}
      <progress aria-label=${`Memory of ${name}`} max=${memoryLimit} .value=${Math.min(memoryUsed, memoryLimit)}></progress>
    </div>`;
  }

  #renameForm({ index, name }: DeviceStatus): TemplateResult {
    const end = (): void => {
      this.renaming = undefined;
    };
    const save = (event: Event): void => {
      event.preventDefault();
      if (this.renaming === undefined) return;
      const given = this.nameField?.value.trim() ?? '';
      if (given !== '' && given !== name) this.#tell('rename', { index, name: given });
      end();
    };
    return html`<form @submit=${save} @keydown=${onEscape(end)}>
      <input aria-label=${`Name of device ${index}`} maxlength=${NAME_LENGTH} .value=${name} @blur=${save}>
    </form>`;
  }

  #sure({ index, name }: DeviceStatus): TemplateResult {
    const end = (): void => {
      this.removing = undefined;
    };
    return html`<div class="sure" role="group" aria-label=${`Remove ${name}`} @keydown=${onEscape(end)}>
      <p class="fine">Remove ${name} from the room? Its share goes to the others.</p>
      <div class="row">
        <button class="small danger" @click=${() => {
          end();
          this.#tell('remove', index);
        }}>Remove</button>
        <button class="small keep" @click=${end}>Keep</button>
      </div>
    </div>`;
  }

  #tell(event: 'rename', detail: { index: number; name: string }): void;
  #tell(event: 'remove', detail: number): void;
  #tell(event: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

/** Escape ends what is inside an element, and nothing beyond it. */
const onEscape =
  (end: () => void) =>
  (event: KeyboardEvent): void => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    end();
  };

declare global {
  interface HTMLElementTagNameMap {
    'mesh-devices': MeshDevices;
  }
}
