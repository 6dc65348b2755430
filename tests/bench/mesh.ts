/**
 * `npm run bench -- mesh`: one model over 1, 2 and 3 tabs, as tensor parallelism and as a pipeline, with links that are
 * as fast as they are or held back; against the same model in one tab.
 */
import { parseArgs } from 'node:util';
import type { Browser } from 'playwright';
import type { DeviceStatus, Generation } from '../../web/api.ts';
import { NUMBER_TYPES } from '../../web/mesh/wire.ts';
import { openMesh } from '../browser/support/mesh-pages.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import { describeMachine, loadAverage, machine } from './machine.ts';
import { withMeshBrowser } from './mesh-browser.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

/** EdgeVisor's root, three processes over TCP on loopback, the same model (issue 5): bytes sent and received a token. */
const EDGEVISOR_BYTES = 76_000 + 199_000;

const USAGE = `Usage: npm run bench -- mesh [options]

  --delays 0,1,3,10  one-way delays in ms on every link (default 0,1,3,10)
  --wire TYPE        ${NUMBER_TYPES.join(', ')} (default: the page's own)
  --decode N         tokens decoded (default 32)
  --rounds N         answers of each layout (default 3)
  --quick            one round, delays 0 and 3
  --help             print this text`;

interface Layout {
  name: string;
  ratios: string;
  devices: number;
}

const LAYOUTS: Layout[] = [
  { name: 'alone', ratios: '1', devices: 1 },
  { name: 'TP of 2', ratios: '1:1', devices: 2 },
  { name: 'TP of 3', ratios: '1:1:1', devices: 3 },
  { name: 'PP of 2', ratios: '1@15*1@15', devices: 2 },
  { name: 'PP of 3', ratios: '1@10*1@10*1@10', devices: 3 },
];

interface Measured {
  tokensPerSecond: number;
  /** Sent and received by the host, a decoded token. */
  hostBytes: number;
  prefillPerSecond: number;
}

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      delays: { type: 'string' },
      wire: { type: 'string' },
      decode: { type: 'string', default: '32' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return;
  }
  const delays = (values.delays ?? (values.quick ? '0,3' : '0,1,3,10')).split(',').map(Number);
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const decode = Number(values.decode);
  if ([...delays, rounds, decode].some((value) => !(value >= 0))) throw new BenchError(USAGE);

  const load = loadAverage();
  const rows: string[][] = [];
  await withMeshBrowser(async (browser, url) => {
    for (const delay of delays) {
      let alone: number | undefined;
      for (const layout of LAYOUTS) {
        if (layout.devices === 1 && delay > 0) continue;
        const measured = await measure(browser, url, layout, { delay, wire: values.wire, decode, rounds });
        const speed = summarize(measured.map(({ tokensPerSecond }) => tokensPerSecond)).median;
        if (layout.devices === 1) alone = speed;
        const bytes = summarize(measured.map(({ hostBytes }) => hostBytes)).median;
        rows.push([
          `${layout.name} (${layout.ratios}), ${delay} ms`,
          speed.toFixed(1),
          alone ? (speed / alone).toFixed(2) : '',
          summarize(measured.map(({ prefillPerSecond }) => prefillPerSecond)).median.toFixed(1),
          (bytes / 1000).toFixed(1),
          layout.name === 'TP of 3' ? (bytes / EDGEVISOR_BYTES).toFixed(2) : '',
        ]);
        console.error(rows.at(-1)?.join('  '));
      }
    }
  });
  const heads = ['layout', 'decode tok/s', '÷ alone', 'prefill tok/s', 'host kB a token', '÷ EdgeVisor'];
  console.log(`${DEFAULT_MODEL}, WASM, one thread a tab, wire ${values.wire ?? 'default'}, ${rounds} rounds; medians.`);
  console.log(`${describeMachine(machine(), load)}\n\n${table(heads, rows)}`);
}

async function measure(
  browser: Browser,
  url: string,
  { ratios, devices }: Layout,
  { delay, wire, decode, rounds }: { delay: number; wire: string | undefined; decode: number; rounds: number },
): Promise<Measured[]> {
  const query = `backend=wasm&threads=1&context=512${delay ? `&emulate=delay:${delay}` : ''}${wire ? `&wire=${wire}` : ''}`;
  const mesh = await openMesh(
    browser,
    { url },
    { host: query, devices: Array.from({ length: devices - 1 }, () => ({ query })) },
  );
  const ids = Array.from({ length: 64 }, (_, i) => 100 + i);
  const answer = (tokens: number): Promise<Generation> =>
    mesh.host.evaluate((options) => window.edgevisor.generate(options), {
      ...{ ids, maxTokens: tokens, temperature: 0, ignoreEos: true, reuse: false },
    });
  /** Over all links of the host. */
  const bytes = async () => {
    const { devices: all } = await mesh.host.evaluate(() => window.edgevisor.status());
    const { bytesSent, bytesReceived } = all[0] as DeviceStatus;
    return bytesSent + bytesReceived;
  };
  try {
    await mesh.host.evaluate((options) => window.edgevisor.load(options), { model: DEFAULT_MODEL, ratios });
    await answer(4);
    const measured: Measured[] = [];
    for (let round = 0; round < rounds; round++) {
      // The same prompt with one token tells what the prompt alone costs.
      const before = await bytes();
      await answer(1);
      const prompt = (await bytes()) - before;
      const { timings } = await answer(decode + 1);
      measured.push({
        tokensPerSecond: (1000 * timings.decodeTokens) / timings.decodeMs,
        prefillPerSecond: (1000 * timings.promptTokens) / timings.prefillMs,
        hostBytes: ((await bytes()) - before - 2 * prompt) / timings.decodeTokens,
      });
    }
    return measured;
  } finally {
    await mesh.close();
  }
}
