import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { DeviceProfile, DeviceStatus } from '../../api.ts';
import { plural } from '../format.ts';
import { FrameUpdates } from '../frame-updates.ts';
import type { ProfileSession } from '../state/profile-session.ts';
import { shared } from '../styles/shared.ts';
import './profile-table.ts';

type Phase = 'decode' | 'prefill';

const PHASES: readonly [Phase, string][] = [
  ['decode', 'Answer'],
  ['prefill', 'Prompt'],
];

/** Where the last answer's time went, device by device (`?profile=1`). */
@customElement('profile-view')
export class ProfileView extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: flex;
        flex-direction: column;
        gap: 1.25rem;
      }

      fieldset {
        display: flex;
        gap: 1.25rem;
      }

      label {
        display: inline-flex;
        gap: 0.4rem;
        align-items: center;
      }

      input {
        margin: 0;
        accent-color: var(--accent);
      }

      h3 {
        margin-bottom: 0.15rem;
        overflow-wrap: anywhere;
      }

      section p {
        margin-bottom: 0.6rem;
      }

      .failed {
        color: var(--danger);
      }
    `,
  ];

  @property({ attribute: false }) session!: ProfileSession;
  @property({ attribute: false }) devices: readonly DeviceStatus[] = [];
  @state() private phase: Phase = 'decode';
  #unwatch: (() => void) | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    // The session is there from the first connection on; it never changes.
    if (!this.hasUpdated) new FrameUpdates(this, [this.session]);
    this.#unwatch = this.session.watch();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#unwatch?.();
  }

  protected override render(): TemplateResult {
    const { profiles = [], failure } = this.session;
    const measured = profiles.filter(({ prefill, decode }) => prefill.tokens + decode.tokens > 0);
    return html`
      ${failure ? html`<p class="fine failed" role="alert">${failure.what}. ${failure.message}</p>` : nothing}
      ${
        measured.length === 0
          ? html`<p class="fine muted">After the next answer this shows where its time went: by operation and by layer, on every device.</p>`
          : html`<fieldset>
              <legend class="visually-hidden">What is shown</legend>
              ${PHASES.map(
                ([phase, words]) => html`<label>
                  <input type="radio" name="phase" .checked=${phase === this.phase} @change=${() => {
                    this.phase = phase;
                  }}>
                  ${words}
                </label>`,
              )}
            </fieldset>
            ${measured.map((profile) => this.#device(profile))}`
      }
    `;
  }

  #device(profile: DeviceProfile): TemplateResult {
    const { device: index, timesOperations } = profile;
    const phase = profile[this.phase];
    const device = this.devices.find((one) => one.index === index);
    const name = device?.name ?? `Device ${index}`;
    return html`<section aria-labelledby=${`device-${index}`}>
      <h3 id=${`device-${index}`}>${name}</h3>
      <p class="fine muted">
        ${device?.backend === 'webgpu' ? 'WebGPU' : 'WASM'}, ${plural(phase.tokens, 'token')} in
        ${plural(phase.batches, 'pass', 'passes')}.
        ${timesOperations ? nothing : 'This graphics adapter has no timestamps, so only whole steps are timed.'}
      </p>
      ${phase.tokens > 0 ? html`<profile-table .phase=${phase} label=${name}></profile-table>` : nothing}
    </section>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'profile-view': ProfileView;
  }
}
