import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Knock } from '../../api.ts';
import { shared } from '../styles/shared.ts';

/** Devices at the door. Dispatches `admit` and `refuse` with a device's id. */
@customElement('mesh-knocks')
export class MeshKnocks extends LitElement {
  static override styles = [
    shared,
    css`
      li {
        display: flex;
        flex-wrap: wrap;
        gap: 0.4rem 0.75rem;
        align-items: center;
        justify-content: space-between;
        padding: 0.5rem 0.6rem 0.5rem 0.9rem;
        border: 1px solid var(--accent);
        border-radius: var(--radius-small);
        background: var(--accent-soft);
      }

      ul {
        margin: var(--knocks-margin, 0 0 0.75rem);
      }

      li + li {
        margin-top: 0.5rem;
      }

      p {
        min-width: 0;
        overflow-wrap: anywhere;
        font-size: 0.9rem;
      }
    `,
  ];

  @property({ attribute: false }) knocks: readonly Knock[] = [];

  protected override render(): TemplateResult {
    return html`<div role="alert">
      ${
        this.knocks.length === 0
          ? nothing
          : html`<ul aria-label="Devices that ask to join">
            ${repeat(
              this.knocks,
              ({ id }) => id,
              (knock) => this.#knock(knock),
            )}
          </ul>`
      }
    </div>`;
  }

  #knock({ id, name, browser }: Knock): TemplateResult {
    return html`<li>
      <p><strong>${name}</strong> (${browser}) asks to join.</p>
      <div class="row">
        <button class="small primary" aria-label=${`Admit ${name}`} @click=${() => this.#tell('admit', id)}>Admit</button>
        <button class="small" aria-label=${`Refuse ${name}`} @click=${() => this.#tell('refuse', id)}>Refuse</button>
      </div>
    </li>`;
  }

  #tell(event: 'admit' | 'refuse', detail: string): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'mesh-knocks': MeshKnocks;
  }
}
