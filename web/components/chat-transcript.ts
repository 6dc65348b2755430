import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { ChatMessage } from '../host/conversations.ts';
import './chat-message.ts';
import { downIcon } from './icons.ts';
import type { Activity } from './state/chat-session.ts';
import { shared } from './styles/shared.ts';

/** Nearer to the end than this, in CSS pixels, the view follows a text that grows. */
const FOLLOW_DISTANCE = 60;

/** The messages of a chat in a scrolling column that follows its end until the person scrolls up. */
@customElement('chat-transcript')
export class ChatTranscript extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        position: relative;
        min-height: 0;
      }

      .scroll {
        height: 100%;
        overflow-y: auto;
        overscroll-behavior: contain;
        scrollbar-gutter: stable;
      }

      /* Room for the bar at both sides, so that the column stands above the middle of the composer. */
      @media (min-width: 48rem) {
        .scroll {
          scrollbar-gutter: stable both-edges;
        }
      }

      .column {
        display: flex;
        flex-direction: column;
        gap: 1.25rem;
        max-width: var(--column);
        min-height: 100%;
        margin: 0 auto;
        padding: 1.25rem 1.25rem 2rem;
      }

      .empty {
        margin: auto;
        text-align: center;
      }

      .end {
        position: absolute;
        right: 0;
        bottom: 0.75rem;
        left: 0;
        width: fit-content;
        margin: 0 auto;
        border-radius: 999px;
        box-shadow: var(--shadow);
      }
    `,
  ];

  @property() chat = '';
  @property() heading = '';
  @property({ attribute: false }) messages: readonly ChatMessage[] = [];
  @property() activity: Activity = 'idle';
  @property({ type: Number }) rate: number | undefined;
  @property({ type: Boolean }) canAsk = false;

  @state() private following = true;
  @query('.scroll') private scroller!: HTMLElement;
  @query('.column') private column!: HTMLElement;

  readonly #grown = new ResizeObserver(() => {
    if (this.following) this.#toEnd();
  });

  protected override render(): TemplateResult {
    const end = this.messages.length - 1;
    return html`<div class="scroll" @scroll=${this.#scrolled} tabindex="-1">
        <section class="column" aria-label="Conversation">
          <h1 class="visually-hidden">${this.heading}</h1>
          ${
            this.messages.length === 0
              ? html`<div class="empty">
                <h2>Ask something</h2>
                <p class="muted">The answer is computed in this browser.</p>
              </div>`
              : nothing
          }
          ${repeat(
            this.messages,
            (_, index) => `${this.chat}/${index}`,
            (message, index) =>
              html`<chat-message
                .message=${message}
                .index=${index}
                ?last=${index === end}
                .activity=${index === end ? this.activity : 'idle'}
                .rate=${index === end ? this.rate : undefined}
                ?canAsk=${this.canAsk}
              ></chat-message>`,
          )}
        </section>
      </div>
      ${
        this.following
          ? nothing
          : html`<button class="end small" @click=${this.#follow}>${downIcon} To the newest message</button>`
      }`;
  }

  protected override firstUpdated(): void {
    this.#grown.observe(this.column);
    // The view shrinks where a notice or a taller composer takes room from it.
    this.#grown.observe(this.scroller);
  }

  protected override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has('chat')) this.following = true;
    // What the person just sent is what they want to see.
    const before = changed.get('messages');
    if (before && before.length < this.messages.length) this.following = true;
  }

  protected override updated(changed: PropertyValues<this>): void {
    if (changed.has('chat') || changed.has('messages')) {
      if (this.following) this.#toEnd();
    }
  }

  #toEnd(): void {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  readonly #follow = (): void => {
    this.following = true;
    this.#toEnd();
  };

  readonly #scrolled = (): void => {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.following = scrollHeight - scrollTop - clientHeight < FOLLOW_DISTANCE;
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-transcript': ChatTranscript;
  }
}
