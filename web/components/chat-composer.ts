import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { ask } from './events.ts';
import { sendIcon, stopIcon } from './icons.ts';
import { shared } from './styles/shared.ts';

/** Where the person writes. Enter sends, Shift+Enter starts a line; while an answer is made the button stops it. */
@customElement('chat-composer')
export class ChatComposer extends LitElement {
  static override styles = [
    shared,
    css`
      form {
        display: flex;
        align-items: flex-end;
        gap: 0.4rem;
        padding: 0.4rem;
        border: 1px solid var(--line-strong);
        border-radius: 14px;
        background: var(--surface);
      }

      form:focus-within {
        border-color: var(--accent);
        box-shadow: 0 0 0 1px var(--accent);
      }

      textarea {
        flex: 1;
        max-height: 40vh;
        padding: 0.45rem 0.6rem;
        border: 0;
        background: none;
        resize: none;
      }

      textarea:focus-visible {
        outline: none;
      }

      button.icon {
        border-radius: 10px;
      }

      .help {
        margin-top: 0.35rem;
        text-align: center;
      }

      @media (max-width: 40rem), (pointer: coarse) {
        .help {
          display: none;
        }
      }
    `,
  ];

  /** An answer is being made in this chat. */
  @property({ type: Boolean }) busy = false;
  /** An answer is being made in another chat. */
  @property({ type: Boolean }) busyElsewhere = false;

  @state() private empty = true;
  @query('textarea') private field!: HTMLTextAreaElement;

  protected override render(): TemplateResult {
    const stopping = this.busy || this.busyElsewhere;
    return html`<form @submit=${this.#submit}>
        <label class="visually-hidden" for="text">Message</label>
        <textarea
          id="text"
          rows="1"
          placeholder=${this.busyElsewhere ? 'Another chat is being answered' : 'Write a message'}
          aria-describedby="help"
          enterkeyhint="send"
          @input=${this.#typed}
          @keydown=${this.#key}
        ></textarea>
        ${
          stopping
            ? html`<button
              type="button"
              class="icon"
              aria-label=${this.busy ? 'Stop' : 'Stop the answer in the other chat'}
              title="Stop (Esc)"
              @click=${() => ask(this, 'stop-answer', undefined)}
            >${stopIcon}</button>`
            : html`<button class="primary icon" aria-label="Send" title="Send (Enter)" ?disabled=${this.empty}>
              ${sendIcon}
            </button>`
        }
      </form>
      <p class="help fine muted" id="help">Enter sends, Shift+Enter starts a new line, Esc stops an answer.</p>`;
  }

  override focus(): void {
    void this.updateComplete.then(() => this.field.focus());
  }

  #fit(): void {
    this.field.style.height = 'auto';
    this.field.style.height = `${this.field.scrollHeight}px`;
  }

  readonly #typed = (): void => {
    this.empty = this.field.value.trim() === '';
    this.#fit();
  };

  readonly #key = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) this.#submit(event);
  };

  readonly #submit = (event: Event): void => {
    event.preventDefault();
    const text = this.field.value.trim();
    if (text === '' || this.busy || this.busyElsewhere) return;
    this.field.value = '';
    this.#typed();
    ask(this, 'send-message', text);
    // The button that was pressed is replaced by Stop; the focus must not fall to the page.
    this.field.focus();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-composer': ChatComposer;
  }
}
