/**
 * `npm run bench -- migrate`: random legal moves in one greedy answer over three tabs, against the same answer without
 * moves: is the text the same, how long are the gaps between tokens, how much speed is lost.
 */
import { parseArgs } from 'node:util';
import type { Page } from 'playwright';
import type { MoveReport, Plan } from '../../web/api.ts';
import { count } from '../../web/plan/ranges.ts';
import { openMesh } from '../browser/support/mesh-pages.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { describeMachine, loadAverage, machine } from './machine.ts';
import { withMeshBrowser } from './mesh-browser.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

const USAGE = `Usage: npm run bench -- migrate [options]

  --moves N          moves in the answer (default 20)
  --tokens N         tokens of the answer (default 400)
  --backend B        wasm or webgpu (default wasm)
  --seed N           of the random moves (default 1)
  --quick            5 moves in 100 tokens
  --help             print this text`;

const RATIOS = '1:1:1';

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      moves: { type: 'string' },
      tokens: { type: 'string' },
      backend: { type: 'string', default: 'wasm' },
      seed: { type: 'string', default: '1' },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const moves = Number(values.moves ?? (values.quick ? 5 : 20));
  const tokens = Number(values.tokens ?? (values.quick ? 100 : 400));
  const load = loadAverage();
  await withMeshBrowser(async (browser, url) => {
    const query = `backend=${values.backend}&threads=1&context=512`;
    const mesh = await openMesh(browser, { url }, { host: query, devices: [{ query }, { query }] });
    try {
      await mesh.host.evaluate((options) => window.edgevisor.load(options), { model: DEFAULT_MODEL, ratios: RATIOS });
      const still = await answer(mesh.host, tokens);
      const moving = answer(mesh.host, tokens);
      const reports = await moveAtRandom(mesh.host, moves, Number(values.seed), moving);
      const moved = await moving;
      const token = summarize(still.timings.gapsMs).median;
      const gaps = reports.map(({ longestGapMs }) => longestGapMs / token);
      const speed = still.timings.decodeMs / moved.timings.decodeMs;
      console.log(`${DEFAULT_MODEL}, ${values.backend}, three tabs, ${reports.length} moves in ${tokens} tokens.`);
      console.log(`${describeMachine(machine(), load)}\n`);
      console.log(`Text equal to the unmoved run: ${String(moved.ids.join() === still.ids.join())}`);
      const ms = (pick: (report: MoveReport) => number) => summarize(reports.map(pick)).median.toFixed(1);
      console.log(
        table(
          ['', 'median', 'highest'],
          [
            ['gap around a move ÷ median token', summarize(gaps).median.toFixed(2), Math.max(...gaps).toFixed(2)],
            ['prepare, ms', ms(({ prepareMs }) => prepareMs), ''],
            ['copy, ms', ms(({ copyMs }) => copyMs), ''],
            ['commit, ms', ms(({ commitMs }) => commitMs), ''],
            ['KV copied, kB', ms(({ kvBytes }) => kvBytes / 1000), ''],
            ['weights, kB', ms(({ weightBytes }) => weightBytes / 1000), ''],
            ['tokens/s ÷ unmoved run', speed.toFixed(2), ''],
          ],
        ),
      );
    } finally {
      await mesh.close();
    }
  });
}

const answer = (host: Page, tokens: number) =>
  host.evaluate((options) => window.edgevisor.generate(options), {
    ...{ prompt: 'Once upon a time', maxTokens: tokens, temperature: 0, ignoreEos: true, reuse: false },
  });

/** One random legal move after another, until there have been enough or the answer is over. */
async function moveAtRandom(
  host: Page,
  wanted: number,
  seed: number,
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
  const reports: MoveReport[] = [];
  while (reports.length < wanted && !over) {
    const { plan } = await host.evaluate(() => window.edgevisor.status());
    const move = plan && randomMove(plan, random);
    if (!move) continue;
    reports.push(await host.evaluate((asked) => window.edgevisor.migrate(asked), move));
  }
  return reports;
}

function randomMove({ stages: [{ members }] }: Plan, random: (below: number) => number) {
  const from = random(members.length);
  const to = (from + 1 + random(members.length - 1)) % members.length;
  const kind = (1 + random(2)) as 1 | 2;
  // SmolLM2 has three query heads to a KV head.
  const heads = Math.floor(count(members[from].qHeads) / 3);
  const blocks = Math.floor(count(members[from].ffn) / 32);
  if (kind === 1) return heads > 0 ? { from, to, kind, heads: 1 + random(heads) } : undefined;
  return blocks > 0 ? { from, to, kind, ffn: 32 * (1 + random(blocks)) } : undefined;
}
