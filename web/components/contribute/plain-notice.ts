import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { shared } from '../styles/shared.ts';
import { contributeStyle } from './contribute-style.ts';

/** Why a page that was opened by plain http can do little, and the way to https. Dispatches `accept`. */
@customElement('plain-notice')
export class PlainNotice extends LitElement {
  static override styles = [
    shared,
    contributeStyle,
    css`
      ol {
        margin: 0.6rem 0 0;
        padding-left: 1.3rem;
        list-style: decimal;
      }

      p + p,
      h2 + p {
        margin-top: 0.5rem;
      }
    `,
  ];

  /** The same page by https; undefined where the server has none. */
  @property() link: string | undefined;

  protected override render(): TemplateResult {
    return html`<section aria-labelledby="title">
      <h2 id="title">This address is not encrypted</h2>
      <p>
        The page was opened by plain http, and browsers then give it neither the graphics processor (WebGPU) nor more
        than one thread, nor a screen that stays awake. This device would be several times slower than it can be.
      </p>
      ${
        this.link === undefined
          ? html`<p>This server offers no https address, so there is no better link.</p>`
          : html`<ol>
              <li>Open the encrypted address below.</li>
              <li>The browser warns, since the server made its certificate itself: choose “Advanced” and go on.</li>
            </ol>
            <div class="actions"><a class="button primary" href=${this.link}>Open the encrypted address</a></div>`
      }
      <div class="actions">
        <button @click=${() => this.dispatchEvent(new CustomEvent('accept'))}>Go on with one thread</button>
      </div>
    </section>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'plain-notice': PlainNotice;
  }
}
