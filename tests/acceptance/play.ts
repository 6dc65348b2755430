/** Plays one acceptance test in real pages against the real server, and gathers what its judgement and its record need. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from '@playwright/test';
import { sendLine } from '../../scripts/plan.ts';
import type { DevicePasses, Generation, LoadInfo, LogEvent, Plan, Status, TokenEvent } from '../../web/api.ts';
import { within } from '../bench/within.ts';
import { devicesIn, type Form, type MoveCommand, SEED, SENT_AFTER } from './cases.ts';
import type { Pages, PagesOptions } from './pages.ts';

declare global {
  interface Window {
    /** What happens in the host page of an acceptance test. */
    acceptance: { tokens: TokenEvent[]; logs: LogEvent[] };
  }
}

export interface Stage extends Pick<PagesOptions, 'socket' | 'form'> {
  pages: Pages;
}

/** What is asked of the devices: a test, or the single-device run that it is compared with. */
export interface Task {
  backend: 'wasm' | 'webgpu';
  ratios: string;
  prompt: keyof Form['prompts'];
  steps: number;
  ignoreEos: boolean;
  move?: MoveCommand;
}

/** A request to the plan socket and its answer, verbatim. */
export interface Exchange {
  request: string;
  answer: string;
  /** Tokens of the answer that the host page had seen before and after. */
  seen: [before: number, after: number];
}

export interface Evidence {
  task: Task;
  /** Of the host page and the contributing ones, without the room's secret. */
  addresses: string[];
  /** Options of `generate`, as they were given. */
  options: object;
  /** The prompt as the model sees it. */
  promptText: string;
  loadMs: number;
  info: LoadInfo;
  before: Plan;
  after: Plan;
  generation: Generation;
  tokens: TokenEvent[];
  passes: DevicePasses[];
  /** When the answer was over. */
  status: Status;
  exchanges: Exchange[];
  /** Answers of `perf` and `layer_prof`. */
  perf: Perf;
  layers: LayerProfile;
  logs: LogEvent[];
  /** Browser and version. */
  browser: string;
}

export interface Perf {
  ok: boolean;
  perf: { position: number; nodeIndex: number; stageIndex: number; execUs: number; syncUs: number }[];
}

export interface LayerProfile {
  ok: boolean;
  layer_prof: {
    layers: { ok: boolean; nodeIndex: number; layerIndex: number; attnUs: number; ffnUs: number }[][];
  };
}

const LOAD_MS = 180_000;
const ANSWER_MS = 300_000;
const SETTLE_MS = 30_000;
const POLL_MS = 50;
/** Tokens of the answer during which single devices time their layers. */
const PROFILED_TOKENS = 8;
const FINAL = ['committed', 'refused', 'cancelled', 'failed'];

/** Rejects with an Error in words where the run cannot be carried out at all. */
export async function play(stage: Stage, task: Task): Promise<Evidence> {
  const { form, pages } = stage;
  const devices = devicesIn(task.ratios);
  try {
    const mesh = await pages.open(task);
    const { host } = mesh;
    const started = performance.now();
    const info = await ready(host, devices);
    const loadMs = performance.now() - started;
    const addresses = [host, ...mesh.devices].map((page) => page.url().replace(mesh.secret, '(the room’s secret)'));
    const exchanges: Exchange[] = [];
    const ask = (request: object) => exchange(host, stage.socket, request, exchanges);
    await ask({ op: 'ping' });
    await ask({ op: 'status' });
    const before = await planOf(host);

    const prompt = form.prompts[task.prompt];
    const options = {
      ...{ ...prompt, maxTokens: task.steps, temperature: 0, seed: SEED, ignoreEos: task.ignoreEos, reuse: false },
    };
    const answering = answer(host, options);
    if (task.move) {
      // An answer that ends before is judged, not waited for.
      await Promise.race([seen(host, SENT_AFTER).catch(() => undefined), answering]);
      await ask(task.move);
    }
    const generation = await within(ANSWER_MS, answering, 'The answer');
    await settled(ask);
    await counted(host, generation);
    const perf = (await ask({ op: 'perf' })) as unknown as Perf;
    const [passes, status, tokens] = await host.evaluate(async () =>
      Promise.all([window.edgevisor.passes(), window.edgevisor.status(), window.acceptance.tokens]),
    );
    const after = await planOf(host);
    return {
      ...{ task, addresses, options, loadMs, info, before, after, generation, tokens, passes, status, exchanges, perf },
      layers: await layerProfile(host, stage.socket, {
        ...{ ...options, maxTokens: PROFILED_TOKENS, ignoreEos: true, reuse: true },
      }),
      promptText: await promptText(host, prompt, generation.promptIds),
      logs: await host.evaluate(() => window.acceptance.logs),
      browser: browserName(host.context().browser()),
    };
  } finally {
    await pages.done();
  }
}

function browserName(browser: Browser | null): string {
  const name = browser?.browserType().name() ?? 'unknown';
  return `${name.charAt(0).toUpperCase()}${name.slice(1)} ${browser?.version() ?? ''}`;
}

/** The page loads what its address names; resolves when all devices have their shares. */
async function ready(host: Page, devices: number): Promise<LoadInfo> {
  await host.evaluate(() => {
    const logs: LogEvent[] = [];
    window.acceptance = { tokens: [], logs };
    window.edgevisor.on('log', (line) => logs.push(line));
  });
  const deadline = performance.now() + LOAD_MS;
  for (;;) {
    const { state, model } = await host.evaluate(() => window.edgevisor.status());
    if (state === 'ready' && model) return model;
    if (state === 'failed' || performance.now() > deadline) {
      const logs = await host.evaluate(() => window.acceptance.logs.map(({ text }) => text).join(' '));
      throw new Error(`The model was not loaded on ${devices} devices (state ${state}). ${logs}`);
    }
    await sleep(POLL_MS);
  }
}

async function planOf(host: Page): Promise<Plan> {
  const { plan } = await host.evaluate(() => window.edgevisor.status());
  if (!plan) throw new Error('No plan holds.');
  return plan;
}

/** Tokens are kept by the page as they come. */
const answer = (host: Page, options: object): Promise<Generation> =>
  host.evaluate((given) => {
    const { acceptance } = window;
    acceptance.tokens = [];
    return window.edgevisor.generate({ ...given, onToken: (token) => void acceptance.tokens.push(token) });
  }, options);

const seen = (host: Page, tokens: number) =>
  host.waitForFunction((least) => window.acceptance.tokens.length >= least, tokens, { polling: 5, timeout: ANSWER_MS });

const countSeen = (host: Page): Promise<number> => host.evaluate(() => window.acceptance.tokens.length);

type Json = Record<string, unknown>;

/** A dialogue through the socket that becomes part of the record. */
async function exchange(host: Page, socket: string, request: object, into: Exchange[]): Promise<Json> {
  const line = JSON.stringify(request);
  const before = await countSeen(host);
  const text = await sendLine(socket, line);
  into.push({ request: line, answer: text, seen: [before, await countSeen(host)] });
  return JSON.parse(text) as Json;
}

/** Devices say once a second how much they have computed: waits until they have said it of the whole answer. */
async function counted(host: Page, { promptIds, ids }: Generation): Promise<void> {
  const all = promptIds.length + ids.length - 1;
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const { devices } = await host.evaluate(() => window.edgevisor.status());
    // Who does not say it is judged by that.
    if (devices.every(({ self, tokens }) => self || tokens >= all) || performance.now() > deadline) return;
    await sleep(POLL_MS);
  }
}

/** Control tokens are shown where the text is known; token ids say nothing of them. */
const promptText = (host: Page, prompt: Form['prompts']['P1'], ids: number[]): Promise<string> =>
  'messages' in prompt
    ? host.evaluate((messages) => window.edgevisor.render(messages), prompt.messages)
    : host.evaluate((given) => window.edgevisor.detokenize(given), ids);

/** Waits until the move changes no more, which it says in `status`; only that last answer is of interest. */
async function settled(ask: (request: object) => Promise<Json>): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    const { moves } = (await ask({ op: 'status' })) as { moves?: { state: string }[] };
    const last = moves?.at(-1);
    if (!last || FINAL.includes(last.state) || performance.now() > deadline) return;
    await sleep(POLL_MS);
  }
}

/**
 * Times of all layers. Devices that have a stage for themselves measure only when asked, and in the pass after that: they
 * are asked once more while a few tokens are generated anew, when everything that is judged is over. The prompt is in the
 * cache then, so that every pass is one of a single token.
 */
async function layerProfile(host: Page, socket: string, options: object): Promise<LayerProfile> {
  const request = JSON.stringify({ op: 'layer_prof', all: true });
  const ask = async () => JSON.parse(await sendLine(socket, request)) as LayerProfile;
  const complete = ({ ok, layer_prof }: LayerProfile) =>
    ok && layer_prof.layers.every((rows) => rows.every((row) => row.ok));
  let profile = await ask();
  if (complete(profile)) return profile;
  let over = false;
  const again = answer(host, options).finally(() => {
    over = true;
  });
  while (!over && !complete(profile)) profile = await ask();
  await again;
  return complete(profile) ? profile : ask();
}
