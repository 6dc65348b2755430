/** The eight acceptance tests: EdgeVisor's six (`tests/semantic/run_six_benchmark_tests.sh`), and two that move a layer. */
import type { Message } from '../../web/api.ts';

/** A command of the plan socket, sent while text flows. */
export type MoveCommand =
  | {
      op: 'set_plan';
      cmd: {
        seq: number;
        mode: 'next_barrier';
        stageIndex: number;
        fromNodeIndex: number;
        toNodeIndex: number;
        /** 1: heads. */
        cmdKind: 1;
        nHeadsToMove: number;
        nFfnToMove: number;
      };
    }
  | {
      op: 'set_pp_migration';
      cmd: {
        seq: number;
        mode: 'next_barrier';
        stageIndex: number;
        fromNodeIndex: number;
        toNodeIndex: number;
        layerCount: number;
      };
    };

export interface AcceptanceCase {
  number: number;
  /** Of its record: `01-cpu-single.md`. */
  slug: string;
  title: string;
  /** What the test does and must find, for the record's reader. */
  about: string;
  backend: 'wasm' | 'webgpu';
  ratios: string;
  prompt: keyof Form['prompts'];
  /** Tokens of the answer at most. */
  steps: number;
  move?: MoveCommand;
}

/** What one run of the tests has in common: the long form (`npm run acceptance`) or the short one of `npm test`. */
export interface Form {
  /** As in the page's address. */
  model: string;
  /** P1 for the tests without a move, P2 for those with one. */
  prompts: Record<'P1' | 'P2', { messages: Message[] } | { ids: number[] }>;
  /** In place of the tests' own number. */
  steps?: number;
  /** Goes on after an end-of-turn token in every test. */
  ignoreEos?: boolean;
  /** More of the query of every page. */
  query?: string;
  /** Greedy tokens that the model is known to give for these prompt tokens; undefined where nothing is known. */
  expected(promptIds: number[]): number[] | undefined;
}

export const CONTEXT = 512;
export const SEED = 1;

/** Tokens that must lie between the first one and the move, and between the move and the last one. */
export const MARGIN = 5;
/** Tokens that have been seen when the command is sent. */
export const SENT_AFTER = 6;
/** A shorter answer leaves a move no time: it goes on after its end then. */
export const SHORTEST_FOR_MOVE = 4 * MARGIN;

const ANY_STAGE = 0xffffffff;

/** EdgeVisor's command: one KV head from node 1 to node 2 of stage 0. */
const moveHead = (seq: number): MoveCommand => ({
  op: 'set_plan',
  cmd: {
    ...{ seq, mode: 'next_barrier', stageIndex: 0, fromNodeIndex: 1, toNodeIndex: 2 },
    ...{ cmdKind: 1, nHeadsToMove: 1, nFfnToMove: 0 },
  },
});

/** As EdgeVisor's `run_gpu_pp_migration.sh`: one layer, the last of a stage, to the next stage. */
const moveLayer = (seq: number): MoveCommand => ({
  op: 'set_pp_migration',
  cmd: { seq, mode: 'next_barrier', stageIndex: ANY_STAGE, fromNodeIndex: 1, toNodeIndex: 2, layerCount: 1 },
});

const UNEVEN = '2:3:3';
/**
 * Two devices share the first half of the layers, one has the second half. (The other way round, `2*1:1` can be read for
 * two devices too: stages of weight 2, two equal members.)
 */
const TWO_STAGES = '1:1*2';

const ABOUT = {
  single: 'One tab has the whole model and answers a short question. The other tests are held against such runs.',
  uneven:
    'Three tabs compute every layer together, in shares of 2:3:3, and answer a short question. The answer must be the one that a single tab gives.',
  head: 'Three tabs compute every layer together, in shares of 2:3:3. While the answer streams, one KV head (with its query heads, weights and cache) goes from node 1 to node 2. The answer must be the one that a single tab gives.',
  layer:
    'Two tabs compute the first layers together, a third one has the rest. While the answer streams, the border moves by one layer, with its weights and cache. The answer must be the one that a single tab gives.',
};

export const CASES: readonly AcceptanceCase[] = [
  {
    ...{ number: 1, slug: 'cpu-single', title: 'CPU, one device', backend: 'wasm' },
    about: ABOUT.single,
    ...{ ratios: '1', prompt: 'P1', steps: 32 },
  },
  {
    ...{ number: 2, slug: 'gpu-single', title: 'GPU, one device', backend: 'webgpu' },
    about: ABOUT.single,
    ...{ ratios: '1', prompt: 'P1', steps: 32 },
  },
  {
    ...{ number: 3, slug: 'cpu-static', title: 'CPU, unequal static shares', backend: 'wasm' },
    about: ABOUT.uneven,
    ...{ ratios: UNEVEN, prompt: 'P1', steps: 32 },
  },
  {
    ...{ number: 4, slug: 'gpu-static', title: 'GPU, unequal static shares', backend: 'webgpu' },
    about: ABOUT.uneven,
    ...{ ratios: UNEVEN, prompt: 'P1', steps: 64 },
  },
  {
    ...{ number: 5, slug: 'cpu-migration', title: 'CPU, a head moves while text flows', backend: 'wasm' },
    about: ABOUT.head,
    ...{ ratios: UNEVEN, prompt: 'P2', steps: 64, move: moveHead(601) },
  },
  {
    ...{ number: 6, slug: 'gpu-migration', title: 'GPU, a head moves while text flows', backend: 'webgpu' },
    about: ABOUT.head,
    ...{ ratios: UNEVEN, prompt: 'P2', steps: 96, move: moveHead(501) },
  },
  {
    ...{ number: 7, slug: 'cpu-layer-migration', title: 'CPU, a layer moves while text flows', backend: 'wasm' },
    about: ABOUT.layer,
    ...{ ratios: TWO_STAGES, prompt: 'P2', steps: 64, move: moveLayer(301) },
  },
  {
    ...{ number: 8, slug: 'gpu-layer-migration', title: 'GPU, a layer moves while text flows', backend: 'webgpu' },
    about: ABOUT.layer,
    ...{ ratios: TWO_STAGES, prompt: 'P2', steps: 96, move: moveLayer(301) },
  },
];

const asked = (content: string) => ({ messages: [{ role: 'user', content } satisfies Message] });

/** EdgeVisor's prompts. */
export const PROMPTS: Form['prompts'] = {
  P1: asked('What is 2+2? Answer with only the number.'),
  P2: asked('Write a comma-separated list of the numbers from 1 to 20.'),
};

/** Devices that ratios name. */
export const devicesIn = (ratios: string): number => ratios.split(/[*:]/).length;
