import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Migration } from '../../api.ts';
import { ask } from '../events.ts';
import { FrameUpdates } from '../frame-updates.ts';
import { shared } from '../styles/shared.ts';
import './mesh-devices.ts';
import './mesh-invite.ts';
import './mesh-knocks.ts';
import type { MeshSession } from './mesh-session.ts';
import './move-form.ts';
import './move-list.ts';
import type { DeviceBytes } from './plan-picture.ts';
import './plan-picture.ts';
import './ratios-field.ts';
import { suggestRatios } from './suggestions.ts';

/** The mesh as the host sees it: the way in, the devices, the plan as a picture, and moves. */
@customElement('mesh-panel')
export class MeshPanel extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: flex;
        flex-direction: column;
        gap: 1.75rem;
      }

      h3 {
        margin-bottom: 0.6rem;
      }

      h3 .fine {
        color: var(--muted);
        font-weight: 450;
      }

      h4 {
        margin: 0 0 0.4rem;
        font-size: 0.85rem;
      }

      ratios-field,
      move-list {
        margin-top: 1rem;
      }

      .failed {
        display: flex;
        gap: 0.5rem;
        align-items: flex-start;
        justify-content: space-between;
        margin-bottom: 0.75rem;
        padding: 0.6rem 0.8rem;
        border: 1px solid var(--danger);
        border-radius: var(--radius-small);
        background: var(--danger-soft);
      }

      .failed p {
        min-width: 0;
        overflow-wrap: anywhere;
      }
    `,
  ];

  @property({ attribute: false }) session!: MeshSession;
  #unwatch: (() => void) | undefined;

  override connectedCallback(): void {
    super.connectedCallback();
    // The session is there from the first connection on; it never changes.
    if (!this.hasUpdated) new FrameUpdates(this, [this.session]);
    this.#unwatch = this.session.watch();
    this.session.addEventListener('announce', this.#announce);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.#unwatch?.();
    this.session.removeEventListener('announce', this.#announce);
  }

  protected override render(): TemplateResult {
    const { session } = this;
    const { room, addresses, opening, roomFailure, devices, deviceFailure } = session;
    return html`
      <section aria-labelledby="invite">
        <h3 id="invite">Invite</h3>
        <mesh-knocks
          .knocks=${room?.knocks ?? []}
          @admit=${({ detail }: CustomEvent<string>) => void session.admit(detail)}
          @refuse=${({ detail }: CustomEvent<string>) => void session.refuse(detail)}
        ></mesh-knocks>
        <mesh-invite
          .room=${room}
          .addresses=${addresses}
          .failure=${roomFailure}
          ?opening=${opening}
          @open=${() => void session.openRoom()}
          @ask=${({ detail }: CustomEvent<boolean>) => void session.setAsk(detail)}
        ></mesh-invite>
      </section>
      <section aria-labelledby="devices">
        <h3 id="devices">Devices ${devices.length > 0 ? html`<span class="fine">${devices.length}</span>` : nothing}</h3>
        <mesh-devices
          .devices=${devices}
          .failure=${deviceFailure}
          @rename=${({ detail }: CustomEvent<{ index: number; name: string }>) =>
            void session.renameDevice(detail.index, detail.name)}
          @pause=${({ detail }: CustomEvent<{ index: number; paused: boolean }>) =>
            void session.pauseDevice(detail.index, detail.paused)}
          @remove=${({ detail }: CustomEvent<number>) => void session.removeDevice(detail)}
        ></mesh-devices>
      </section>
      ${session.plan ? this.#plan() : this.#noPlan()} ${session.plan ? this.#moves() : nothing}
    `;
  }

  #noPlan(): TemplateResult {
    return html`<section aria-labelledby="plan">
      <h3 id="plan">Who computes what</h3>
      <p class="fine muted">Load a model; then this shows how it is shared out, and lets you change that.</p>
    </section>`;
  }

  #plan(): TemplateResult {
    const { session } = this;
    const { plan, model, devices, forecast, ratios } = session;
    const { preview } = ratios;
    const names = new Map(devices.map(({ index, name }) => [index, name]));
    return html`<section aria-labelledby="plan">
      <h3 id="plan">Who computes what <span class="fine">plan ${plan?.epoch}</span></h3>
      <plan-picture
        label="Present plan"
        movable
        .plan=${plan}
        .shape=${model?.shape}
        .names=${names}
        .bytes=${new Map<number, DeviceBytes>(devices.map((device) => [device.index, device]))}
        .forecast=${forecast}
        @move=${this.#move}
        @consider=${this.#consider}
      ></plan-picture>
      <ratios-field
        .text=${ratios.text}
        .state=${ratios.state}
        .fault=${ratios.fault}
        .suggestions=${suggestRatios(session.computing)}
        @type=${({ detail }: CustomEvent<string>) => ratios.type(detail)}
        @apply=${() => void ratios.apply()}
      >
        ${
          preview
            ? html`<h4>It would become</h4>
              <plan-picture
                label="Previewed plan"
                .plan=${preview.plan}
                .shape=${model?.shape}
                .names=${names}
                .bytes=${new Map<number, DeviceBytes>(preview.devices.map((device) => [device.device, device]))}
              ></plan-picture>`
            : nothing
        }
      </ratios-field>
    </section>`;
  }

  #moves(): TemplateResult {
    const { session } = this;
    const { plan, model, devices, forecast, moves, moveFailure } = session;
    const shown = moves.map((report) => ({
      report,
      words: session.wordsOf(report),
      cancellable: session.canCancel(report.id),
    }));
    const alone = plan !== undefined && plan.stages.reduce((sum, { members }) => sum + members.length, 0) < 2;
    return html`<section aria-labelledby="moves">
      <h3 id="moves">Moves</h3>
      ${
        moveFailure
          ? html`<div class="failed fine" role="alert">
            <p><strong>${moveFailure.what}.</strong> ${moveFailure.message}</p>
            <button class="small" @click=${() => session.dismissMoveFailure()}>Dismiss</button>
          </div>`
          : nothing
      }
      ${
        alone
          ? html`<p class="fine muted">With a second device in the plan, shares can be moved between them while text is written.</p>`
          : html`<move-form
            .plan=${plan}
            .shape=${model?.shape}
            .names=${new Map(devices.map(({ index, name }) => [index, name]))}
            .forecast=${forecast}
            @move=${this.#move}
            @consider=${this.#consider}
          ></move-form>`
      }
      <move-list .moves=${shown} @cancel=${({ detail }: CustomEvent<number>) => session.cancel(detail)}></move-list>
    </section>`;
  }

  readonly #move = ({ detail }: CustomEvent<Migration>): void => void this.session.move(detail);

  readonly #consider = ({ detail }: CustomEvent<Migration | undefined>): void => this.session.consider(detail);

  readonly #announce = (event: Event): void => ask(this, 'announce', (event as CustomEvent<string>).detail);
}

declare global {
  interface HTMLElementTagNameMap {
    'mesh-panel': MeshPanel;
  }
}
