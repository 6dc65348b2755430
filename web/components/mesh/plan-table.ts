import { html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { formatBytes } from '../format.ts';
import { shared } from '../styles/shared.ts';
import type { DeviceBytes } from './plan-picture.ts';
import type { MemberView, StageView } from './plan-view.ts';
import { table } from './table-style.ts';

/** The plan picture in numbers, for whoever cannot see it or wants to be exact. */
@customElement('plan-table')
export class PlanTable extends LitElement {
  static override styles = [shared, table];

  @property({ attribute: false }) stages: readonly StageView[] = [];
  @property({ attribute: false }) names: ReadonlyMap<number, string> = new Map();
  @property({ attribute: false }) bytes: ReadonlyMap<number, DeviceBytes> = new Map();
  @property() label = 'Plan';

  protected override render(): TemplateResult {
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${`${this.label} as a table`}>
      <table>
        <thead>
          <tr>
            ${[
              'Stage',
              'Layers',
              'Node',
              'Device',
              'Query heads',
              'KV heads',
              'FFN columns',
              'Vocabulary',
              'Weights',
              'KV cache',
            ].map((name) => html`<th scope="col">${name}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${this.stages.map((stage) => stage.members.map((member) => this.#row(stage, member)))}
        </tbody>
      </table>
    </div>`;
  }

  #row({ stage, layers }: StageView, { node, device, bars, kvHeads }: MemberView): TemplateResult {
    const held = this.bytes.get(device);
    return html`<tr>
      <td>${stage}</td>
      <td>${layers[0]}–${layers[1] - 1}</td>
      <td>${node}</td>
      <th scope="row">${this.names.get(device) ?? `Device ${device}`}</th>
      <td>${bars.heads.amount}</td>
      <td>${kvHeads ?? nothing}</td>
      <td>${bars.ffn.amount.toLocaleString('en')}</td>
      <td>${bars.vocab.amount.toLocaleString('en')}</td>
      <td>${held ? formatBytes(held.weightBytes) : nothing}</td>
      <td>${held ? formatBytes(held.kvBytes) : nothing}</td>
    </tr>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'plan-table': PlanTable;
  }
}
