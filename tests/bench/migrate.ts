/**
 * `npm run bench -- migrate`: random legal moves in one greedy answer, against the same answer without moves: is the text
 * the same, how long are the gaps between tokens, how much speed is lost. Once with heads and FFN columns over three
 * tabs, once with layers over two.
 */
import { parseArgs } from 'node:util';
import type { Browser, Page } from 'playwright';
import type { Migration, MoveReport, Plan } from '../../web/api.ts';
import { count } from '../../web/plan/ranges.ts';
import { openMesh } from '../browser/support/mesh-pages.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import { loadAverage, machine } from './machine.ts';
import { withMeshBrowser } from './mesh-browser.ts';
import { type MigrateResult, type MigrateRun, renderMigrate } from './migrate-report.ts';
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
/** The default model has three query heads to a KV head, and FFN columns move in blocks. */
const HEADS_OF_A_KV_HEAD = 3;
const BLOCK = 32;

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
  await withMeshBrowser(async (browser, url) => {
    for (const ratios of values.ratios.split(',')) runs.push(await measure(browser, url, ratios, options));
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

async function measure(browser: Browser, url: string, ratios: string, options: Options): Promise<MigrateRun> {
  const { tokens, backend } = options;
  const query = `backend=${backend}&threads=1&context=512`;
  const tabs = ratios.split(/[:*]/).length;
  const devices = Array.from({ length: tabs - 1 }, () => ({ query }));
  const mesh = await openMesh(browser, { url }, { host: query, devices });
  try {
    await mesh.host.evaluate((wanted) => window.edgevisor.load(wanted), { model: DEFAULT_MODEL, ratios });
    await answer(mesh.host, WARM_UP_TOKENS);
    const still = await answer(mesh.host, tokens);
    const moving = answer(mesh.host, tokens);
    const moves = await moveAtRandom(mesh.host, options, moving);
    const moved = await moving;
    return {
      ...{ ratios, tabs, tokens, moves },
      sameText: moved.ids.join() === still.ids.join(),
      stillGapsMs: still.timings.gapsMs,
      movedGapsMs: moved.timings.gapsMs,
    };
  } finally {
    await mesh.close();
  }
}

const answer = (host: Page, tokens: number) =>
  host.evaluate((options) => window.edgevisor.generate(options), {
    ...{ prompt: 'Once upon a time', maxTokens: tokens, temperature: 0, ignoreEos: true, reuse: false },
  });

/** One random legal move after another, until there have been enough or the answer is over. */
async function moveAtRandom(
  host: Page,
  { moves: wanted, seed }: Options,
  answering: Promise<unknown>,
): Promise<MoveReport[]> {
  let over = false;
  void answering.then(() => {
    over = true;
  });
  let state = seed;
  // Park and Miller's generator: the same moves for the same seed.
  const random = (below: number) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  const ids: number[] = [];
  while (ids.length < wanted && !over) {
    const { plan } = await host.evaluate(() => window.edgevisor.status());
    const move = plan && randomMove(plan, random);
    if (move) ids.push((await host.evaluate((asked) => window.edgevisor.migrate(asked), move)).id);
  }
  await answering;
  // The gap around a commit is known only after the next token.
  const { moves } = await host.evaluate(() => window.edgevisor.status());
  return moves.filter(({ id }) => ids.includes(id));
}

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
  const heads = Math.floor(count(members[from].qHeads) / HEADS_OF_A_KV_HEAD);
  const blocks = Math.floor(count(members[from].ffn) / BLOCK);
  if (kind === 1) return heads > 0 ? { from, to, kind, heads: 1 + random(heads) } : undefined;
  return blocks > 0 ? { from, to, kind, ffn: BLOCK * (1 + random(blocks)) } : undefined;
}
