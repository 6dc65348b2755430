import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, query, state } from 'lit/decorators.js';
import type { ContributeHandle, ContributeStatus } from '../../api.ts';
import { FrameUpdates } from '../frame-updates.ts';
import { shared } from '../styles/shared.ts';
import { ContributeSession } from './contribute-session.ts';
import { contributeStyle } from './contribute-style.ts';
import './lending-card.ts';
import { ended, waiting } from './lending-words.ts';
import './memory-slider.ts';
import './plain-notice.ts';

/** As long as the room's server takes. */
const NAME_LENGTH = 60;

/** The contribute page: lends this device to the room of the page's link, and says what comes of it. */
@customElement('contribute-app')
export class ContributeApp extends LitElement {
  static override styles = [
    shared,
    contributeStyle,
    css`
      main {
        max-width: 32rem;
        margin: 0 auto;
        padding: 1.25rem 0.9rem 2.5rem;
      }

      header {
        display: flex;
        gap: 0.6rem;
        align-items: center;
        margin-bottom: 1.1rem;
      }

      header img {
        display: block;
      }

      h1 {
        font-size: 1.1rem;
      }

      footer {
        margin-top: 1.25rem;
        text-align: center;
      }

      footer a {
        display: inline-block;
        padding: 0.5rem;
      }

      .lead {
        margin-bottom: 1rem;
      }

      section + section {
        margin-top: 0.75rem;
      }

      h2 + p,
      p + p {
        margin-top: 0.4rem;
      }

      .field {
        margin-top: 1rem;
      }

      .field label {
        display: block;
        margin-bottom: 0.25rem;
      }

      .field input {
        min-height: 3rem;
        /* Below 16 pixels, phones zoom into a field. */
        font-size: 1rem;
      }

      .spin {
        width: 1.4rem;
        height: 1.4rem;
        margin-bottom: 0.6rem;
        border: 3px solid var(--line);
        border-top-color: var(--accent);
        border-radius: 50%;
      }

      @media (prefers-reduced-motion: no-preference) {
        .spin {
          animation: turn 1s linear infinite;
        }

        @keyframes turn {
          to {
            transform: rotate(1turn);
          }
        }
      }
    `,
  ];

  readonly #session: ContributeSession;
  /** Bytes that the person chose before joining. */
  @state() private memoryLimit: number | undefined;
  @query('#name') private nameField!: HTMLInputElement | null;

  constructor(handle: ContributeHandle) {
    super();
    this.#session = new ContributeSession(handle, isSecureContext);
    new FrameUpdates(this, [this.#session]);
  }

  start(): Promise<void> {
    return this.#session.start();
  }

  protected override render(): TemplateResult {
    const { status } = this.#session;
    return html`<main>
      <header>
        <img src="/icon.svg" alt="" width="32" height="32">
        <h1>EdgeVisor</h1>
      </header>
      ${status ? this.#view(status) : nothing}
      ${
        status?.state === 'no-room'
          ? nothing
          : html`<footer class="fine"><a href="./host.html">Chat on this device instead</a></footer>`
      }
    </main>`;
  }

  #view(status: ContributeStatus): TemplateResult | typeof nothing {
    const { state } = status;
    const { plain, busy, wasJoined } = this.#session;
    if (state === 'no-room') return this.#noRoom();
    if (state === 'joined' || state === 'paused') return this.#lending(status);
    const end = ended(state);
    if (end) return this.#ended(end, status);
    const wait = waiting(state === 'ready' && busy ? 'connecting' : state, wasJoined);
    if (wait) return this.#waiting(wait, state);
    return plain ? this.#plain() : this.#offer(status);
  }

  #noRoom(): TemplateResult {
    return html`<p class="lead">
        A language model that runs in web browsers: no cloud, no account, nothing to install. Several devices of a
        household can compute it together.
      </p>
      <section>
        <h2>Chat</h2>
        <p>Choose a model and talk to it. Other devices can be invited there.</p>
        <div class="actions"><a class="button primary" href="./host.html">Open the chat</a></div>
      </section>
      <section>
        <h2>Lend this device</h2>
        <p>
          There is no room in this page’s address, so it does not know whom to help. Open the link, or scan the QR code,
          that the chat page of the other device shows under Devices.
        </p>
      </section>`;
  }

  #plain(): TemplateResult {
    return html`<plain-notice .link=${this.#session.secureLink} @accept=${() => this.#session.acceptPlain()}></plain-notice>`;
  }

  #offer({ state, name, problem }: ContributeStatus): TemplateResult {
    const left = state === 'left';
    const wrong = this.#session.problem ?? problem;
    return html`<section aria-labelledby="title">
      <h2 id="title">${left ? 'This device has left' : 'Lend this device'}</h2>
      <p class="muted">
        ${
          left
            ? 'It computes nothing any more. The weights that it loaded stay in this browser for the next time.'
            : 'It helps another device to run a language model, as long as this page is open. The chat stays on the other device.'
        }
      </p>
      ${wrong === undefined ? nothing : html`<p class="problem" role="alert">${wrong}</p>`}
      <form @submit=${this.#join}>
        <div class="field">
          <label for="name">Name of this device</label>
          <input id="name" maxlength=${NAME_LENGTH} autocomplete="off" enterkeyhint="go" .value=${name}>
        </div>
        <div class="field">
          <memory-slider
            .limit=${this.memoryLimit ?? 0}
            @limit=${({ detail }: CustomEvent<number>) => {
              this.memoryLimit = detail > 0 ? detail : undefined;
            }}
          ></memory-slider>
        </div>
        <div class="actions">
          <button class="primary" ?disabled=${this.#session.busy}>${left ? 'Lend it again' : 'Lend this device'}</button>
        </div>
      </form>
    </section>`;
  }

  #waiting({ title, text }: { title: string; text: string }, state: string): TemplateResult {
    const problem = this.#session.status?.problem;
    return html`<section role="status">
      <div class="spin" aria-hidden="true"></div>
      <h2>${title}</h2>
      <p class="muted">${text}</p>
      ${problem === undefined ? nothing : html`<p class="problem">${problem}</p>`}
      ${
        state === 'ready'
          ? nothing
          : html`<div class="actions"><button ?disabled=${this.#session.busy} @click=${() => void this.#session.leave()}>Leave</button></div>`
      }
    </section>`;
  }

  #ended(end: { title: string; text: string; again: string }, { problem }: ContributeStatus): TemplateResult {
    return html`<section role="alert">
      <h2>${end.title}</h2>
      ${end.text === '' ? nothing : html`<p>${end.text}</p>`}
      ${problem === undefined ? nothing : html`<p class="problem">${problem}</p>`}
      <div class="actions"><button class="primary" @click=${() => location.reload()}>${end.again}</button></div>
    </section>`;
  }

  #lending(status: ContributeStatus): TemplateResult {
    const session = this.#session;
    return html`<lending-card
        .status=${status}
        ?busy=${session.busy}
        @pause=${() => void session.pause()}
        @resume=${() => void session.resume()}
        @leave=${() => void session.leave()}
        @limit=${({ detail }: CustomEvent<number>) => void session.setMemoryLimit(detail)}
      ></lending-card>
      ${session.problem === undefined ? nothing : html`<p class="problem" role="alert">${session.problem}</p>`}`;
  }

  readonly #join = (event: Event): void => {
    event.preventDefault();
    const name = this.nameField?.value.trim() ?? '';
    void this.#session.join({ name: name || (this.#session.status?.name ?? ''), memoryLimit: this.memoryLimit });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'contribute-app': ContributeApp;
  }
}
