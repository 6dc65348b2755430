import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import type { ChatMessage } from '../host/conversations.ts';
import { splitThinking } from './answer-text.ts';
import { copyText } from './clipboard.ts';
import { ask } from './events.ts';
import { formatRate, plural, rate } from './format.ts';
import { againIcon, copyIcon, forwardIcon, pencilIcon } from './icons.ts';
import { MarkdownText } from './markdown.ts';
import { prose } from './styles/prose.ts';
import { shared } from './styles/shared.ts';

const COPIED_MS = 1500;

/** One message of a chat with what can be done to it. */
@customElement('chat-message')
export class ChatMessageElement extends LitElement {
  static override styles = [
    shared,
    prose,
    css`
      :host {
        position: relative;
      }

      .said {
        width: fit-content;
        max-width: min(100%, 36rem);
        margin-left: auto;
        padding: 0.6rem 0.9rem;
        border-radius: 14px 14px 4px 14px;
        background: var(--accent-soft);
        overflow-wrap: anywhere;
        white-space: pre-wrap;
      }

      .actions {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.15rem;
        min-height: 2rem;
        margin-top: 0.25rem;
      }

      .user .actions {
        justify-content: flex-end;
      }

      .speed {
        margin-left: auto;
        padding-left: 0.5rem;
        text-align: right;
        font-variant-numeric: tabular-nums;
      }

      .state {
        margin-top: 0.6rem;
        color: var(--warning);
      }

      .failed {
        margin-top: 0.6rem;
        padding: 0.65rem 0.85rem;
        border: 1px solid var(--danger);
        border-radius: var(--radius-small);
        background: var(--danger-soft);
        overflow-wrap: anywhere;
      }

      .pulse {
        display: inline-flex;
        align-items: center;
        gap: 0.6rem;
        color: var(--muted);
      }

      .pulse::before {
        content: '';
        width: 0.6rem;
        height: 0.6rem;
        border-radius: 50%;
        background: var(--accent);
        animation: pulse 1.2s ease-in-out infinite;
      }

      @keyframes pulse {
        50% {
          opacity: 0.25;
        }
      }

      @media (prefers-reduced-motion: reduce) {
        .pulse::before {
          animation: none;
        }
      }

      .thinking {
        margin-bottom: 0.75rem;
        padding-left: 0.9rem;
        border-left: 3px solid var(--line);
        color: var(--muted);
      }

      .thinking summary {
        font-size: 0.9rem;
      }

      .editor textarea {
        min-height: 6rem;
      }

      .editor .row {
        justify-content: flex-end;
        margin-top: 0.5rem;
      }
    `,
  ];

  @property({ attribute: false }) message!: ChatMessage;
  @property({ type: Number }) index = 0;
  /** It is the newest message of the chat. */
  @property({ type: Boolean }) last = false;
  /** `reading` or `writing` while this answer is being made. */
  @property() activity: 'idle' | 'reading' | 'writing' = 'idle';
  /** Tokens a second so far, while it is being made. */
  @property({ type: Number }) rate: number | undefined;
  /** A model is there and nothing is being answered. */
  @property({ type: Boolean }) canAsk = false;

  @state() private editing = false;
  @state() private copied = false;
  @query('textarea') private editor!: HTMLTextAreaElement | null;
  @query('.edit') private editButton!: HTMLButtonElement | null;

  readonly #thoughts = new MarkdownText();
  readonly #words = new MarkdownText();

  protected override render(): TemplateResult {
    return this.message.role === 'user' ? this.#question() : this.#answer();
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('editing' as keyof this) && this.editing) {
      this.editor?.focus();
      this.editor?.setSelectionRange(this.editor.value.length, this.editor.value.length);
    }
  }

  #question(): TemplateResult {
    if (this.editing) return this.#editForm();
    return html`<article class="user" aria-label="You">
      <div class="said">${this.message.text}</div>
      <div class="actions">
        ${this.#copyButton('Copy your message')}
        <button class="quiet small edit" ?disabled=${!this.canAsk} @click=${this.#startEdit}>${pencilIcon} Edit</button>
      </div>
    </article>`;
  }

  #editForm(): TemplateResult {
    return html`<form class="editor" @submit=${this.#submitEdit} @keydown=${this.#editKey}>
      <label class="visually-hidden" for="edit">Edit your message</label>
      <textarea id="edit" .value=${this.message.text} aria-describedby="edit-help"></textarea>
      <p class="fine muted" id="edit-help">Sending it again replaces everything after this message.</p>
      <div class="row">
        <button type="button" @click=${this.#endEdit}>Cancel</button>
        <button class="primary" ?disabled=${!this.canAsk}>Send again</button>
      </div>
    </form>`;
  }

  #answer(): TemplateResult {
    const { model, state: stands, error } = this.message;
    const live = this.activity !== 'idle';
    return html`<article class="assistant" aria-label=${model ? `Answer of ${model}` : 'Answer'} aria-busy=${live}>
      ${this.#text(live)}
      ${this.activity === 'reading' ? html`<p class="pulse">Reading the prompt…</p>` : nothing}
      ${stands === 'failed' ? html`<p class="failed"><strong>The answer broke off.</strong> ${error}</p>` : nothing}
      ${live ? nothing : this.#stateLine()} ${live ? this.#liveLine() : this.#footer()}
    </article>`;
  }

  #text(live: boolean): TemplateResult {
    const { thinking, answer, open } = splitThinking(this.message.text);
    return html`${
      thinking === ''
        ? nothing
        : html`<details class="thinking" ?open=${live && open}>
          <summary>${open && live ? 'Thinking…' : 'Thoughts'}</summary>
          <div class="prose">${this.#blocks(this.#thoughts.blocks(thinking, live))}</div>
        </details>`
    }
      <div class="prose" @click=${this.#copyCode}>
        ${this.#blocks(this.#words.blocks(answer, live))}
      </div>`;
  }

  #blocks(blocks: string[]): TemplateResult[] {
    return blocks.map((block) => html`<div class="block">${unsafeHTML(block)}</div>`);
  }

  #stateLine(): TemplateResult | typeof nothing {
    const words = {
      done: '',
      failed: '',
      stopped: this.message.text === '' ? 'Stopped before the first word.' : 'Stopped.',
      streaming: 'The page was closed while this was being written.',
      length: 'The limit of tokens for one answer was reached.',
      full: 'The context is full. Start a new chat, or load the model with a larger context.',
    }[this.message.state];
    return words === '' ? nothing : html`<p class="state fine">${words}</p>`;
  }

  #liveLine(): TemplateResult {
    return html`<div class="actions">
      <span class="fine muted speed">${this.rate === undefined ? '' : formatRate(this.rate)}</span>
    </div>`;
  }

  #footer(): TemplateResult {
    const { text, state: stands } = this.message;
    const unfinished = stands !== 'done' && stands !== 'full' && text !== '';
    return html`<div class="actions">
      ${text === '' ? nothing : this.#copyButton('Copy this answer')}
      ${
        this.last
          ? html`<button
            class="quiet small"
            ?disabled=${!this.canAsk}
            @click=${() => ask(this, 'regenerate', undefined)}
          >${againIcon} ${text === '' ? 'Try again' : 'Regenerate'}</button>`
          : nothing
      }
      ${
        this.last && unfinished
          ? html`<button
            class="quiet small"
            ?disabled=${!this.canAsk}
            @click=${() => ask(this, 'resume-answer', undefined)}
          >${forwardIcon} Continue</button>`
          : nothing
      }
      ${this.#speed()}
    </div>`;
  }

  #speed(): TemplateResult | typeof nothing {
    const { speed } = this.message;
    if (!speed) return nothing;
    const prefill = rate(speed.promptTokens - speed.cachedTokens, speed.prefillMs);
    const decode = rate(speed.decodeTokens, speed.decodeMs);
    const parts = [
      prefill === undefined ? undefined : `prompt ${formatRate(prefill)}`,
      decode === undefined ? undefined : `answer ${formatRate(decode)}`,
    ].filter((part) => part !== undefined);
    const detail =
      `${plural(speed.promptTokens, 'prompt token')}, ${speed.cachedTokens.toLocaleString('en')} of them remembered; ` +
      `${plural(speed.decodeTokens + 1, 'answer token')}`;
    return html`<span class="fine muted speed" title=${detail}>${parts.join(' · ')}</span>`;
  }

  #copyButton(label: string): TemplateResult {
    return html`<button class="quiet small" aria-label=${this.copied ? 'Copied' : label} @click=${this.#copy}>
      ${copyIcon} ${this.copied ? 'Copied' : 'Copy'}
    </button>`;
  }

  readonly #copy = async (): Promise<void> => {
    const copied = await copyText(this.message.text);
    ask(this, 'announce', copied ? 'Copied.' : 'The browser did not allow copying.');
    this.copied = copied;
    setTimeout(() => {
      this.copied = false;
    }, COPIED_MS);
  };

  /** The buttons in code blocks are part of the sanitised HTML, so their clicks are caught here. */
  readonly #copyCode = async (event: Event): Promise<void> => {
    const button = event.target instanceof Element ? event.target.closest('button.code-copy') : null;
    const code = button?.closest('.code')?.querySelector('code')?.textContent;
    if (!button || code === undefined || code === null) return;
    const copied = await copyText(code.replace(/\n$/, ''));
    ask(this, 'announce', copied ? 'Code copied.' : 'The browser did not allow copying.');
    button.textContent = copied ? 'Copied' : 'Not allowed';
    setTimeout(() => {
      button.textContent = 'Copy';
    }, COPIED_MS);
  };

  readonly #startEdit = (): void => {
    this.editing = true;
  };

  readonly #endEdit = async (): Promise<void> => {
    this.editing = false;
    await this.updateComplete;
    this.editButton?.focus();
  };

  readonly #editKey = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') {
      event.stopPropagation();
      void this.#endEdit();
    } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.target === this.editor) {
      this.#submitEdit(event);
    }
  };

  readonly #submitEdit = (event: Event): void => {
    event.preventDefault();
    const text = this.editor?.value ?? '';
    if (!this.canAsk || text.trim() === '') return;
    this.editing = false;
    ask(this, 'edit-message', { index: this.index, text });
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-message': ChatMessageElement;
  }
}
