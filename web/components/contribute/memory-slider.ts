import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { formatBytes } from '../format.ts';
import { shared } from '../styles/shared.ts';
import { deviceMemory, memoryStops } from './memory-stops.ts';

/** How much memory may be lent. Dispatches `limit` with bytes when a place is chosen. */
@customElement('memory-slider')
export class MemorySlider extends LitElement {
  static override styles = [
    shared,
    css`
      .head {
        display: flex;
        flex-wrap: wrap;
        justify-content: space-between;
        gap: 0 1rem;
        font-variant-numeric: tabular-nums;
      }

      input {
        display: block;
        width: 100%;
        height: 2.75rem;
        margin: 0;
        accent-color: var(--accent);
        cursor: pointer;
      }
    `,
  ];

  /** Bytes; 0 leaves it to the browser. */
  @property({ type: Number }) limit = 0;
  /** Where the thumb is while it is dragged. */
  @state() private thumb: number | undefined;

  protected override render(): TemplateResult {
    const stops = memoryStops(deviceMemory(navigator), this.limit);
    const at = this.thumb ?? (this.limit > 0 ? stops.indexOf(this.limit) : stops.length);
    // One place more than stops while nothing is chosen: the browser's own limit.
    const last = this.limit > 0 ? stops.length - 1 : stops.length;
    const words = stops[at] === undefined ? 'as much as the browser allows' : `at most ${formatBytes(stops[at])}`;
    const place = (event: Event): number => Number((event.target as HTMLInputElement).value);
    return html`<div class="head">
        <label for="memory">Memory to lend</label>
        <span class="muted">${words}</span>
      </div>
      <input
        id="memory"
        type="range"
        min="0"
        max=${last}
        step="1"
        aria-valuetext=${words}
        .value=${String(at)}
        @input=${(event: Event) => {
          this.thumb = place(event);
        }}
        @change=${(event: Event) => {
          const chosen = stops[place(event)];
          this.thumb = undefined;
          if (chosen === this.limit) return;
          this.limit = chosen ?? 0;
          this.dispatchEvent(new CustomEvent('limit', { detail: this.limit }));
        }}
      >`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'memory-slider': MemorySlider;
  }
}
