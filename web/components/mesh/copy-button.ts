import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { copyText } from '../clipboard.ts';
import { ask } from '../events.ts';
import { copyIcon } from '../icons.ts';
import { shared } from '../styles/shared.ts';

/** How long the button says that it has done it. */
const SAID_MS = 2000;

/** Copies a text, and says whether that worked. */
@customElement('copy-button')
export class CopyButton extends LitElement {
  static override styles = [
    shared,
    css`
      button {
        white-space: nowrap;
      }
    `,
  ];

  @property() text = '';
  /** What the button says. */
  @property() label = 'Copy';
  @state() private said: 'Copied' | 'Not allowed' | undefined;

  protected override render(): TemplateResult {
    return html`<button @click=${this.#copy}>${copyIcon} ${this.said ?? this.label}</button>`;
  }

  readonly #copy = async (): Promise<void> => {
    this.said = (await copyText(this.text)) ? 'Copied' : 'Not allowed';
    ask(this, 'announce', `${this.said}.`);
    setTimeout(() => {
      this.said = undefined;
    }, SAID_MS);
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'copy-button': CopyButton;
  }
}
