/** Keeps the plan in step with the devices: leaves out those that pause, takes back in those that return. */
import type { HyperParameters } from '../../model/types.ts';
import type { Plan } from '../../plan/types.ts';
import { devicesOf, planFor, planWithout } from './layout.ts';
import type { Moves } from './moves.ts';

export interface SettleOptions {
  moves: Moves;
  hyper: HyperParameters;
  plan(): Plan | undefined;
  /** Devices that may compute: here, measured, not paused. */
  devices(): number[];
  isPaused(device: number): boolean;
  /** Nothing is rearranged while this says so. */
  isBusy(): boolean;
  onFailure(error: unknown): void;
  /** Ends it. */
  signal: AbortSignal;
}

/** Waits in ms after a failure: what made it fail may pass, but must not be tried without end. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 60_000;

/** Gives the function to call after every change of a device. */
export function createSettler(options: SettleOptions): () => void {
  const { moves, hyper, plan, devices, isPaused, isBusy, onFailure, signal } = options;
  let settling = false;
  let failures = 0;
  let failedWith = '';
  let retry: ReturnType<typeof setTimeout> | undefined;
  signal.addEventListener('abort', () => clearTimeout(retry));

  /** What a failure holds for: with other devices another try is worth it at once. */
  const circumstances = (): string => JSON.stringify([devices(), moves.wanted]);

  function failed(error: unknown): void {
    const present = plan();
    // The plan changed before its turn came: nothing is amiss.
    if (signal.aborted || (present && !better(present))) return;
    onFailure(error);
    failedWith = circumstances();
    const delay = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** failures++);
    retry = setTimeout(() => {
      failedWith = '';
      settle();
    }, delay);
  }

  /** The plan that fits the devices better, or undefined where the present one does. */
  function better(present: Plan): Plan | undefined {
    const epoch = present.epoch + 1;
    const members = devicesOf(present);
    const pausing = new Set(members.filter(isPaused));
    if (pausing.size > 0) return planWithout(present, pausing, hyper, epoch);
    const { wanted } = moves;
    if (wanted === undefined) return undefined;
    try {
      const whole = planFor(wanted, hyper, devices(), epoch);
      return devicesOf(whole).every((device) => members.includes(device)) ? undefined : whole;
    } catch {
      // Not enough devices for what was asked: the present plan is the best there is.
      return undefined;
    }
  }

  function settle(): void {
    const present = plan();
    if (settling || signal.aborted || !present || isBusy() || !better(present)) return;
    if (failedWith === circumstances()) return;
    settling = true;
    clearTimeout(retry);
    moves
      .replace(better)
      .then(() => {
        failures = 0;
        failedWith = '';
      }, failed)
      .finally(() => {
        settling = false;
        // What changed meanwhile was not looked at.
        settle();
      });
  }
  return settle;
}
