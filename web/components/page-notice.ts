import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { closeIcon } from './icons.ts';
import { shared } from './styles/shared.ts';

/** A sentence that the person should read, until they close it. Dispatches `close`. */
@customElement('page-notice')
export class PageNotice extends LitElement {
  static override styles = [
    shared,
    css`
      div {
        display: flex;
        align-items: flex-start;
        gap: 0.5rem;
        padding: 0.5rem 0.5rem 0.5rem 0.9rem;
        border-radius: var(--radius-small);
        background: var(--warning-soft);
        font-size: 0.9rem;
      }

      p {
        flex: 1;
        min-width: 0;
        padding: 0.3rem 0;
        overflow-wrap: anywhere;
      }
    `,
  ];

  @property() text = '';

  protected override render(): TemplateResult {
    return html`<div role="alert">
      <p>${this.text}</p>
      <button
        class="quiet small icon"
        aria-label="Close this notice"
        @click=${() => this.dispatchEvent(new CustomEvent('close', { detail: this.text }))}
      >${closeIcon}</button>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'page-notice': PageNotice;
  }
}
