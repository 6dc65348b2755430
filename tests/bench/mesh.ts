/**
 * `npm run bench -- mesh`: one model over 1, 2 and 3 tabs, as tensor parallelism and as a pipeline, with links that are
 * as fast as they are or held back; against the same model in one tab, and against what the network would allow.
 */
import { parseArgs } from 'node:util';
import type { DeviceStatus, Generation, Plan } from '../../web/api.ts';
import { HEADER_BYTES } from '../../web/mesh/frames.ts';
import { NUMBER_TYPES, type NumberType, wireBytes } from '../../web/mesh/wire.ts';
import { DEFAULT_MODEL } from '../browser/support/models.ts';
import { BenchError } from './bench-error.ts';
import { loadAverage, machine } from './machine.ts';
import { type OpenMesh, withMeshBrowser } from './mesh-browser.ts';
import { type MemberTimes, type MeshResult, type MeshRow, memberTimes, renderMesh } from './mesh-report.ts';
import { record, writeResults } from './results.ts';
import { summarize } from './statistics.ts';

const DEFAULT_WIRE: NumberType = 'q15';

const USAGE = `Usage: npm run bench -- mesh [options]

  --delays 0,1,3,10  one-way delays in ms on every link (default 0,1,3,10)
  --wire TYPE        ${NUMBER_TYPES.join(', ')} (default: the page's own, ${DEFAULT_WIRE})
  --decode N         tokens decoded (default 32)
  --rounds N         answers of each layout (default 3)
  --quick            one round, delays 0 and 3
  --record           also write the tables into docs/benchmarks.md
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

interface Settings {
  delay: number;
  wire: NumberType;
  decode: number;
  rounds: number;
}

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      delays: { type: 'string' },
      wire: { type: 'string', default: DEFAULT_WIRE },
      decode: { type: 'string', default: '32' },
      rounds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
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
  const wire = NUMBER_TYPES.find((type) => type === values.wire);
  if ([...delays, rounds, decode].some((value) => !(value >= 0)) || !wire) throw new BenchError(USAGE);

  const loadBefore = loadAverage();
  const rows: MeshRow[] = [];
  await withMeshBrowser(async (openMesh) => {
    for (const delay of delays) {
      for (const layout of LAYOUTS) {
        // Nobody to wait for.
        if (layout.devices === 1 && delay !== delays[0]) continue;
        rows.push(await measure(openMesh, layout, { delay, wire, decode, rounds }));
        const { tokensPerSecond } = rows.at(-1) as MeshRow;
        console.error(`${layout.name}, ${delay} ms: ${summarize(tokensPerSecond).median.toFixed(1)} tokens a second`);
      }
    }
  });
  const result: MeshResult = {
    ...{ benchmark: 'mesh', date: new Date().toISOString(), machine: machine(), loadBefore },
    ...{ model: DEFAULT_MODEL, wire, rounds, decodeTokens: decode, rows },
  };
  const markdown = renderMesh(result);
  console.log(`\n${markdown}\nAll figures: ${writeResults('mesh', result)}`);
  if (values.record) console.error(`Written into ${record('mesh', markdown)}.`);
}

async function measure(
  openMesh: OpenMesh,
  { name, ratios, devices }: Layout,
  { delay, wire, decode, rounds }: Settings,
): Promise<MeshRow> {
  const delayed = delay ? `&emulate=delay:${delay}` : '';
  const mesh = await openMesh(`backend=wasm&threads=1&context=512&wire=${wire}${delayed}`, devices - 1);
  const { host } = mesh;
  const ids = Array.from({ length: 64 }, (_, i) => 100 + i);
  const answer = (tokens: number): Promise<Generation> =>
    host.evaluate((options) => window.edgevisor.generate(options), {
      ...{ ids, maxTokens: tokens, temperature: 0, ignoreEos: true, reuse: false },
    });
  /** Over all links of the host. */
  const bytes = async () => {
    const { devices: all } = await host.evaluate(() => window.edgevisor.status());
    const { bytesSent, bytesReceived } = all[0] as DeviceStatus;
    return bytesSent + bytesReceived;
  };
  const delayOf = (size: number) => host.evaluate((asked) => window.edgevisor.linkDelays(asked), size + HEADER_BYTES);
  try {
    const info = await host.evaluate((options) => window.edgevisor.load(options), { model: DEFAULT_MODEL, ratios });
    await answer(4);
    const { dim } = info.shape;
    const row: MeshRow = {
      ...{ layout: name, ratios, delayMs: delay, plan: info.plan as Plan },
      ...{ tokensPerSecond: [], prefillPerSecond: [], hostBytes: [], members: [] },
      delays: { sum: await delayOf(wireBytes(wire, dim)), row: await delayOf(wireBytes('f32', dim)) },
    };
    const times: MemberTimes[][] = [];
    for (let round = 0; round < rounds; round++) {
      // The same prompt with one token tells what the prompt alone costs.
      const before = await bytes();
      await answer(1);
      const prompt = (await bytes()) - before;
      const { timings } = await answer(decode + 1);
      row.tokensPerSecond.push((1000 * timings.decodeTokens) / timings.decodeMs);
      row.prefillPerSecond.push((1000 * timings.promptTokens) / timings.prefillMs);
      row.hostBytes.push(((await bytes()) - before - 2 * prompt) / timings.decodeTokens);
      times.push(memberTimes(await host.evaluate(() => window.edgevisor.passes()), decode));
    }
    row.members = medians(times);
    return row;
  } finally {
    await mesh.close();
  }
}

/** Of every device over the rounds. */
function medians(rounds: MemberTimes[][]): MemberTimes[] {
  const devices = [...new Set(rounds.flat().map(({ device }) => device))];
  return devices.map((device) => {
    const own = rounds.flat().filter((one) => one.device === device);
    const median = (pick: (one: MemberTimes) => number) => summarize(own.map(pick)).median;
    return {
      device,
      computeMs: median(({ computeMs }) => computeMs),
      syncMs: median(({ syncMs }) => syncMs),
      sentBytes: median(({ sentBytes }) => sentBytes),
      receivedBytes: median(({ receivedBytes }) => receivedBytes),
    };
  });
}
