import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { shared } from './styles/shared.ts';

/** A tab of the panel; its content is the slot of the same name. */
export interface PanelTab {
  name: string;
  label: string;
}

/** Tabs over slots, by the tab pattern of the ARIA practices guide: arrow keys move, Tab enters the content. */
@customElement('side-panel')
export class SidePanel extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 0;
      }

      [role='tablist'] {
        display: flex;
        gap: 0.25rem;
        padding: 0 0.5rem;
        border-bottom: 1px solid var(--line);
      }

      [role='tab'] {
        padding-inline: 0.55rem;
        font-size: 0.95rem;
        white-space: nowrap;
        border: 0;
        border-bottom: 2px solid transparent;
        border-radius: 0;
        background: none !important;
        color: var(--muted);
      }

      [role='tab'][aria-selected='true'] {
        border-bottom-color: var(--accent);
        color: var(--text);
      }

      [role='tab']:focus-visible {
        outline-offset: -2px;
      }

      [role='tabpanel'] {
        flex: 1;
        min-height: 0;
        padding: 1.1rem 1rem 2rem;
        overflow-y: auto;
      }
    `,
  ];

  @property({ attribute: false }) tabs: readonly PanelTab[] = [];
  @property() shown = '';

  protected override render(): TemplateResult {
    return html`<div role="tablist" @keydown=${this.#key}>
        ${this.tabs.map(
          ({ name, label }) =>
            html`<button
              role="tab"
              id=${`tab-${name}`}
              aria-selected=${name === this.shown ? 'true' : 'false'}
              aria-controls=${`panel-${name}`}
              tabindex=${name === this.shown ? nothing : '-1'}
              @click=${() => this.#show(name)}
            >${label}</button>`,
        )}
      </div>
      ${this.tabs.map(
        ({ name }) =>
          html`<div
            role="tabpanel"
            id=${`panel-${name}`}
            aria-labelledby=${`tab-${name}`}
            ?hidden=${name !== this.shown}
          ><slot name=${name}></slot></div>`,
      )}`;
  }

  #show(name: string): void {
    this.shown = name;
    this.dispatchEvent(new CustomEvent('show', { detail: name }));
  }

  readonly #key = async (event: KeyboardEvent): Promise<void> => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = this.tabs.findIndex(({ name }) => name === this.shown);
    const next = this.tabs[(at + step + this.tabs.length) % this.tabs.length];
    if (!next) return;
    this.#show(next.name);
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>(`#tab-${next.name}`)?.focus();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    'side-panel': SidePanel;
  }
}
