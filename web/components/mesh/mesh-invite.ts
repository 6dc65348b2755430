import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { RoomInfo } from '../../api.ts';
import type { Failure } from '../state/engine-session.ts';
import { shared } from '../styles/shared.ts';
import { type Addresses, type Invitation, invitation } from './addresses.ts';
import './copy-button.ts';
import './qr-code.ts';

const REACH_WORDS: Record<Invitation['reach'], string> = {
  whole:
    'Scan the code, or open the link, on a device of this network. This server made its certificate itself, so a browser warns once: choose “Advanced” and go on.',
  plain:
    'Scan the code, or open the link, on a device of this network. The link is not encrypted, so that browsers give it one slow thread and no graphics: this server offers no https.',
  local:
    'This machine has no address on a network, so only its own browsers can open this link. Connect it to the network and start the server again.',
};

/** The way in for other devices: a link, its QR code, and whether they must be let in one by one. */
@customElement('mesh-invite')
export class MeshInvite extends LitElement {
  static override styles = [
    shared,
    css`
      .way {
        display: grid;
        grid-template-columns: minmax(7rem, 10rem) minmax(9.2rem, 1fr);
        gap: 0.9rem;
        align-items: start;
        margin-bottom: 0.75rem;
      }

      .way > .stack {
        gap: 0.5rem;
      }

      input.link {
        font-family: var(--mono);
        font-size: 0.8rem;
        text-overflow: ellipsis;
      }

      .switch {
        display: flex;
        gap: 0.6rem;
        align-items: center;
        min-height: 2.5rem;
        font-weight: 450;
        cursor: pointer;
      }

      .switch input {
        flex: none;
        width: 2.5rem;
        height: 1.4rem;
        margin: 0;
        appearance: none;
        border: 1px solid var(--line-strong);
        border-radius: 0.7rem;
        background: var(--sunken);
        cursor: pointer;
      }

      .switch input::before {
        content: '';
        display: block;
        width: 1rem;
        height: 1rem;
        margin: calc(0.2rem - 1px);
        border-radius: 50%;
        background: var(--line-strong);
      }

      .switch input:checked {
        border-color: var(--accent);
        background: var(--accent);
      }

      .switch input:checked::before {
        margin-left: calc(1.3rem - 1px);
        background: var(--on-accent);
      }

      @media (forced-colors: active) {
        .switch input::before {
          background: ButtonText;
        }

        .switch input:checked::before {
          background: Highlight;
        }
      }

      @media (prefers-reduced-motion: no-preference) {
        .switch input::before {
          transition: margin-left 120ms;
        }
      }

      .here {
        overflow-wrap: anywhere;
      }

      .failed {
        color: var(--danger);
      }

      .row {
        margin-top: 0.6rem;
      }
    `,
  ];

  @property({ attribute: false }) room: RoomInfo | undefined;
  @property({ attribute: false }) addresses: Addresses | undefined;
  @property({ attribute: false }) failure: Failure | undefined;
  @property({ type: Boolean }) opening = false;

  protected override render(): TemplateResult {
    return html`${
      this.failure
        ? html`<p class="failed fine" role="alert">${this.failure.what}: ${this.failure.message}</p>`
        : nothing
    }
    ${this.room ? this.#open(this.room) : this.#closed()}`;
  }

  #closed(): TemplateResult {
    return html`<p class="fine muted">
        Other devices can help: they open a link, and the model is shared out among them and this one.
      </p>
      <div class="row">${this.#openButton('Invite devices')}</div>`;
  }

  #openButton(text: string): TemplateResult {
    return html`<button class="primary" ?disabled=${this.opening} @click=${() => this.#tell('open', undefined)}>
      ${this.opening ? 'Opening a room…' : text}
    </button>`;
  }

  #open(room: RoomInfo): TemplateResult {
    const { link, reach, here } = invitation(room.link, this.addresses ?? { http: [], https: [] });
    return html`<div class="way">
        <qr-code .text=${link} label="QR code of the link that invites devices"></qr-code>
        <div class="stack">
          <label class="visually-hidden" for="link">Link that invites devices</label>
          <input
            id="link"
            class="link"
            readonly
            .value=${link}
            @focus=${(event: Event) => (event.target as HTMLInputElement).select()}
          >
          <copy-button .text=${link} label="Copy link"></copy-button>
          ${this.#roomState(room)}
        </div>
      </div>
      <p class="fine muted">${REACH_WORDS[reach]}</p>
      ${
        here && here !== link
          ? html`<p class="fine here">In another tab of this machine: <a href=${here} target="_blank" rel="noopener">open the page that lends</a></p>`
          : nothing
      }
      <label class="switch">
        <input
          type="checkbox"
          role="switch"
          .checked=${room.ask}
          @change=${(event: Event) => this.#tell('ask', (event.target as HTMLInputElement).checked)}
        >
        Ask me before a device joins
      </label>`;
  }

  #roomState({ state }: RoomInfo): TemplateResult | typeof nothing {
    if (state === 'joined') return nothing;
    if (state !== 'closed') {
      return html`<p class="fine muted" role="status">Connecting to the server’s room… Devices can join once it stands.</p>`;
    }
    return html`<p class="fine failed" role="status">The room is closed; nobody can join by this link now.</p>
      ${this.#openButton('Open it again')}`;
  }

  #tell(event: 'open' | 'ask', detail: boolean | undefined): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'mesh-invite': MeshInvite;
  }
}
