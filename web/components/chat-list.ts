import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { ConversationHeading } from '../host/conversations.ts';
import { ask } from './events.ts';
import { binIcon, pencilIcon } from './icons.ts';
import { shared } from './styles/shared.ts';

/** The saved chats: open, rename, delete. */
@customElement('chat-list')
export class ChatList extends LitElement {
  static override styles = [
    shared,
    css`
      li {
        position: relative;
      }

      .chat {
        display: flex;
        align-items: center;
        border-radius: var(--radius-small);
      }

      .chat:hover,
      .chat:focus-within {
        background: var(--sunken);
      }

      .chat.shown {
        background: var(--accent-soft);
      }

      .open {
        flex: 1;
        display: block;
        min-width: 0;
        padding: 0.5rem 0.4rem 0.5rem 0.7rem;
        overflow: hidden;
        border: 0;
        background: none !important;
        font-weight: 450;
        text-align: left;
        text-overflow: ellipsis;
        white-space: nowrap;
      }

      .shown .open {
        font-weight: 600;
      }

      .tools {
        display: flex;
        opacity: 0;
      }

      .chat:hover .tools,
      .chat:focus-within .tools,
      .shown .tools {
        opacity: 1;
      }

      @media (hover: none) {
        .tools {
          opacity: 1;
        }
      }

      .writing::after {
        content: '';
        display: inline-block;
        width: 0.5rem;
        height: 0.5rem;
        margin-left: 0.5rem;
        border-radius: 50%;
        background: var(--accent);
      }

      .confirm {
        padding: 0.6rem 0.7rem;
        border: 1px solid var(--line);
        border-radius: var(--radius-small);
      }

      .confirm .row {
        margin-top: 0.5rem;
      }

      .confirm p {
        overflow-wrap: anywhere;
      }
    `,
  ];

  @property({ attribute: false }) chats: readonly ConversationHeading[] = [];
  @property() shown = '';
  @property() answering: string | undefined;

  @state() private renaming: string | undefined;
  @state() private deleting: string | undefined;
  @query('input') private nameField!: HTMLInputElement | null;
  @query('.keep') private keepButton!: HTMLButtonElement | null;

  protected override render(): TemplateResult {
    if (this.chats.length === 0) return html`<p class="fine muted">Chats that you start are kept here.</p>`;
    return html`<ul>
      ${repeat(
        this.chats,
        ({ id }) => id,
        (chat) => html`<li>${this.#row(chat)}</li>`,
      )}
    </ul>`;
  }

  protected override updated(changed: PropertyValues): void {
    if (changed.has('renaming' as keyof this)) this.nameField?.select();
    if (changed.has('deleting' as keyof this)) this.keepButton?.focus();
  }

  #row(chat: ConversationHeading): TemplateResult {
    if (chat.id === this.renaming) return this.#renameForm(chat);
    if (chat.id === this.deleting) return this.#confirmation(chat);
    const shown = chat.id === this.shown;
    const writing = chat.id === this.answering;
    return html`<div class="chat ${shown ? 'shown' : ''}">
      <button
        class="open ${writing ? 'writing' : ''}"
        aria-current=${shown ? 'true' : nothing}
        title=${chat.title}
        @click=${() => ask(this, 'select-chat', chat.id)}
      >${chat.title}${writing ? html`<span class="visually-hidden"> (being answered)</span>` : nothing}</button>
      <span class="tools">
        <button
          class="quiet small icon"
          aria-label=${`Rename ${chat.title}`}
          title="Rename"
          @click=${() => {
            this.renaming = chat.id;
          }}
        >${pencilIcon}</button>
        <button
          class="quiet small icon"
          aria-label=${`Delete ${chat.title}`}
          title="Delete"
          @click=${() => {
            this.deleting = chat.id;
          }}
        >${binIcon}</button>
      </span>
    </div>`;
  }

  #renameForm(chat: ConversationHeading): TemplateResult {
    const end = (): void => {
      this.renaming = undefined;
    };
    const save = (event: Event): void => {
      event.preventDefault();
      if (this.renaming === undefined) return;
      ask(this, 'rename-chat', { id: chat.id, title: this.nameField?.value ?? '' });
      end();
    };
    return html`<form
      @submit=${save}
      @keydown=${(event: KeyboardEvent) => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        end();
      }}
    >
      <input aria-label="Name of the chat" maxlength="200" .value=${chat.title} @blur=${save}>
    </form>`;
  }

  #confirmation(chat: ConversationHeading): TemplateResult {
    const end = (): void => {
      this.deleting = undefined;
    };
    return html`<div
      class="confirm"
      role="group"
      aria-label="Delete the chat"
      @keydown=${(event: KeyboardEvent) => {
        if (event.key !== 'Escape') return;
        event.stopPropagation();
        end();
      }}
    >
      <p class="fine">Delete “${chat.title}” for good?</p>
      <div class="row">
        <button class="small danger" @click=${() => {
          end();
          ask(this, 'delete-chat', chat.id);
        }}>Delete</button>
        <button class="small keep" @click=${end}>Keep</button>
      </div>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'chat-list': ChatList;
  }
}
