/** `npm run convert`: models between GGUF and distributed-llama's files. See `--help`. */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { isKnownTemplate } from '../web/model/distributed-llama/chat.ts';
import type { WeightType } from '../web/model/distributed-llama/header.ts';
import { readDistributedLlama } from '../web/model/distributed-llama/model-file.ts';
import { readModelFile } from '../web/model/gguf.ts';
import { ModelError } from '../web/model/types.ts';
import { withSource, writeWhole } from './convert/files.ts';
import { toDistributedLlama } from './convert/to-distributed-llama.ts';
import { toGguf } from './convert/to-gguf.ts';

export const USAGE = `Usage: npm run convert -- IN.gguf OUT.m OUT.t [--type q40|q80|f32|f16]
       npm run convert -- IN.m IN.t OUT.gguf [--pre NAME]

From GGUF to distributed-llama's model and tokenizer, and back.
  --type TYPE   type of the matrices in the .m file (default q40; distributed-llama itself computes with q40 and f32 only);
                weights that have it already keep their bytes, others are rounded again
  --pre NAME    how the GGUF file's tokenizer cuts text into words (tokenizer.ggml.pre; default: a guess)
  --force       overwrite files that exist`;

const TYPES: Readonly<Record<string, WeightType>> = { q40: 'Q4_0', q80: 'Q8_0', f32: 'F32', f16: 'F16' };

/** The command cannot be carried out; `message` says why and what to do. */
export class ConvertError extends Error {
  override name = 'ConvertError';
}

interface Command {
  /** Names of the two kinds of files, in the order in which they are given. */
  files: [string, string, string];
  direction: 'to-distributed-llama' | 'to-gguf';
  weights: WeightType;
  pre: string | undefined;
}

/** Reads the arguments; undefined where help is asked for. Throws ConvertError. */
export function parseCommand(argv: readonly string[]): Command | undefined {
  const { values, positionals } = parsed(argv);
  if (values.help) return undefined;
  const endings = positionals.map((path) => /\.(gguf|m|t)$/i.exec(path)?.[1]?.toLowerCase());
  const direction =
    endings.join() === 'gguf,m,t' ? 'to-distributed-llama' : endings.join() === 'm,t,gguf' ? 'to-gguf' : undefined;
  if (!direction) throw new ConvertError(`Three files are needed, in one of these orders.\n\n${USAGE}`);
  const weights = TYPES[values.type ?? 'q40'];
  if (!weights) throw new ConvertError(`There is no type ${values.type}.\n\n${USAGE}`);
  if (direction === 'to-gguf' && values.type !== undefined) {
    throw new ConvertError('--type is for .m files: in the GGUF file, weights keep the type that they have.');
  }
  if (direction === 'to-distributed-llama' && values.pre !== undefined) {
    throw new ConvertError('--pre is for GGUF files: a .t file does not cut text into words.');
  }
  const made = direction === 'to-gguf' ? positionals.slice(2) : positionals.slice(1);
  const taken = values.force ? [] : made.filter((path) => existsSync(path));
  if (taken.length > 0) throw new ConvertError(`${taken.join(' and ')} exists already. --force overwrites it.`);
  return { files: positionals as [string, string, string], direction, weights, pre: values.pre };
}

function parsed(argv: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { type: text, pre: text, force: flag, help: { type: 'boolean', short: 'h' } },
    });
  } catch (error) {
    throw new ConvertError(`${(error as Error).message}\n\n${USAGE}`);
  }
}

/** Converts; tells through `say` what was done. Rejects with ConvertError or ModelError. */
export async function convert(argv: readonly string[], say: (line: string) => void): Promise<void> {
  const command = parseCommand(argv);
  if (!command) say(USAGE);
  else if (command.direction === 'to-gguf') await makeGguf(command, say);
  else await makeDistributedLlama(command, say);
}

async function makeDistributedLlama({ files, weights }: Command, say: (line: string) => void): Promise<void> {
  const [input, model, tokenizer] = files;
  await withSource(input, async (source) => {
    const made = await toDistributedLlama(source, weights);
    made.notes.forEach(say);
    await writeWhole(tokenizer, made.tokenizer.length, [made.tokenizer]);
    await writeWhole(model, made.modelBytes, made.model());
    const { difference, total } = made.rounding;
    if (total > 0) {
      say(
        `Weights of other types were rounded to ${nameOf(weights)}: mean error ${((100 * difference) / total).toFixed(2)} % of the mean weight. It is a different model; compare answers with this file only.`,
      );
    }
  });
  const template = await withSource(model, (m) =>
    withSource(tokenizer, async (t) => (await readDistributedLlama(m, t)).vocabulary?.file.template),
  );
  if (template === undefined || !isKnownTemplate(template)) {
    say(
      'distributed-llama does not know the chat template: give it --chat-template. The page uses the template itself.',
    );
  }
  say(`${model} and ${tokenizer} are ready.`);
}

async function makeGguf({ files, pre }: Command, say: (line: string) => void): Promise<void> {
  const [model, tokenizer, output] = files;
  await withSource(model, (m) =>
    withSource(tokenizer, async (t) => {
      const made = await toGguf(m, t, { name: basename(model).replace(/\.m$/i, ''), pre });
      made.notes.forEach(say);
      if (made.tied) say('The output head is the embedding, so that it is written once.');
      await writeWhole(output, made.bytes, made.content());
    }),
  );
  await withSource(output, (source) => readModelFile(source));
  say(`${output} is ready.`);
}

const nameOf = (weights: WeightType): string => Object.keys(TYPES).find((name) => TYPES[name] === weights)!;

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  convert(process.argv.slice(2), (line) => console.log(line)).catch((error: unknown) => {
    if (!(error instanceof ConvertError || error instanceof ModelError)) throw error;
    console.error(error.message);
    process.exitCode = 1;
  });
}
