import { parseArgs } from 'node:util';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import type { Family } from './engine.ts';

export interface SingleOptions {
  model: string;
  threads: number[];
  rounds: number;
  /** Tokens of the prefill, and tokens decoded after the first. */
  prompt: number;
  decode: number;
  backends: ('wasm' | 'webgpu')[];
  engines: Family[];
  /** The machine's GPU instead of the software adapter. */
  gpu: boolean;
  record: boolean;
  /** Also where the time goes. */
  profile: boolean;
  /** Also the rounding error, where the exact answers are known. */
  rounding: boolean;
}

const FAMILIES: readonly Family[] = ['ours', 'wllama', 'native'];
const ROUNDS = 9;
/** Fewer, since wllama takes most of the time. */
const PEERS_ROUNDS = 5;
const QUICK_ROUNDS = 3;
const PROMPT_TOKENS = 128;
const DECODE_TOKENS = 64;

/** What differs between the benchmarks that compare engines. */
export interface Comparing {
  benchmark: 'single' | 'peers';
  rounds: number;
  backend: 'wasm' | 'both';
  /** Also the rounding error. */
  rounding: boolean;
}

export const SINGLE: Comparing = { benchmark: 'single', rounds: ROUNDS, backend: 'both', rounding: true };
export const PEERS: Comparing = { benchmark: 'peers', rounds: PEERS_ROUNDS, backend: 'wasm', rounding: false };

export const usage = ({
  benchmark,
  rounds,
  backend,
}: Comparing): string => `Usage: npm run bench -- ${benchmark} [options]

  --model NAME       a file in models/ (or MODELS_DIR), without .gguf (default ${DEFAULT_MODEL})
  --threads 1,2      numbers of threads to measure with (default 1,2)
  --rounds N         rounds, in which every engine runs once (default ${rounds})
  --prompt N         tokens of the prefill (default ${PROMPT_TOKENS})
  --decode N         tokens decoded after the first (default ${DECODE_TOKENS})
  --backend B        wasm, webgpu or both: of ours (default ${backend})
  --engines LIST     some of ${FAMILIES.join(',')} (default all)
  --quick            ${QUICK_ROUNDS} rounds
  --gpu              WebGPU on the machine's GPU instead of the software adapter
  --profile          afterwards also where our time goes, by operation and layer
  --record           also write the table into docs/benchmarks.md
  --help             print this text`;

/** Reads the command line; gives `help` where the usage was asked for. Throws BenchError. */
export function parseSingleOptions(args: string[], comparing = SINGLE): SingleOptions | 'help' {
  const wrong = (problem: string) => new BenchError(`${problem}\n\n${usage(comparing)}`);
  const given = readFlags(args, wrong);
  if (given.help) return 'help';
  const positive = (flag: string, text: string) => wholeAboveZero(flag, text, wrong);
  const backend = given.backend ?? comparing.backend;
  if (backend !== 'wasm' && backend !== 'webgpu' && backend !== 'both')
    throw wrong(`--backend must be wasm, webgpu or both, not "${backend}".`);
  const engines = (given.engines ?? FAMILIES.join()).split(',');
  const unknown = engines.find((name) => !FAMILIES.some((family) => family === name));
  if (unknown !== undefined) throw wrong(`There is no engine "${unknown}".`);
  return {
    model: (given.model ?? DEFAULT_MODEL).replace(/\.gguf$/, ''),
    threads: (given.threads ?? '1,2').split(',').map((text) => positive('--threads', text)),
    rounds:
      given.rounds !== undefined ? positive('--rounds', given.rounds) : given.quick ? QUICK_ROUNDS : comparing.rounds,
    prompt: positive('--prompt', given.prompt ?? String(PROMPT_TOKENS)),
    decode: positive('--decode', given.decode ?? String(DECODE_TOKENS)),
    backends: backend === 'both' ? ['wasm', 'webgpu'] : [backend],
    engines: FAMILIES.filter((family) => engines.includes(family)),
    gpu: given.gpu ?? false,
    record: given.record ?? false,
    profile: given.profile ?? false,
    rounding: comparing.rounding,
  };
}

function readFlags(args: string[], wrong: (problem: string) => BenchError) {
  try {
    return parseArgs({
      args,
      options: {
        model: { type: 'string' },
        threads: { type: 'string' },
        rounds: { type: 'string' },
        prompt: { type: 'string' },
        decode: { type: 'string' },
        backend: { type: 'string' },
        engines: { type: 'string' },
        quick: { type: 'boolean' },
        gpu: { type: 'boolean' },
        record: { type: 'boolean' },
        profile: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

/** Throws what `wrong` makes of it. */
export function wholeAboveZero(flag: string, text: string, wrong: (problem: string) => BenchError): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1) throw wrong(`${flag} takes whole numbers above 0, not "${text}".`);
  return value;
}
