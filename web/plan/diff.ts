/** What must travel, and what may go, when one plan follows another. */
import {
  type Embedding,
  holdingOf,
  holdsKv,
  type KvPart,
  kvBeyond,
  kvBytes,
  type Part,
  partBytes,
  partsBeyond,
  type Sizes,
} from './holdings.ts';
import { nodesOf } from './nodes.ts';
import type { ModelShape } from './shape.ts';
import type { Plan } from './types.ts';

/** What changes for one device. What it holds under the old plan, plus needs, less releases, is the new plan's. */
export interface DeviceChange {
  device: number;
  /** Parts of weights that it lacks. */
  needs: Part[];
  /** KV that it lacks, and the devices that hold it under the old plan (none before the first plan), ascending. */
  kvNeeds: (KvPart & { sources: number[] })[];
  /** Parts of weights that it needs no more. */
  releases: Part[];
  kvReleases: KvPart[];
}

/**
 * Changes from one plan to the next, one entry for each device of either, by ascending device. `old` is undefined
 * for the first plan of all. `embedding` says who looks tokens up (under both plans); without it the embedding is left out.
 */
export function diffPlans(old: Plan | undefined, next: Plan, shape: ModelShape, embedding?: Embedding): DeviceChange[] {
  const before = old ? nodesOf(old).map(({ member }) => member.device) : [];
  const after = nodesOf(next).map(({ member }) => member.device);
  const devices = [...new Set([...before, ...after, ...(embedding ? [embedding.device] : [])])].sort((a, b) => a - b);
  const held = new Map(devices.map((device) => [device, holdingOf(old, device, shape, embedding)]));

  return devices.map((device) => {
    const had = held.get(device)!;
    const wants = holdingOf(next, device, shape, embedding);
    const kvNeeds = kvBeyond(had, wants).map((part) => ({
      ...part,
      sources: devices.filter((other) => holdsKv(held.get(other)!, part)),
    }));
    return {
      device,
      needs: partsBeyond(had, wants, shape),
      kvNeeds,
      releases: partsBeyond(wants, had, shape),
      kvReleases: kvBeyond(wants, had),
    };
  });
}

/** Bytes that a change brings to its device: weights, and KV over `sizes.positions`. */
export function changeBytes(
  change: Pick<DeviceChange, 'needs' | 'kvNeeds'>,
  shape: ModelShape,
  sizes: Sizes,
): { weightBytes: number; kvBytes: number } {
  const weightBytes = change.needs.reduce((sum, part) => sum + partBytes(part, shape, sizes), 0);
  return { weightBytes, kvBytes: kvBytes(shape, change.kvNeeds.length, sizes.positions) };
}
