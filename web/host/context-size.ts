/** How many positions the KV cache gets: what was asked for, what the model was made for, what fits. */
import { DeviceError } from '../device/backend.ts';
import type { MemoryLimit } from '../device/environment.ts';
import type { HyperParameters } from '../model/types.ts';

export interface ContextSize {
  context: number;
  notes: string[];
}

/** More is taken only when asked for: every position costs memory whether it is used or not. */
const DEFAULT_CONTEXT = 4096;
/** Below this a chat makes no sense. */
const SMALLEST_CONTEXT = 256;
/** Part of the memory limit that weights and KV may fill; the rest is for scratch, the tokenizer and the page. */
const USABLE = 0.9;

/** What a device holds of a model, and may. */
export interface DeviceNeeds {
  /** For people: `this device`, `device 2`. */
  name: string;
  weightBytes: number;
  /** Bytes of KV cache that one position takes. */
  kvBytes: number;
  /** Undefined where it is not known. */
  limit: MemoryLimit | undefined;
  /** What it would compute, in words. */
  part: string;
}

/**
 * The largest context for which every device has room.
 * @param asked the caller's wish
 * @throws DeviceError `memory` when a hard limit leaves no room for a context
 */
export function contextSize(hyper: HyperParameters, asked: number | undefined, devices: DeviceNeeds[]): ContextSize {
  const notes: string[] = [];
  const most = Math.min(hyper.context, asked ?? DEFAULT_CONTEXT);
  const smallest = Math.min(SMALLEST_CONTEXT, most);
  let context = most;
  for (const { name, weightBytes, kvBytes, limit, part } of devices) {
    if (!limit || weightBytes + kvBytes === 0) continue;
    const room = kvBytes === 0 ? most : Math.floor((limit.bytes * USABLE - weightBytes) / kvBytes);
    if (limit.hard && (room < smallest || weightBytes > limit.bytes * USABLE)) {
      const needed = (weightBytes + smallest * kvBytes) / USABLE;
      throw new DeviceError(
        'memory',
        `The ${part} need about ${megabytes(needed)}, but ${name} may use ${megabytes(limit.bytes)}: ${megabytes(needed - limit.bytes)} are missing. Choose a smaller model, or give ${name} a smaller share.`,
      );
    }
    context = Math.min(context, Math.max(room, smallest));
  }
  if (asked !== undefined && asked > hyper.context) {
    notes.push(`The context is ${context} tokens: the model was made for ${hyper.context}, not ${asked}.`);
  } else if (context < most) {
    notes.push(`The context is ${context} tokens instead of ${most}, since more would not fit into memory.`);
  } else if (asked === undefined && context < hyper.context) {
    notes.push(
      `The context is ${context} of the model's ${hyper.context} tokens, to save memory; ask for more with \`context\`.`,
    );
  }
  return { context, notes };
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
