import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Capability } from './capabilities.ts';
import { shared } from './styles/shared.ts';

const WORDS = { good: '', limited: 'limited', missing: 'missing' } as const;

/** What this browser can do for a model, and what it lacks and why. */
@customElement('capability-list')
export class CapabilityList extends LitElement {
  static override styles = [
    shared,
    css`
      dl {
        display: grid;
        grid-template-columns: max-content 1fr;
        gap: 0.45rem 0.9rem;
        font-size: 0.9rem;
      }

      dt {
        font-weight: 550;
      }

      .limited {
        color: var(--warning);
      }

      .missing {
        color: var(--danger);
      }
    `,
  ];

  @property({ attribute: false }) capabilities: readonly Capability[] = [];

  protected override render(): TemplateResult {
    return html`<dl>
      ${this.capabilities.map(
        ({ name, level, text }) =>
          html`<dt>${name}</dt>
          <dd>${level === 'good' ? '' : html`<strong class=${level}>${WORDS[level]}:</strong> `}${text}</dd>`,
      )}
    </dl>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'capability-list': CapabilityList;
  }
}
