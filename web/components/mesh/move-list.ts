import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { MoveReport } from '../../api.ts';
import { formatBytes } from '../format.ts';
import { shared } from '../styles/shared.ts';
import { formatMs, isUnderWay, MOVE_STATES } from './move-words.ts';
import { table } from './table-style.ts';

/** A move with what is said of it. */
export interface ShownMove {
  report: MoveReport;
  words: string;
  cancellable: boolean;
}

const PHASES = [
  { state: 'queued', label: 'Waiting' },
  { state: 'preparing', label: 'Preparing' },
  { state: 'copying', label: 'Copying' },
  { state: 'committed', label: 'Done' },
] as const;

/** Moves under way with their phases, and those that ended with what they took. Dispatches `cancel` with a number. */
@customElement('move-list')
export class MoveList extends LitElement {
  static override styles = [
    shared,
    table,
    css`
      .running {
        padding: 0.6rem 0.8rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        background: var(--surface);
      }

      .running + .running,
      .scroll {
        margin-top: 0.5rem;
      }

      .head {
        display: flex;
        gap: 0.5rem;
        align-items: center;
        justify-content: space-between;
        font-size: 0.9rem;
      }

      .head p {
        min-width: 0;
        overflow-wrap: anywhere;
        line-height: 1.35;
      }

      ol {
        display: grid;
        grid-template-columns: repeat(4, 1fr);
        gap: 0.35rem;
        margin-top: 0.5rem;
        font-size: 0.8rem;
      }

      ol li {
        padding-top: 0.3rem;
        border-top: 4px solid var(--line);
        color: var(--muted);
        line-height: 1.3;
        font-variant-numeric: tabular-nums;
      }

      ol .past {
        border-color: var(--accent);
      }

      ol .now {
        border-color: var(--accent);
        color: var(--text);
        font-weight: 600;
      }

      @media (prefers-reduced-motion: no-preference) {
        ol .now {
          animation: breathe 1.2s ease-in-out infinite alternate;
        }

        @keyframes breathe {
          to {
            border-color: var(--accent-soft);
          }
        }
      }

      .bad {
        color: var(--danger);
      }
    `,
  ];

  /** Ascending by number. */
  @property({ attribute: false }) moves: readonly ShownMove[] = [];

  protected override render(): TemplateResult {
    const running = this.moves.filter(({ report }) => isUnderWay(report));
    const ended = this.moves.filter(({ report }) => !isUnderWay(report)).reverse();
    return html`<div aria-label="Moves under way" role="group" ?hidden=${running.length === 0}>
        ${repeat(
          running,
          ({ report }) => report.id,
          (move) => this.#running(move),
        )}
      </div>
      ${ended.length > 0 ? this.#history(ended) : nothing}`;
  }

  #running({ report, words, cancellable }: ShownMove): TemplateResult {
    const now = PHASES.findIndex(({ state }) => state === report.state);
    return html`<div class="running">
      <div class="head">
        <p><span class="muted">#${report.id}</span> ${words}</p>
        ${
          cancellable
            ? html`<button
              class="small"
              aria-label=${`Cancel move ${report.id}`}
              @click=${() => this.dispatchEvent(new CustomEvent('cancel', { detail: report.id }))}
            >Cancel</button>`
            : nothing
        }
      </div>
      <ol aria-label="Phases">
        ${PHASES.map(
          ({ label }, phase) =>
            html`<li class=${phase === now ? 'now' : phase < now ? 'past' : ''} aria-current=${phase === now ? 'step' : nothing}>
              ${label} ${phaseFigures(report, phase, now)}
            </li>`,
        )}
      </ol>
    </div>`;
  }

  #history(ended: ShownMove[]): TemplateResult {
    return html`<div class="scroll" tabindex="0" role="region" aria-label="History of moves">
      <table>
        <thead>
          <tr>
            <th scope="col">#</th>
            <th scope="col" class="words">What</th>
            <th scope="col">State</th>
            <th scope="col">Epoch</th>
            <th scope="col">Weights</th>
            <th scope="col">KV</th>
            <th scope="col">Prepare</th>
            <th scope="col">Copy</th>
            <th scope="col">Commit</th>
            <th scope="col">Longest gap</th>
          </tr>
        </thead>
        <tbody>
          ${repeat(
            ended,
            ({ report }) => report.id,
            (move) => this.#row(move),
          )}
        </tbody>
      </table>
    </div>`;
  }

  #row({ report, words }: ShownMove): TemplateResult {
    const { id, state, error, epoch, weightBytes, kvBytes, prepareMs, copyMs, commitMs, longestGapMs } = report;
    const done = state === 'committed';
    return html`<tr>
      <td>${id}</td>
      <th scope="row" class="words">${words}${error === undefined || state === 'cancelled' ? nothing : html`<div class="bad">${error}</div>`}</th>
      <td class=${state === 'refused' || state === 'failed' ? 'bad' : ''}>${MOVE_STATES[state]}</td>
      <td>${done ? epoch : '–'}</td>
      <td>${formatBytes(weightBytes)}</td>
      <td>${formatBytes(kvBytes)}</td>
      <td>${formatMs(prepareMs)}</td>
      <td>${formatMs(copyMs)}</td>
      <td>${done ? formatMs(commitMs) : '–'}</td>
      <td>${done ? formatMs(longestGapMs) : '–'}</td>
    </tr>`;
  }
}

/** What is known of a phase: how much it carries, and how long it took once it is over. */
function phaseFigures(report: MoveReport, phase: number, now: number): string {
  const name = PHASES[phase]?.state;
  const [bytes, ms] =
    name === 'preparing'
      ? [report.weightBytes, report.prepareMs]
      : name === 'copying'
        ? [report.kvBytes, report.copyMs]
        : [0, 0];
  const words = [bytes > 0 && phase <= now ? formatBytes(bytes) : '', ms > 0 && phase < now ? formatMs(ms) : ''];
  return words.filter(Boolean).join(', ');
}

declare global {
  interface HTMLElementTagNameMap {
    'move-list': MoveList;
  }
}
