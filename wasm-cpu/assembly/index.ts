// Runs a step's program on any number of threads: every thread walks the same list of operations, takes pieces of
// each until none are left, and meets the others at a barrier where the next operation needs the result.
import { attention } from './attention';
import { combine } from './combine';
import { embed } from './embed';
import {
  CONTROL, C_BARRIER_COUNT, C_BARRIER_GENERATION, C_LATE, C_OPS, C_PATIENCE, C_PROGRAM, C_SLEEPERS, C_THREADS, C_TICKET,
  OP_BYTES, fieldInt,
} from './layout';
import { matmulFloat } from './matmul-float';
import { matmulQ4 } from './matmul-q4';
import { matmulQ8 } from './matmul-q8';
import { clear, merge, norm } from './norm';
import { silu } from './quantize';
import { ropeAndKeep } from './rope';
import { summarize } from './summarize';

/** Turns of a waiting loop before a thread sleeps: about 30 µs, longer than any wait between threads that all run. */
const SPINS: i32 = 20000;

/** A wait is made of so many: a machine that was put to sleep meanwhile has only missed one of them. */
const SLICES: i32 = 10;

/** Waits until the word at `address` is no longer `value`, `slices` times so many milliseconds at most; whether it came. */
function waitWhile(address: usize, value: i32, slices: i32, ms: i32): bool {
  for (let i = 0; i < SPINS; i++) if (atomic.load<i32>(address) != value) return true;
  atomic.add<i32>(CONTROL + C_SLEEPERS, 1);
  let left = slices;
  while (left > 0 && atomic.load<i32>(address) == value) {
    if (atomic.wait<i32>(address, value, <i64>ms * 1000000) == 2) left--;
  }
  atomic.sub<i32>(CONTROL + C_SLEEPERS, 1);
  return atomic.load<i32>(address) != value;
}

function barrier(threads: i32): void {
  const generation = atomic.load<i32>(CONTROL + C_BARRIER_GENERATION);
  if (atomic.add<i32>(CONTROL + C_BARRIER_COUNT, 1) == threads - 1) {
    atomic.store<i32>(CONTROL + C_BARRIER_COUNT, 0);
    atomic.add<i32>(CONTROL + C_BARRIER_GENERATION, 1);
    if (atomic.load<i32>(CONTROL + C_SLEEPERS) > 0) atomic.notify(CONTROL + C_BARRIER_GENERATION, -1);
  } else {
    const ms = load<i32>(CONTROL + C_PATIENCE) / SLICES;
    if (waitWhile(CONTROL + C_BARRIER_GENERATION, generation, SLICES, ms)) return;
    // A thread that never comes back must not hold the others for ever: the caller goes on without it.
    store<i32>(CONTROL + C_LATE, 1);
    unreachable();
  }
}

function execute(op: usize, thread: i32): void {
  switch (fieldInt(op, 0)) {
    case 1: embed(op); break;
    case 2: merge(op, thread); break;
    case 3: norm(op, thread); break;
    case 4: matmulQ4(op, thread); break;
    case 5: matmulQ8(op, thread); break;
    case 6: matmulFloat(op, thread); break;
    case 7: ropeAndKeep(op, thread); break;
    case 8: attention(op, thread); break;
    case 9: combine(op, thread); break;
    case 10: silu(op, thread); break;
    case 11: clear(op, thread); break;
    case 12: summarize(op, thread); break;
    default: unreachable();
  }
}

function walk(thread: i32): void {
  const threads = load<i32>(CONTROL + C_THREADS);
  const ops = load<i32>(CONTROL + C_OPS);
  let op = <usize>load<u32>(CONTROL + C_PROGRAM);
  for (let i = 0; i < ops; i++) {
    execute(op, thread);
    // Field 1: the next operation needs what this one made.
    if (ASC_FEATURE_THREADS) if (threads > 1 && fieldInt(op, 1)) barrier(threads);
    op += OP_BYTES;
  }
}

/** Runs the program that the control block names, as thread 0; returns when all threads are through. */
export function run(): void {
  if (ASC_FEATURE_THREADS) {
    if (load<i32>(CONTROL + C_THREADS) > 1) {
      atomic.add<i32>(CONTROL + C_TICKET, 1);
      atomic.notify(CONTROL + C_TICKET, -1);
    }
  }
  walk(0);
}

/** A helper thread is told so when it is to end. */
const ENOUGH: i32 = -1;

/**
 * Part of a helper thread's life: waits for a ticket other than its last one, walks the program, waits again. Returns its
 * last ticket when nothing has come for `idleMs`, and -1 when the program is 0.
 */
export function serve(thread: i32, last: i32, idleMs: i32): i32 {
  let ticket = last;
  if (ASC_FEATURE_THREADS) {
    while (waitWhile(CONTROL + C_TICKET, ticket, 1, idleMs)) {
      ticket = atomic.load<i32>(CONTROL + C_TICKET);
      if (load<i32>(CONTROL + C_PROGRAM) == 0) return ENOUGH;
      walk(thread);
    }
  }
  return ticket;
}
