/** `npm run bench -- single`: one device, ours against wllama and native llama.cpp on the same file and threads. */
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Engine, labelOf, type OpenEngine, type Run, type Workload } from './engine.ts';
import { native } from './engines/native.ts';
import { ours } from './engines/ours.ts';
import { wllama } from './engines/wllama.ts';
import { loadAverage, machine } from './machine.ts';
import { modelFile } from './model-file.ts';
import { parseSingleOptions, SINGLE, type SingleOptions, usage } from './options.ts';
import { ensurePeers } from './peers.ts';
import { readPrompts } from './prompt.ts';
import { record, writeResults } from './results.ts';
import { knownTexts } from './rounding.ts';
import { startOurServer, startPeerServer } from './servers.ts';
import { type EngineResult, layerTables, renderSingle, type SingleResult } from './single-report.ts';
import { within } from './within.ts';

/** For the time to the first token. */
const SHORT_PROMPT_TOKENS = 8;
/** More where the prompt needs it. */
const CONTEXT = 512;
/** Threads that spin while they wait for work have gone to sleep by then. */
const PAUSE_MS = 300;
const LONGEST_START_MS = 15 * 60_000;
const LONGEST_RUN_MS = 10 * 60_000;

interface Contender {
  engine: Engine;
  result: EngineResult;
  open?: OpenEngine;
}

export async function main(args: string[]): Promise<void> {
  const options = parseSingleOptions(args);
  if (options === 'help') {
    console.log(usage(SINGLE));
    return;
  }
  const report = await measureSingle(options);
  const markdown = renderSingle(report);
  console.log(
    `\n${[markdown, layerTables(report)].filter(Boolean).join('\n\n')}\nAll figures: ${writeResults('single', report)}`,
  );
  if (options.record) say(`Written into ${record('single', markdown)}.`);
  if (report.engines.some(({ failure }) => failure)) process.exitCode = 1;
}

/** All engines that the options name, on one file. One that fails is in the result, with why. */
export async function measureSingle(options: SingleOptions): Promise<SingleResult> {
  const workload = await prepare(options);
  if (options.engines.some((family) => family !== 'ours')) {
    await ensurePeers({ native: options.engines.includes('native') }, say);
  }
  const loadBefore = loadAverage();
  const results = await withServers(workload.directory, (servers) =>
    measure(engines(options, servers), workload, options),
  );
  return {
    benchmark: 'single',
    date: new Date().toISOString(),
    machine: machine(),
    loadBefore,
    workload: {
      model: workload.file,
      bytes: workload.bytes,
      promptTokens: workload.prompt.ids.length,
      decodeTokens: workload.decodeTokens,
      context: workload.context,
    },
    rounds: options.rounds,
    engines: results,
  };
}

const say = (line: string): void => console.error(line);

async function prepare(options: SingleOptions): Promise<Workload> {
  const { model, prompt: promptTokens, decode: decodeTokens, rounding } = options;
  const { directory, file, path } = modelFile(model);
  const [prompt, shortPrompt] = await readPrompts(path, [promptTokens, SHORT_PROMPT_TOKENS]);
  return {
    ...{ directory, file, bytes: statSync(path).size },
    ...{ prompt: prompt!, shortPrompt: shortPrompt!, decodeTokens },
    context: Math.max(CONTEXT, promptTokens + decodeTokens + 1),
    texts: rounding ? await knownTexts(path) : undefined,
  };
}

interface Servers {
  ours: string;
  peers: string;
}

async function withServers<T>(models: string, work: (servers: Servers) => Promise<T>): Promise<T> {
  const peers = await startPeerServer(models);
  try {
    const own = await startOurServer(models);
    try {
      return await work({ ours: own.url, peers: peers.url });
    } finally {
      await own.close();
    }
  } finally {
    await peers.close();
  }
}

function engines({ backends, threads, engines: families, gpu }: SingleOptions, servers: Servers): Engine[] {
  const page = { url: servers.ours, emptyPage: servers.peers, gpu };
  const most = Math.max(...threads);
  const all: Engine[] = [
    ...(backends.includes('wasm') ? threads.map((n) => ours({ ...page, backend: 'wasm', threads: n })) : []),
    ...(backends.includes('webgpu') ? [ours({ ...page, backend: 'webgpu', threads: most })] : []),
    ...threads.map((n) => wllama({ threads: n, url: servers.peers })),
    ...threads.map((n) => native(n)),
  ];
  return all.filter(({ family }) => families.includes(family));
}

async function measure(
  list: Engine[],
  workload: Workload,
  { rounds, profile }: SingleOptions,
): Promise<EngineResult[]> {
  const contenders = list.map((engine): Contender => {
    const { family, backend, threads } = engine;
    return { engine, result: { family, backend, threads, description: '', start: {}, runs: [] } };
  });
  try {
    for (const contender of contenders) await attempt(contender, () => start(contender, workload));
    for (let round = 0; round < rounds; round++) {
      say(`Round ${round + 1} of ${rounds} …`);
      // Everyone comes first once in a while: whoever runs after a pause may find a cooler processor.
      for (let i = 0; i < contenders.length; i++) {
        const contender = contenders[(i + round) % contenders.length]!;
        await attempt(contender, () => runOnce(contender));
      }
    }
    if (profile) for (const contender of contenders) await attempt(contender, () => profileOnce(contender));
    for (const contender of contenders) await attempt(contender, () => judgeOnce(contender, workload));
  } finally {
    await Promise.allSettled(contenders.map(({ open }) => open?.close()));
  }
  return contenders.map(({ result }) => result);
}

async function start(contender: Contender, workload: Workload): Promise<void> {
  const label = labelOf(contender.engine);
  say(`Starting ${label} …`);
  contender.open = await within(LONGEST_START_MS, contender.engine.open(workload), `The start of ${label}`);
  contender.result.description = contender.open.description;
  contender.result.start = contender.open.start;
}

async function runOnce({ engine, open, result }: Contender): Promise<void> {
  if (!open || result.failure) return;
  await sleep(PAUSE_MS);
  const run: Run = await within(LONGEST_RUN_MS, open.run(), `A run of ${labelOf(engine)}`);
  result.runs.push(run);
}

/** After the rounds, since looking at the clock costs time. */
async function profileOnce({ engine, open, result }: Contender): Promise<void> {
  if (!open?.profile || result.failure) return;
  say(`Where the time of ${labelOf(engine)} goes …`);
  result.profile = await within(LONGEST_RUN_MS, open.profile(), `The profile of ${labelOf(engine)}`);
}

async function judgeOnce({ engine, open, result }: Contender, { texts }: Workload): Promise<void> {
  if (!open?.rounding || !texts || result.failure) return;
  say(`How far ${labelOf(engine)} is from the exact answers …`);
  result.rounding = await within(LONGEST_RUN_MS, open.rounding(texts), `The texts of ${labelOf(engine)}`);
}

/** One engine that fails does not take away the others' figures; the report names it, and the exit code too. */
async function attempt({ engine, result }: Contender, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    result.failure = error instanceof Error ? error.message : String(error);
    say(`${labelOf(engine)} failed: ${result.failure}`);
  }
}
