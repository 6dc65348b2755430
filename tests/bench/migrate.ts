/**
 * `npm run bench -- migrate`: random legal moves in one greedy answer, against the same answer without moves: is the text
 * the same, how long are the gaps between tokens, how much speed is lost. Once with heads and FFN columns over three
 * tabs, once with layers over two.
 */
import { parseArgs } from 'node:util';
import type { Migration, MoveReport, Plan } from '../../web/api.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import { loadAverage, machine } from './machine.ts';
import { type OpenMesh, withMeshBrowser } from './mesh-browser.ts';
import { type GapMark, type MigrateResult, type MigrateRun, renderMigrate } from './migrate-report.ts';
import type { BenchPage } from './page.ts';
import { record, writeResults } from './results.ts';

const USAGE = `Usage: npm run bench -- migrate [options]

  --moves N          moves in the answer (default 20)
  --tokens N         tokens of the answer (default 400)
  --ratios A,B       plans to begin with (default 1:1:1,1@15*1@15)
  --backend B        wasm or webgpu (default wasm)
  --seed N           of the random moves (default 1)
  --quick            5 moves in 100 tokens
  --record           write the table into docs/benchmarks.md
  --help             print this text`;

/** Tokens of an answer before anything is measured: code is compiled, and memory has been touched. */
const WARM_UP_TOKENS = 8;

interface Options {
  moves: number;
  tokens: number;
  backend: string;
  seed: number;
}

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      moves: { type: 'string' },
      tokens: { type: 'string' },
      ratios: { type: 'string', default: '1:1:1,1@15*1@15' },
      backend: { type: 'string', default: 'wasm' },
      seed: { type: 'string', default: '1' },
      quick: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const options: Options = {
    moves: Number(values.moves ?? (values.quick ? 5 : 20)),
    tokens: Number(values.tokens ?? (values.quick ? 100 : 400)),
    backend: values.backend,
    seed: Number(values.seed),
  };
  if ([options.moves, options.tokens, options.seed].some((value) => !(value >= 1))) throw new BenchError(USAGE);
  const loadBefore = loadAverage();
  const runs: MigrateRun[] = [];
  await withMeshBrowser(async (openMesh) => {
    for (const ratios of values.ratios.split(',')) runs.push(await measure(openMesh, ratios, options));
  });
  const report: MigrateResult = {
    ...{ benchmark: 'migrate', date: new Date().toISOString(), machine: machine(), loadBefore, model: DEFAULT_MODEL },
    ...{ backend: options.backend, seed: options.seed, runs },
  };
  const path = writeResults('migrate', report);
  const markdown = renderMigrate(report);
  console.log(`\n${markdown}\n\nAll figures: ${path}`);
  if (values.record) console.error(`Written into ${record('migrate', markdown)}.`);
}

async function measure(openMesh: OpenMesh, ratios: string, options: Options): Promise<MigrateRun> {
  const { tokens, backend } = options;
  const tabs = ratios.split(/[:*]/).length;
  const mesh = await openMesh(`backend=${backend}&threads=1&context=512`, tabs - 1);
  try {
    await mesh.host.evaluate((wanted) => window.edgevisor.load(wanted), { model: DEFAULT_MODEL, ratios });
    await answer(mesh.host, WARM_UP_TOKENS);
    const still = await answer(mesh.host, tokens);
    const { moved, moves, marks } = await answerWithMoves(mesh.host, options);
    return {
      ...{ ratios, tabs, tokens, moves, marks },
      sameText: moved.ids.join() === still.ids.join(),
      stillGapsMs: still.timings.gapsMs,
      movedGapsMs: moved.timings.gapsMs,
    };
  } finally {
    await mesh.close();
  }
}

const answerOptions = (tokens: number) => ({
  ...{ prompt: 'Once upon a time', maxTokens: tokens, temperature: 0, ignoreEos: true, reuse: false },
});

const answer = (host: BenchPage, tokens: number) =>
  host.evaluate((options) => window.edgevisor.generate(options), answerOptions(tokens));

type Answer = Awaited<ReturnType<typeof answer>>;

/**
 * The same answer with random legal moves, spread evenly over its tokens, each once the one before is through. The page
 * counts and asks itself: messages of the test driver would take time from the tokens.
 */
async function answerWithMoves(
  host: BenchPage,
  { moves: wanted, tokens, seed }: Options,
): Promise<{ moved: Answer; moves: MoveReport[]; marks: GapMark[] }> {
  await host.define('randomMove', randomMove);
  return host.evaluate(
    async ({ options, wanted, every, seed }) => {
      const { randomMove } = window as unknown as { randomMove: RandomMove };
      let state = seed;
      // Park and Miller's generator: the same moves for the same seed.
      const random = (below: number) => {
        state = (state * 48271) % 2147483647;
        return state % below;
      };
      const ids: number[] = [];
      const marks: GapMark[] = [];
      let token = 0;
      let under = false;
      let disturbed = false;
      let failure: unknown;
      const moveNext = async () => {
        under = true;
        disturbed = true;
        const { plan } = await window.edgevisor.status();
        for (let move: Migration | undefined; plan && !move; ) {
          move = randomMove(plan, random);
          if (move) ids.push((await window.edgevisor.migrate(move)).id);
        }
        under = false;
      };
      const stop = window.edgevisor.on('token', () => {
        if (token > 0) marks.push({ plan: ids.length, disturbed });
        disturbed = under;
        token++;
        if (!under && ids.length < wanted && token >= every * (ids.length + 0.5))
          moveNext().catch((error: unknown) => {
            failure = error;
          });
      });
      const moved = await window.edgevisor.generate(options);
      stop();
      if (failure) throw failure;
      // The gap around a commit is known only after the next token.
      const { moves } = await window.edgevisor.status();
      return { moved, moves: moves.filter(({ id }) => ids.includes(id)), marks };
    },
    { options: answerOptions(tokens), wanted, every: tokens / wanted, seed },
  );
}

type RandomMove = typeof randomMove;

/** Sent to the page, where nothing of this module is known. */
function randomMove({ stages }: Plan, random: (below: number) => number): Migration | undefined {
  if (stages.length > 1) {
    const from = random(stages.length);
    const to = from === 0 ? 1 : from - 1;
    const [first, last] = stages[from].layers;
    return last - first > 1 ? { from, to, layers: 1 + random(last - first - 1) } : undefined;
  }
  const [{ members }] = stages;
  const from = random(members.length);
  const to = (from + 1 + random(members.length - 1)) % members.length;
  const kind = (1 + random(2)) as 1 | 2;
  const sum = (ranges: readonly (readonly [number, number])[]) =>
    ranges.reduce((total, [first, end]) => total + end - first, 0);
  // The default model has three query heads to a KV head, and FFN columns move in blocks of 32.
  const heads = Math.floor(sum(members[from].qHeads) / 3);
  const blocks = Math.floor(sum(members[from].ffn) / 32);
  if (kind === 1) return heads > 0 ? { from, to, kind, heads: 1 + random(heads) } : undefined;
  return blocks > 0 ? { from, to, kind, ffn: 32 * (1 + random(blocks)) } : undefined;
}
