/**
 * Work in the background of a Worker that computes tokens: weights that are read, repacked and stored for a move. It runs
 * in small slices, and as long as tokens flow it rests between them, since the others of a stage wait for every sum.
 */
import { nextTask } from './pause.ts';

/** Tokens flow until nothing has been computed for so long, in milliseconds. */
const FLOW_MS = 300;
/** Longest that background work holds a token up, and what it then leaves to tokens, in milliseconds. */
const SLICE_MS = 2;
const REST_MS = 6;
/** How often work that waits for quiet looks whether it has come, in milliseconds. */
const LOOK_MS = 100;

let computing = 0;
let lastComputed = Number.NEGATIVE_INFINITY;
/** Background work since the last pause, in milliseconds. */
let spent = 0;

/** Runs work on tokens: while it goes on, and shortly after, background work rests. */
export async function asTokens<T>(work: () => Promise<T>): Promise<T> {
  computing++;
  try {
    return await work();
  } finally {
    computing--;
    lastComputed = performance.now();
  }
}

/** Whether tokens are being computed in this Worker. */
export function tokensFlow(): boolean {
  return computing > 0 || performance.now() - lastComputed < FLOW_MS;
}

/**
 * After a piece of background work that took `ms` of this Worker's time: once a slice is full, lets messages and tokens
 * through.
 */
export async function giveWay(ms: number): Promise<void> {
  spent += ms;
  if (spent < SLICE_MS) return;
  spent = 0;
  await (tokensFlow() ? rest(REST_MS) : nextTask());
}

/** After work that others do for this Worker (a request, a transaction): a pause in proportion, where tokens flow. */
export async function restAfter(bytes: number, msPerMebibyte: number): Promise<void> {
  const ms = (bytes / 2 ** 20) * msPerMebibyte;
  if (ms >= 1 && tokensFlow()) await rest(ms);
}

/** For work that can wait: resolves when no tokens flow, or when it cannot wait any longer. */
export async function untilQuiet(pressing: () => boolean): Promise<void> {
  while (tokensFlow() && !pressing()) await rest(LOOK_MS);
}

const rest = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
