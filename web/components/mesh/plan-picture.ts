import { html, LitElement, nothing, svg, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { Plan } from '../../api.ts';
import type { ModelShape } from '../../plan/shape.ts';
import { formatBytes, plural } from '../format.ts';
import { shared } from '../styles/shared.ts';
import { BorderDrag, type Drag } from './border-drag.ts';
import type { BorderStep, TradedKind } from './borders.ts';
import { amountWords, type Forecast, forecastWords } from './move-words.ts';
import { BAR, planStyle, TRACK } from './plan-picture-style.ts';
import { KIND_LABELS, KINDS, type Kind, type MemberView, planView, type StageView } from './plan-view.ts';
import './plan-table.ts';

/** What a device holds, or would hold. */
export interface DeviceBytes {
  weightBytes: number;
  kvBytes: number;
}

/** The width of what a finger grips, in CSS pixels. */
const GRIP = 24;

/**
 * A plan as a picture: stages across, members down, a bar for each kind of share. Where `movable`, the border between
 * two neighbours can be dragged, or moved by keys. Dispatches `move` with what was asked for, and `consider` with what
 * is being thought of (undefined: nothing any more).
 */
@customElement('plan-picture')
export class PlanPicture extends LitElement {
  static override styles = [shared, planStyle];

  @property({ attribute: false }) plan: Plan | undefined;
  @property({ attribute: false }) shape: ModelShape | undefined;
  /** Names of devices, by index. */
  @property({ attribute: false }) names: ReadonlyMap<number, string> = new Map();
  /** What each device holds, by index. */
  @property({ attribute: false }) bytes: ReadonlyMap<number, DeviceBytes> = new Map();
  /** Name of the picture, for screen readers. */
  @property() label = 'Plan';
  @property({ type: Boolean }) movable = false;
  @property({ attribute: false }) forecast: Forecast | undefined;

  readonly #drag = new BorderDrag(this, (event, detail) => this.dispatchEvent(new CustomEvent(event, { detail })));

  protected override willUpdate(): void {
    this.#drag.setPlan(this.plan, this.shape);
  }

  protected override render(): TemplateResult | typeof nothing {
    if (!this.plan) return nothing;
    const stages = planView(this.plan, this.shape);
    return html`<div class="stages" role="group" aria-label=${this.label}>
        ${stages.map((stage) => this.#stage(stage))}
      </div>
      ${this.movable && stages.some(({ members }) => members.length > 1) ? this.#foretold() : nothing}
      <details>
        <summary class="fine muted">As a table</summary>
        <plan-table .stages=${stages} .names=${this.names} .bytes=${this.bytes} .label=${this.label}></plan-table>
      </details>`;
  }

  #stage(stage: StageView): TemplateResult {
    const [from, to] = stage.layers;
    const layers = to - from === 1 ? `layer ${from}` : `layers ${from}–${to - 1}`;
    return html`<section class="stage" aria-label=${`Stage ${stage.stage}`}>
      <h4>Stage ${stage.stage} <span>· ${layers} (${to - from})</span></h4>
      ${stage.members.map((member, index) => this.#member(stage, member, index))}
    </section>`;
  }

  #member(stage: StageView, member: MemberView, index: number): TemplateResult {
    const held = this.bytes.get(member.device);
    return html`<div class="member">
      <div class="who">
        <strong><span class="node" title="Node ${member.node}">${member.node}</span>${this.#name(member.device)}</strong>
        <span class="muted">${held ? formatBytes(held.weightBytes + held.kvBytes) : nothing}</span>
      </div>
      ${KINDS.filter((kind) => stage.totals[kind] > 0).map((kind) => this.#share(kind, stage, member, index))}
    </div>`;
  }

  #share(kind: Kind, stage: StageView, member: MemberView, index: number): TemplateResult {
    const total = stage.totals[kind];
    const below = this.#drag.at(member.node, kind);
    const above = this.#drag.at(member.node - 1, kind);
    const { from, to } = member.bars[kind];
    const shift = (drag: Drag | undefined, node: number, at: number): number => {
      if (!drag) return at;
      const now = stage.members.find((one) => one.node === node)!.bars[kind].amount;
      return at + (drag.steps[drag.step]!.amount - now) / total;
    };
    const start = shift(above, member.node - 1, from);
    const end = shift(below, member.node, to);
    const last = index === stage.members.length - 1;
    const traded = this.movable && kind !== 'vocab';
    return html`<div class="share">
      <span>${KIND_LABELS[kind]}</span>
      <svg class="track" aria-hidden=${traded ? nothing : 'true'}>
        <rect class="ground" x="0" y=${(TRACK - BAR) / 2} width="100%" height=${BAR} rx="3"></rect>
        ${this.#bar(kind, Math.max(from, start), Math.min(to, end))}
        ${this.#part(kind, from, start)} ${this.#part(kind, end, to)}
        ${traded && index > 0 ? this.#grip(kind, member.node - 1, start, total, false) : nothing}
        ${traded && !last ? this.#grip(kind, member.node, end, total, true) : nothing}
      </svg>
      <span>${amountText(kind, Math.round((end - start) * total), total)}</span>
    </div>`;
  }

  #bar(kind: Kind, from: number, to: number): TemplateResult<2> | typeof nothing {
    if (to <= from) return nothing;
    return svg`<rect class=${kind} x=${percent(from)} y=${(TRACK - BAR) / 2} width=${percent(to - from)} height=${BAR} rx="3"></rect>`;
  }

  /** What a border that is dragged takes from a bar (`going`) or adds to it (`coming`). */
  #part(kind: Kind, a: number, b: number): TemplateResult<2> | typeof nothing {
    if (a === b) return nothing;
    const from = Math.min(a, b);
    return svg`<rect class=${`${kind} ${a < b ? 'going' : 'coming'}`} x=${percent(from)} y=${(TRACK - BAR) / 2} width=${percent(Math.abs(b - a))} height=${BAR}></rect>`;
  }

  /** What a hand takes hold of: at the end of the upper bar, which the keyboard reaches too, and at the start of the lower one. */
  #grip(kind: TradedKind, node: number, at: number, total: number, upper: boolean): TemplateResult<2> {
    const held = this.#drag.at(node, kind);
    const x = upper ? -4 : 4 - GRIP;
    const shape = svg`<rect class="area" x=${x} y="1" width=${GRIP} height=${TRACK - 2} rx="4"></rect>
      <rect class="bar" x=${upper ? -1 : -3} y="3" width="4" height=${TRACK - 6} rx="2"></rect>`;
    const down = (event: PointerEvent) => this.#grab(event, node, kind, total);
    if (!upper) {
      return svg`<svg x=${percent(at)} overflow="visible"><g class=${held ? 'grip held' : 'grip'} @pointerdown=${down}>${shape}</g></svg>`;
    }
    const { steps, step } = held ?? this.#drag.resting(node, kind);
    return svg`<svg x=${percent(at)} overflow="visible"><g
      class=${held ? 'grip held' : 'grip'}
      role="slider"
      tabindex="0"
      aria-label=${`${KIND_LABELS[kind]} of ${this.#nodeName(node)}, beside ${this.#nodeName(node + 1)}`}
      aria-valuemin=${steps[0]?.amount ?? 0}
      aria-valuemax=${steps.at(-1)?.amount ?? 0}
      aria-valuenow=${steps[step]?.amount ?? 0}
      aria-valuetext=${this.#stepWords(kind, node, steps[step])}
      aria-disabled=${steps.length < 2 ? 'true' : nothing}
      data-border=${`${kind} ${node}`}
      @pointerdown=${down}
      @keydown=${(event: KeyboardEvent) => this.#drag.key(event, node, kind)}
      @blur=${() => this.#drag.end()}
    >${shape}</g></svg>`;
  }

  #foretold(): TemplateResult {
    const drag = this.#drag.current;
    if (!drag) {
      return html`<p class="foretold fine muted">
        Drag the end of a bar to give a share to the next device. By keys: arrows choose, Enter moves, Escape leaves it.
      </p>`;
    }
    const step = drag.steps[drag.step];
    const forecast =
      this.forecast && JSON.stringify(this.forecast.move) === JSON.stringify(step?.move)
        ? ` ${forecastWords(this.forecast, (device) => this.#name(device))}`
        : '';
    return html`<p class="foretold fine"><strong>${this.#stepWords(drag.kind, drag.node, step)}.</strong>${forecast}</p>`;
  }

  #stepWords(kind: TradedKind, node: number, step: BorderStep | undefined): string {
    if (step?.move) {
      return `${amountWords(step.move)} from ${this.#nodeName(step.move.from)} to ${this.#nodeName(step.move.to)}`;
    }
    const amount = step?.amount ?? 0;
    const what = kind === 'heads' ? plural(amount, 'query head') : plural(amount, 'FFN column');
    return `${this.#nodeName(node)} has ${what}; nothing moves`;
  }

  #name(device: number): string {
    return this.names.get(device) ?? `Device ${device}`;
  }

  #nodeName(node: number): string {
    const member = this.plan?.stages.flatMap(({ members }) => members)[node];
    return member ? this.#name(member.device) : `node ${node}`;
  }

  /** A pointer on a grip: the border's slider has the focus from now on, so that keys go on from there. */
  #grab(event: PointerEvent, node: number, kind: TradedKind, total: number): void {
    const grip = event.currentTarget;
    const track = grip instanceof Element ? grip.closest('.track') : null;
    if (!track) return;
    this.renderRoot.querySelector<SVGElement>(`[data-border="${kind} ${node}"]`)?.focus();
    this.#drag.grab(event, node, kind, total / track.getBoundingClientRect().width);
  }
}

const amountText = (kind: Kind, amount: number, total: number): string =>
  kind === 'heads' ? `${amount} of ${total}` : amount.toLocaleString('en');

const percent = (fraction: number): string => `${fraction * 100}%`;

declare global {
  interface HTMLElementTagNameMap {
    'plan-picture': PlanPicture;
  }
}
