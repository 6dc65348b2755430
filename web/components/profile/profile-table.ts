import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Operation, PhaseProfile } from '../../api.ts';
import { table } from '../mesh/table-style.ts';
import { shared } from '../styles/shared.ts';
import { formatShare, formatTime, layerTableOf, linesOf, longName, shortName } from './profile-lines.ts';

/** Headings over neighbouring columns. */
const GROUPS: readonly [string, readonly Operation[]][] = [
  ['Attention', ['attentionNorm', 'qkv', 'rope', 'scores', 'join', 'o', 'attention']],
  ['FFN', ['ffnNorm', 'gateUp', 'act', 'down', 'ffn']],
  ['Between members', ['merge', 'wait']],
];

/** One device's times of one phase: a line an operation with its part of the whole, and below a row a layer. */
@customElement('profile-table')
export class ProfileTable extends LitElement {
  static override styles = [
    shared,
    table,
    css`
      thead td {
        background: var(--sunken);
      }

      .lines .name {
        width: 1%;
        text-align: left;
      }

      .lines tbody tr:not(.whole) > .name {
        font-weight: 450;
      }

      .lines .bar {
        width: 50%;
        min-width: 4rem;
      }

      .lines .bar svg {
        display: block;
        width: 100%;
        height: 0.6rem;
        fill: var(--accent);
      }

      .whole > * {
        font-weight: 600;
      }

      tbody tr.whole:last-child > * {
        border-top-color: var(--line-strong);
      }

      .layers {
        margin-top: 0.75rem;
      }

      /* The number of the layer stays in view while the rest scrolls. */
      .layers tr > :first-child {
        position: sticky;
        left: 0;
        background: var(--surface);
      }

      .layers thead tr > :first-child {
        background: var(--sunken);
      }

      .layers .first {
        border-left: 1px solid var(--line);
      }

      .layers thead .group {
        text-align: left;
      }
    `,
  ];

  @property({ attribute: false }) phase!: PhaseProfile;
  @property() label = '';

  protected override render(): TemplateResult {
    return html`${this.#lines()} ${this.phase.layers.length > 0 ? this.#layers() : nothing}`;
  }

  #lines(): TemplateResult {
    const lines = linesOf(this.phase);
    const most = Math.max(...lines.map(({ share }) => share));
    return html`<div class="scroll lines">
      <table aria-label=${`${this.label}, by operation`}>
        <thead>
          <tr>
            <th scope="col" class="name">Operation</th>
            <th scope="col">ms a token</th>
            <th scope="col">Share</th>
            <td class="bar"></td>
          </tr>
        </thead>
        <tbody>
          ${lines.map(
            ({ name, ms, share }) => html`<tr>
              <th scope="row" class="name">${longName(name)}</th>
              <td>${formatTime(ms)}</td>
              <td>${formatShare(share)}</td>
              <td class="bar">
                <svg viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">
                  <rect width=${(100 * share) / most} height="1"></rect>
                </svg>
              </td>
            </tr>`,
          )}
          <tr class="whole">
            <th scope="row" class="name">in all</th>
            <td>${formatTime(this.phase.totalMs / this.phase.tokens)}</td>
            <td>${formatShare(1)}</td>
            <td></td>
          </tr>
        </tbody>
      </table>
    </div>`;
  }

  #layers(): TemplateResult {
    const { columns, layers, sums } = layerTableOf(this.phase);
    const groups = GROUPS.map(([name, members]) => ({ name, here: columns.filter((one) => members.includes(one)) }));
    const firsts = new Set(groups.flatMap(({ here }) => here.slice(0, 1)));
    const edge = (i: number) => (firsts.has(columns[i]) ? 'first' : '');
    const share = (ms: number) => formatShare(sums.all > 0 ? ms / sums.all : 0);
    return html`<div class="scroll layers" tabindex="0" role="region" aria-label=${`${this.label}, by layer`}>
      <table>
        <thead>
          <tr>
            <td></td>
            <td></td>
            ${groups.map(({ name, here }) =>
              here.length === 0
                ? nothing
                : html`<th scope="colgroup" colspan=${here.length} class="group first">${name}</th>`,
            )}
          </tr>
          <tr>
            <th scope="col">Layer</th>
            <th scope="col">All</th>
            ${columns.map((name, i) => html`<th scope="col" class=${edge(i)}>${shortName(name)}</th>`)}
          </tr>
        </thead>
        <tbody>
          <tr class="whole">
            <th scope="row">all</th>
            <td>${formatTime(sums.all)}</td>
            ${sums.ms.map((ms, i) => html`<td class=${edge(i)}>${formatTime(ms)}</td>`)}
          </tr>
          <tr class="whole">
            <th scope="row">share</th>
            <td>${share(sums.all)}</td>
            ${sums.ms.map((ms, i) => html`<td class=${edge(i)}>${share(ms)}</td>`)}
          </tr>
          ${layers.map(
            ({ layer, all, ms }) => html`<tr>
              <th scope="row">${layer}</th>
              <td>${formatTime(all)}</td>
              ${ms.map((one, i) => html`<td class=${edge(i)}>${one === undefined ? nothing : formatTime(one)}</td>`)}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'profile-table': ProfileTable;
  }
}
