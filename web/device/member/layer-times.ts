/** How long each layer took in the last forward pass, for whoever wants to know where the time goes. */
import type { Range } from '../../plan/types.ts';
import type { LayerTimer } from '../member.ts';

/** Layer, and microseconds for its attention and its FFN, without waiting for others. */
export type LayerTime = [layer: number, attnUs: number, ffnUs: number];

/** How long in ms a question waits for a pass to measure. */
const PATIENCE_MS = 400;

export interface LayerTimes {
  /** What to measure the next pass with; undefined where nobody wants to know. */
  timer(): LayerTimer | undefined;
  /** A pass is over. */
  passed(): void;
  /**
   * Times of the last pass that was measured; none before the first. Where measuring costs time, this asks for it, and
   * waits a moment for the next pass.
   */
  ask(): Promise<LayerTime[]>;
  /** Answers whoever waits. */
  end(): void;
}

/** @param always measuring costs nothing, since the layers are computed one by one anyway */
export function createLayerTimes([first, end]: Range, always: boolean): LayerTimes {
  const us = new Float64Array(2 * (end - first));
  let measured = false;
  let wanted = false;
  let measuring = false;
  const waiting = new Set<() => void>();
  const record: LayerTimer = (layer, half, ms) => {
    us[2 * (layer - first) + (half === 'attention' ? 0 : 1)] = 1000 * ms;
  };
  const wake = () => {
    for (const go of [...waiting]) go();
  };
  const latest = (): LayerTime[] =>
    measured
      ? Array.from({ length: end - first }, (_, i) => [first + i, Math.round(us[2 * i]), Math.round(us[2 * i + 1])])
      : [];

  return {
    timer() {
      measuring = always || wanted;
      wanted = false;
      return measuring ? record : undefined;
    },
    passed() {
      if (!measuring) return;
      measured = true;
      wake();
    },
    async ask() {
      if (always) return latest();
      wanted = true;
      await new Promise<void>((resolve) => {
        const go = () => {
          clearTimeout(timer);
          waiting.delete(go);
          resolve();
        };
        const timer = setTimeout(go, PATIENCE_MS);
        waiting.add(go);
      });
      return latest();
    },
    end: wake,
  };
}
