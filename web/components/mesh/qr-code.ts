import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import QRCode from 'qrcode';
import { shared } from '../styles/shared.ts';

/** Empty modules around a code, by the standard. */
const QUIET = 4;

/** A text as a QR code: dark on white whatever the page's colours are, since scanners expect that. */
@customElement('qr-code')
export class QrCode extends LitElement {
  static override styles = [
    shared,
    css`
      svg {
        display: block;
        width: 100%;
        height: auto;
        border-radius: var(--radius-small);
        background: #fff;
      }

      path {
        fill: #000;
        shape-rendering: crispEdges;
      }
    `,
  ];

  @property() text = '';
  /** What it is, for screen readers. */
  @property() label = 'QR code';

  protected override render(): TemplateResult {
    const { size, path } = modules(this.text);
    const whole = size + 2 * QUIET;
    return html`<svg viewBox=${`${-QUIET} ${-QUIET} ${whole} ${whole}`} role="img" aria-label=${this.label}>
      <path d=${path}></path>
    </svg>`;
  }
}

/** The dark modules as one path: a run of neighbours is one rectangle. */
function modules(text: string): { size: number; path: string } {
  const { size, data } = QRCode.create(text, { errorCorrectionLevel: 'M' }).modules;
  let path = '';
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      if (!data[y * size + x]) continue;
      const from = x;
      while (x + 1 < size && data[y * size + x + 1]) x += 1;
      path += `M${from} ${y}h${x + 1 - from}v1H${from}z`;
    }
  }
  return { size, path };
}

declare global {
  interface HTMLElementTagNameMap {
    'qr-code': QrCode;
  }
}
