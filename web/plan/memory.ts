/** Whether devices have room for a plan. */
import { changeBytes, diffPlans } from './diff.ts';
import { planBytes, type Sizes } from './holdings.ts';
import type { ModelShape } from './shape.ts';
import type { Plan } from './types.ts';

/** How much each device may hold, for weights and KV together. */
export interface Limits extends Sizes {
  /** Bytes that a device may use; undefined where it is not known, which allows everything. */
  room(device: number): number | undefined;
}

export interface Shortage {
  device: number;
  /** Bytes wanted, at most at a time. */
  wanted: number;
  room: number;
}

/**
 * Devices that would lack room while `next` takes over from `old`: until the switch a device holds what both plans
 * give it. A device to which nothing comes is never short.
 */
export function shortages(old: Plan | undefined, next: Plan, shape: ModelShape, limits: Limits): Shortage[] {
  const held = new Map(
    (old ? planBytes(old, shape, limits) : []).map((bytes) => [bytes.device, bytes.weightBytes + bytes.kvBytes]),
  );
  return diffPlans(old, next, shape, limits.embedding).flatMap((change) => {
    const room = limits.room(change.device);
    const comes = changeBytes(change, shape, limits);
    const more = comes.weightBytes + comes.kvBytes;
    const wanted = (held.get(change.device) ?? 0) + more;
    return room === undefined || more === 0 || wanted <= room ? [] : [{ device: change.device, wanted, room }];
  });
}
