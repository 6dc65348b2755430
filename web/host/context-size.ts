/** How many positions the KV cache gets: what was asked for, what the model was made for, what fits. */
import { DeviceError } from '../device/backend.ts';
import type { HyperParameters } from '../model/types.ts';

export interface MemoryLimit {
  bytes: number;
  /** A limit that must hold; otherwise an estimate, which may cap the context but never refuses a model. */
  hard: boolean;
}

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

/** Bytes of KV cache that one position takes on a device that holds the whole model (`docs/arithmetic.md`). */
export function kvBytesPerPosition({ layers, kvHeads, headDim }: HyperParameters): number {
  const integers = 2 * 2 * headDim;
  const scales = 2 * 4;
  return layers * kvHeads * (integers + scales);
}

/**
 * @param asked the caller's wish
 * @param weightBytes device bytes of the weights
 * @throws DeviceError `memory` when a hard limit leaves no room for a context
 */
export function contextSize(
  hyper: HyperParameters,
  asked: number | undefined,
  weightBytes: number,
  limit: MemoryLimit,
): ContextSize {
  const notes: string[] = [];
  const most = Math.min(hyper.context, asked ?? DEFAULT_CONTEXT);
  const room = Math.floor((limit.bytes * USABLE - weightBytes) / kvBytesPerPosition(hyper));
  const smallest = Math.min(SMALLEST_CONTEXT, most);
  if (limit.hard && room < smallest) {
    const needed = weightBytes + smallest * kvBytesPerPosition(hyper);
    throw new DeviceError(
      'memory',
      `The model needs about ${megabytes(needed / USABLE)}, but this device may use ${megabytes(limit.bytes)}. Choose a smaller model.`,
    );
  }
  const context = Math.min(most, Math.max(room, smallest));
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
