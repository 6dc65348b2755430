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
}

const FAMILIES: readonly Family[] = ['ours', 'wllama', 'native'];
const ROUNDS = 9;
const QUICK_ROUNDS = 3;
const PROMPT_TOKENS = 128;
const DECODE_TOKENS = 64;

export const SINGLE_USAGE = `Usage: npm run bench -- single [options]

  --model NAME       a file in models/ (or MODELS_DIR), without .gguf (default ${DEFAULT_MODEL})
  --threads 1,2      numbers of threads to measure with (default 1,2)
  --rounds N         rounds, in which every engine runs once (default ${ROUNDS})
  --prompt N         tokens of the prefill (default ${PROMPT_TOKENS})
  --decode N         tokens decoded after the first (default ${DECODE_TOKENS})
  --backend B        wasm, webgpu or both: of ours (default both)
  --engines LIST     some of ${FAMILIES.join(',')} (default all)
  --quick            ${QUICK_ROUNDS} rounds
  --gpu              WebGPU on the machine's GPU instead of the software adapter
  --record           also write the table into docs/benchmarks.md
  --help             print this text`;

/** Reads the command line; gives `help` where the usage was asked for. Throws BenchError. */
export function parseSingleOptions(args: string[]): SingleOptions | 'help' {
  const given = readFlags(args);
  if (given.help) return 'help';
  const backend = given.backend ?? 'both';
  if (backend !== 'wasm' && backend !== 'webgpu' && backend !== 'both')
    throw wrong(`--backend must be wasm, webgpu or both, not "${backend}".`);
  const engines = (given.engines ?? FAMILIES.join()).split(',');
  const unknown = engines.find((name) => !FAMILIES.some((family) => family === name));
  if (unknown !== undefined) throw wrong(`There is no engine "${unknown}".`);
  return {
    model: (given.model ?? DEFAULT_MODEL).replace(/\.gguf$/, ''),
    threads: (given.threads ?? '1,2').split(',').map((text) => positive('--threads', text)),
    rounds: given.rounds !== undefined ? positive('--rounds', given.rounds) : given.quick ? QUICK_ROUNDS : ROUNDS,
    prompt: positive('--prompt', given.prompt ?? String(PROMPT_TOKENS)),
    decode: positive('--decode', given.decode ?? String(DECODE_TOKENS)),
    backends: backend === 'both' ? ['wasm', 'webgpu'] : [backend],
    engines: FAMILIES.filter((family) => engines.includes(family)),
    gpu: given.gpu ?? false,
    record: given.record ?? false,
  };
}

function readFlags(args: string[]) {
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
        help: { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1) throw wrong(`${flag} takes whole numbers above 0, not "${text}".`);
  return value;
}

const wrong = (problem: string) => new BenchError(`${problem}\n\n${SINGLE_USAGE}`);
