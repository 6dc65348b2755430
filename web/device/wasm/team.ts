/** Threads that compute together over one memory: this Worker's own and its helpers. Kept a while for whoever is next. */
import { messageOf } from '../errors.ts';
import { within } from '../within.ts';
import { compileKernels, INITIAL_PAGES, instantiateKernels, type KernelExports, MAXIMUM_PAGES } from './kernels.ts';

/** Word offsets in the control block; see wasm-cpu/assembly/layout.ts. */
export const CONTROL = 1024 >> 2;
const TICKET = CONTROL + 2;
const PROGRAM = CONTROL + 3;
const OPS = CONTROL + 4;
const THREADS = CONTROL + 5;
const PATIENCE = CONTROL + 7;
const LATE = CONTROL + 8;

/** Longest wait for a thread, at its start and at any operation: far more than even a crowded machine lets one wait. */
const PATIENCE_MS = 20_000;
/** Long enough for the next backend to come: after the measurement, or when another model is loaded. */
const KEEP_MS = 5_000;

export interface TeamOptions {
  /** Threads that are wanted, this one included. */
  threads: number;
  relaxed: boolean;
  /** Compiled kernels, where they cannot be fetched. */
  module?: WebAssembly.Module | undefined;
  patienceMs?: number | undefined;
}

export interface Team {
  readonly threads: number;
  readonly memory: WebAssembly.Memory;
  /** End of what an earlier backend has written to the memory. */
  readonly dirty: number;
  /** Why there are fewer threads than wanted, for a person. */
  readonly note: string | undefined;
  /** Runs `ops` records from an address on. Throws an Error with the reason for a person; the team is of no more use then. */
  execute(at: number, ops: number): void;
  /** Gives the team back, its memory written up to `touched`. */
  end(touched: number): void;
}

/** A team that nobody uses, and what it is. */
interface Idle {
  key: readonly unknown[];
  parts: Parts;
  dirty: number;
  timer: ReturnType<typeof setTimeout>;
}

interface Parts {
  kernels: KernelExports;
  memory: WebAssembly.Memory;
  helpers: readonly Worker[];
}

let idle: Idle | undefined;
/** Why this browser's threads are not tried again; a page that is opened anew tries them. */
let alone: string | undefined;

/**
 * The team that an earlier backend has left, where it is of the same kind, else a new one. Its memory is taken as it is, since
 * memory that nobody uses goes back only when the browser collects it: two of them would be there at once.
 * Where helper threads do not answer it is a team of one thread, with a note. Rejects with an Error when there are no kernels.
 */
export async function takeTeam({ threads, relaxed, module, patienceMs = PATIENCE_MS }: TeamOptions): Promise<Team> {
  const wanted = alone === undefined ? threads : 1;
  const key = [wanted, threads > 1, relaxed, module, patienceMs];
  const left = idle;
  idle = undefined;
  if (left) {
    clearTimeout(left.timer);
    if (left.key.every((value, i) => value === key[i])) return teamOf(key, left.parts, left.dirty);
    dismiss(left.parts);
  }
  const compiled = module ?? (await compileKernels(relaxed, threads > 1));
  const memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: MAXIMUM_PAGES, shared: threads > 1 });
  const kernels = instantiateKernels(compiled, memory);
  const helpers: Worker[] = [];
  try {
    await startHelpers(helpers, { module: compiled, memory, threads: wanted, patienceMs });
  } catch (error) {
    dismiss({ kernels, memory, helpers });
    alone = `One thread computes, since a helper thread did not start: ${messageOf(error)}`;
    return takeTeam({ threads, relaxed, module: compiled, patienceMs });
  }
  const words = new Int32Array(memory.buffer);
  words[THREADS] = wanted;
  words[PATIENCE] = patienceMs;
  return teamOf(key, { kernels, memory, helpers }, 0);
}

function teamOf(key: readonly unknown[], parts: Parts, dirty: number): Team {
  const { kernels, memory, helpers } = parts;
  let state: 'ready' | 'broken' | 'ended' = 'ready';
  return {
    ...{ threads: helpers.length + 1, memory, dirty, note: alone },
    execute(at, ops) {
      if (state === 'ended') throw new Error('This device has ended.');
      // Without an operation nobody would wait for the helpers, which could walk the next program twice.
      if (ops === 0) return;
      const words = new Int32Array(memory.buffer, 0, LATE + 1);
      words[PROGRAM] = at;
      words[OPS] = ops;
      try {
        kernels.run();
      } catch (cause) {
        state = 'broken';
        if (words[LATE] === 0) throw cause;
        alone = 'One thread computes, since a helper thread stopped answering. Open the page anew to try more.';
        throw new Error('a helper thread does not answer', { cause });
      }
    },
    end(touched) {
      if (state === 'ended') return;
      const usable = state === 'ready';
      state = 'ended';
      if (usable) keep({ key, parts, dirty: touched });
      else dismiss(parts);
    },
  };
}

function keep(left: Omit<Idle, 'timer'>): void {
  if (idle) {
    clearTimeout(idle.timer);
    dismiss(idle.parts);
  }
  const timer = setTimeout(() => {
    idle = undefined;
    dismiss(left.parts);
  }, KEEP_MS);
  // Node lives for as long as a timer runs.
  if (typeof timer === 'object') timer.unref();
  idle = { ...left, timer };
}

interface HelperStart {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  threads: number;
  patienceMs: number;
}

/** Starts all helpers at once, and puts them into `helpers` before it waits. Rejects where one fails or does not answer. */
async function startHelpers(helpers: Worker[], { module, memory, threads, patienceMs }: HelperStart): Promise<void> {
  const starts = Array.from({ length: threads - 1 }, (_, i) => {
    const worker = new Worker(new URL('./thread.worker.ts', import.meta.url), { type: 'module' });
    helpers.push(worker);
    return new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (event) => reject(new Error(event.message || 'the worker failed'));
      worker.postMessage({ module, memory, thread: i + 1 });
    });
  });
  await within(patienceMs, Promise.all(starts));
}

/** Lets the helpers return before they are ended: one that waits in the kernels would be left alone for seconds. */
function dismiss({ memory, helpers }: Parts): void {
  if (helpers.length === 0) return;
  const words = new Int32Array(memory.buffer, 0, LATE + 1);
  words[PROGRAM] = 0;
  Atomics.add(words, TICKET, 1);
  Atomics.notify(words, TICKET);
  for (const worker of helpers) worker.terminate();
}
