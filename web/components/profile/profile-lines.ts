/** A device's profile as lines and a table of layers: milliseconds a token, and each operation's part of the whole. */
import type { Operation, OperationMs, PhaseProfile } from '../../api.ts';

/** `other` is what the operations leave of the time. */
export type LineName = Operation | 'other';

/** All operations in the order of a step. */
const WORDS: Record<LineName, { long: string; short: string }> = {
  embed: { long: 'embedding', short: 'embed' },
  attentionNorm: { long: 'attention norm', short: 'norm' },
  qkv: { long: 'q, k, v', short: 'q k v' },
  rope: { long: 'rope and cache', short: 'rope' },
  scores: { long: 'scores and values', short: 'scores' },
  join: { long: 'joining heads', short: 'join' },
  o: { long: 'o', short: 'o' },
  attention: { long: 'attention', short: 'attention' },
  ffnNorm: { long: 'FFN norm', short: 'norm' },
  gateUp: { long: 'gate and up', short: 'gate up' },
  act: { long: 'activation', short: 'act' },
  down: { long: 'down', short: 'down' },
  ffn: { long: 'FFN', short: 'FFN' },
  merge: { long: 'residual sums', short: 'sums' },
  wait: { long: 'waiting for others', short: 'wait' },
  head: { long: 'head', short: 'head' },
  step: { long: 'whole steps', short: 'steps' },
  other: { long: 'everything else', short: 'else' },
};

const ORDER = Object.keys(WORDS) as LineName[];

export const longName = (name: LineName): string => WORDS[name].long;
export const shortName = (name: LineName): string => WORDS[name].short;

export interface ProfileLine {
  name: LineName;
  /** A token. */
  ms: number;
  /** Of the whole, 0 to 1. */
  share: number;
}

/** One line an operation that took place, in the order of a step, and what they leave of the time. None without tokens. */
export function linesOf(phase: PhaseProfile): ProfileLine[] {
  const { tokens, totalMs, layers, rest } = phase;
  if (tokens === 0 || totalMs === 0) return [];
  const sums: Partial<Record<LineName, number>> = { ...rest };
  for (const { ms } of layers) {
    for (const [name, spent] of entries(ms)) sums[name] = (sums[name] ?? 0) + spent;
  }
  // Never below nothing: clocks of a GPU and of a page are two.
  sums.other = Math.max(0, totalMs - Object.values(sums).reduce((a, b) => a + b, 0));
  return ORDER.flatMap((name) => {
    const ms = sums[name];
    return ms === undefined ? [] : [{ name, ms: ms / tokens, share: ms / totalMs }];
  });
}

export interface LayerTable {
  columns: Operation[];
  /** Milliseconds a token: of all columns together, and of each. */
  layers: { layer: number; all: number; ms: (number | undefined)[] }[];
  /** The same of all layers together. */
  sums: { all: number; ms: number[] };
}

export function layerTableOf({ tokens, layers }: PhaseProfile): LayerTable {
  const columns = ORDER.filter((name): name is Operation =>
    layers.some(({ ms }) => name !== 'other' && ms[name] !== undefined),
  );
  const rows = layers.map(({ layer, ms }) => {
    const each = columns.map((name) => {
      const spent = ms[name];
      return spent === undefined ? undefined : spent / tokens;
    });
    return { layer, all: each.reduce<number>((sum, value) => sum + (value ?? 0), 0), ms: each };
  });
  const sums = columns.map((_, i) => rows.reduce((sum, { ms }) => sum + (ms[i] ?? 0), 0));
  return { columns, layers: rows, sums: { all: sums.reduce((a, b) => a + b, 0), ms: sums } };
}

const entries = (ms: OperationMs) => Object.entries(ms) as [Operation, number][];

/** Three digits: `12.3`, `0.123`; a few microseconds stay readable. */
export const formatTime = (ms: number): string =>
  ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3);

export const formatShare = (share: number): string => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
