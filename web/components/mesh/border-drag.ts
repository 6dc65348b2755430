import type { ReactiveControllerHost } from 'lit';
import type { Plan } from '../../api.ts';
import type { ModelShape } from '../../plan/shape.ts';
import { type BorderMove, type BorderStep, borderSteps, nearestStep, type TradedKind } from './borders.ts';

/** A border that is held, by a pointer or by keys. */
export interface Drag {
  /** Node above the border. */
  node: number;
  kind: TradedKind;
  steps: readonly BorderStep[];
  /** Index in `steps` of the place chosen so far. */
  step: number;
}

/** Steps of a Page key. */
const PAGE = 8;

/** Lets borders between bars be dragged in legal steps, by pointer or keys, one at a time. */
export class BorderDrag {
  current: Drag | undefined;
  readonly #host: ReactiveControllerHost;
  readonly #tell: (event: 'move' | 'consider', move: BorderMove | undefined) => void;
  #plan: Plan | undefined;
  #shape: ModelShape | undefined;
  /** Legal places of each border under the present plan, by kind and node. */
  readonly #steps = new Map<string, readonly BorderStep[]>();
  /** Ends the listening to the pointer that holds the border. */
  #held: AbortController | undefined;

  /** @param tell hears every choice (`consider`), and what is asked for when the border is let go (`move`) */
  constructor(host: ReactiveControllerHost, tell: (event: 'move' | 'consider', move: BorderMove | undefined) => void) {
    this.#host = host;
    this.#tell = tell;
  }

  /** Another plan: what is held is let go, since its steps were those of the old one. */
  setPlan(plan: Plan | undefined, shape: ModelShape | undefined): void {
    if (plan === this.#plan && shape === this.#shape) return;
    this.#plan = plan;
    this.#shape = shape;
    this.#steps.clear();
    this.end();
  }

  /** The border as it is held, or undefined. */
  at(node: number, kind: string): Drag | undefined {
    return this.current?.node === node && this.current.kind === kind ? this.current : undefined;
  }

  /** A border that nobody holds, with its legal places. */
  resting(node: number, kind: TradedKind): Drag {
    const key = `${kind} ${node}`;
    const steps = this.#steps.get(key) ?? (this.#plan ? borderSteps(this.#plan, node, kind, this.#shape) : []);
    this.#steps.set(key, steps);
    return {
      node,
      kind,
      steps,
      step: Math.max(
        0,
        steps.findIndex(({ move }) => move === undefined),
      ),
    };
  }

  /**
   * A pointer takes hold of a border.
   * @param perPixel amount that a CSS pixel stands for
   */
  grab(event: PointerEvent, node: number, kind: TradedKind, perPixel: number): void {
    const drag = this.resting(node, kind);
    if (event.button !== 0 || drag.steps.length < 2) return;
    event.preventDefault();
    this.end();
    this.current = drag;
    this.#host.requestUpdate();
    const held = new AbortController();
    this.#held = held;
    // From where it is gripped, so that the border does not jump under the finger.
    const { clientX, pointerId } = event;
    const first = drag.steps[drag.step]!.amount;
    const listen = (type: 'pointermove' | 'pointerup' | 'pointercancel', act: (at: PointerEvent) => void): void => {
      const own = (at: PointerEvent): void => {
        if (at.pointerId === pointerId) act(at);
      };
      window.addEventListener(type, own, { signal: held.signal });
    };
    listen('pointermove', (at) => this.#choose(nearestStep(drag.steps, first + (at.clientX - clientX) * perPixel)));
    listen('pointerup', () => this.#commit());
    listen('pointercancel', () => this.end());
  }

  /** A key on a border: arrows choose, Enter moves, Escape leaves it. */
  key(event: KeyboardEvent, node: number, kind: TradedKind): void {
    const held = this.at(node, kind);
    if (held && (event.key === 'Enter' || event.key === 'Escape')) {
      // Escape would also stop an answer, or close the panel.
      event.preventDefault();
      if (event.key === 'Enter') this.#commit();
      else this.end();
      return;
    }
    const { steps, step } = held ?? this.resting(node, kind);
    const next = chosen(event.key, step, steps.length - 1);
    if (next === undefined || steps.length < 2) return;
    event.preventDefault();
    this.current ??= { node, kind, steps, step };
    this.#choose(next);
    this.#host.requestUpdate();
  }

  /** Lets the border go without a move. */
  end(): void {
    this.#held?.abort();
    if (!this.current) return;
    this.current = undefined;
    this.#host.requestUpdate();
    this.#tell('consider', undefined);
  }

  #choose(step: number): void {
    if (!this.current || step === this.current.step) return;
    this.current = { ...this.current, step };
    this.#host.requestUpdate();
    this.#tell('consider', this.current.steps[step]?.move);
  }

  #commit(): void {
    const move = this.current?.steps[this.current.step]?.move;
    this.end();
    if (move) this.#tell('move', move);
  }
}

/** Where a key leads from a step; undefined for keys that mean nothing here. */
function chosen(key: string, step: number, last: number): number | undefined {
  const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: PAGE, PageDown: -PAGE }[key];
  if (by !== undefined) return Math.min(last, Math.max(0, step + by));
  return { Home: 0, End: last }[key];
}
