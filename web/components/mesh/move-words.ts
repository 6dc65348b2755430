/** Moves and their reports in words. */
import type { Migration, MoveReport } from '../../api.ts';
import { DEFAULT_FFN, DEFAULT_HEADS } from '../../plan/moves.ts';
import { formatBytes, plural } from '../format.ts';

type ShareAmounts = { kind: 1 | 2 | 3; heads?: number; ffn?: number };

/** `1 KV head and 256 FFN columns`. */
export const amountWords = (move: ShareAmounts | { layers: number }): string => {
  if ('layers' in move) return plural(move.layers, 'layer');
  const heads = move.kind === 2 ? 0 : (move.heads ?? DEFAULT_HEADS);
  const ffn = move.kind === 1 ? 0 : (move.ffn ?? DEFAULT_FFN);
  return [heads > 0 && plural(heads, 'KV head'), ffn > 0 && plural(ffn, 'FFN column')].filter(Boolean).join(' and ');
};

/**
 * `1 KV head from Desk to Phone`.
 * @param nameOf name of a node
 */
export const moveWords = (move: Migration, nameOf: (node: number) => string): string => {
  const moves = 'moves' in move ? move.moves : [move];
  return moves.map((one) => `${amountWords(one)} from ${nameOf(one.from)} to ${nameOf(one.to)}`).join('; ');
};

export const MOVE_STATES: Record<MoveReport['state'], string> = {
  queued: 'waiting',
  preparing: 'preparing',
  copying: 'copying',
  committed: 'done',
  refused: 'refused',
  cancelled: 'cancelled',
  failed: 'failed',
};

export const isUnderWay = ({ state }: Pick<MoveReport, 'state'>): boolean =>
  state === 'queued' || state === 'preparing' || state === 'copying';

/** What a move would bring to its receivers. */
export interface Forecast {
  move: Migration;
  /** Bytes that must travel; KV for a full context. */
  weightBytes: number;
  kvBytes: number;
  /** Devices that would hold more than now, with all that they would hold. */
  receivers: { device: number; bytes: number }[];
}

/** `12.4 MB of weights and up to 3.1 MB of KV move; Phone then holds 83.0 MB.` */
export const forecastWords = (
  { weightBytes, kvBytes, receivers }: Forecast,
  nameOf: (device: number) => string,
): string => {
  const what = [
    weightBytes > 0 && `${formatBytes(weightBytes)} of weights`,
    kvBytes > 0 && `up to ${formatBytes(kvBytes)} of KV`,
  ].filter(Boolean);
  const after = receivers.map(({ device, bytes }) => `${nameOf(device)} then holds ${formatBytes(bytes)}`);
  return `${what.length > 0 ? what.join(' and ') : 'No bytes'} would travel${after.length > 0 ? `; ${after.join(', ')}` : ''}.`;
};

/** Milliseconds for a person: `0.4 ms`, `12 ms`, `1.2 s`. */
export const formatMs = (milliseconds: number): string => {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds >= 10 || milliseconds === 0 ? Math.round(milliseconds) : milliseconds.toFixed(1)} ms`;
};
