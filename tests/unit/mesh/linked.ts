import { type Link, openLink } from '../../../web/mesh/link.ts';
import { type MemoryChannel, memoryChannels } from './memory-channel.ts';

export interface Linked {
  a: Link;
  b: Link;
  /** Channels at a's end and at b's. */
  tensors: [MemoryChannel, MemoryChannel];
  bulk: [MemoryChannel, MemoryChannel];
}

/** A link in memory between two devices. */
export async function linked(first = 0, second = 1, maxMessageBytes = 256 * 1024): Promise<Linked> {
  const tensors = memoryChannels();
  const bulk = memoryChannels();
  const [a, b] = await Promise.all([
    openLink({
      self: first,
      peer: second,
      kind: 'webrtc',
      tensors: tensors[0],
      bulk: bulk[0],
      maxMessageBytes: () => maxMessageBytes,
    }),
    openLink({
      self: second,
      peer: first,
      kind: 'webrtc',
      tensors: tensors[1],
      bulk: bulk[1],
      maxMessageBytes: () => maxMessageBytes,
    }),
  ]);
  return { a, b, tensors, bulk };
}

/** Links of every device of a mesh in memory to every other: `links[device].get(other)`. */
export async function meshed(devices: number[], maxMessageBytes?: number): Promise<Map<number, Map<number, Link>>> {
  const links = new Map(devices.map((device) => [device, new Map<number, Link>()]));
  for (const low of devices)
    for (const high of devices)
      if (low < high) {
        const { a, b } = await linked(low, high, maxMessageBytes);
        links.get(low)!.set(high, a);
        links.get(high)!.set(low, b);
      }
  return links;
}

/** Resolves after everything that is on its way in memory has arrived. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
}
