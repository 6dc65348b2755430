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
  onFailure(error: unknown): void;
}

/** Gives the function to call after every change of a device. */
export function createSettler({ moves, hyper, plan, devices, isPaused, onFailure }: SettleOptions): () => void {
  let settling = false;

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

  return () => {
    const present = plan();
    if (settling || !present || !better(present)) return;
    settling = true;
    moves
      .replace(better)
      .catch(onFailure)
      .finally(() => {
        settling = false;
      });
  };
}
