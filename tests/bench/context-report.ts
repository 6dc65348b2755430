/** What `bench -- context` found, as Markdown and plots. */
import type { ModelShape } from '../../web/api.ts';
import { labelOf } from './engine.ts';
import { weightMacs } from './kernels/measure.ts';
import { describeMachine, type Machine } from './machine.ts';
import { linePlot, type Series } from './plot.ts';
import { summarize } from './statistics.ts';
import { table } from './table.ts';

export interface ContextEngine {
  backend: 'wasm' | 'webgpu';
  threads: number;
  description: string;
  /** Milliseconds from the call to the first token, of every round. */
  prefill: { length: number; ms: number[] }[];
  /** Milliseconds of a token after so many others, of every round. */
  decode: { position: number; msPerToken: number[] }[];
  failure?: string;
}

export interface ContextResult {
  benchmark: 'context';
  date: string;
  machine: Machine;
  loadBefore: number;
  model: string;
  shape: ModelShape;
  rounds: number;
  /** Tokens decoded at each position. */
  decodeTokens: number;
  engines: ContextEngine[];
}

const medianOf = (values: number[]): number => summarize(values).median;

/** Multiply-accumulates of a prompt: weights, scores and values of every token, and one row of logits. */
export function promptMacs(shape: ModelShape, length: number): number {
  const { layers, heads, headDim } = shape;
  // Each token attends to itself and to those before: q times k, and the weights times v.
  const attention = layers * heads * headDim * length * (length + 1);
  return weightMacs(shape, 'whole', length) + attention;
}

/** What a prompt would take if only the amount of work mattered, from the time of the shortest one. */
export function arithmeticMs(shape: ModelShape, shortest: { length: number; ms: number }, length: number): number {
  return (shortest.ms * promptMacs(shape, length)) / promptMacs(shape, shortest.length);
}

/** Tables of prefill and decode. `plots` are shown between. */
export function renderContext(result: ContextResult, plots: string[] = []): string {
  const { date, machine, loadBefore, model, rounds, decodeTokens, engines } = result;
  const failures = engines.filter(({ failure }) => failure);
  return [
    `Measured ${date.slice(0, 10)} on ${describeMachine(machine, loadBefore)}`,
    `${model}, ${rounds} ${rounds === 1 ? 'round' : 'rounds'}; medians. Decode: ${decodeTokens} tokens after so many others.`,
    ...plots,
    decodeTable(engines),
    prefillTable(result),
    engines.map((engine) => `- ${nameOf(engine)}: ${engine.description || 'did not start'}.`).join('\n'),
    failures.map((engine) => `**${nameOf(engine)} failed**: ${engine.failure}`).join('\n\n'),
  ]
    .filter(Boolean)
    .join('\n\n');
}

const nameOf = (engine: Pick<ContextEngine, 'backend' | 'threads'>): string => labelOf({ family: 'ours', ...engine });

function decodeTable(engines: ContextEngine[]): string {
  const rows = engines.flatMap((engine) => {
    const first = engine.decode[0];
    return engine.decode.map(({ position, msPerToken }) => {
      const ms = medianOf(msPerToken);
      const slower = first ? medianOf(first.msPerToken) / ms : 0;
      return [nameOf(engine), String(position), ms.toFixed(2), (1000 / ms).toFixed(1), slower.toFixed(2)];
    });
  });
  return rows.length > 0 ? table(['engine', 'at position', 'ms a token', 'tok/s', '÷ the first'], rows) : '';
}

function prefillTable({ engines, shape }: ContextResult): string {
  const rows = engines.flatMap((engine) =>
    engine.prefill.map(({ length, ms }) => {
      const spent = medianOf(ms);
      const expected = arithmeticMs(shape, shortestOf(engine), length);
      return [
        nameOf(engine),
        String(length),
        (spent / 1000).toFixed(2),
        ((1000 * length) / spent).toFixed(1),
        (spent / expected).toFixed(2),
      ];
    }),
  );
  return rows.length > 0 ? table(['engine', 'prompt tokens', 'seconds', 'tok/s', '÷ arithmetic'], rows) : '';
}

function shortestOf({ prefill: [first] }: ContextEngine): { length: number; ms: number } {
  return { length: first?.length ?? 0, ms: medianOf(first?.ms ?? []) };
}

/** Decode speed by position and prefill time by length; empty where nothing was measured. */
export function contextPlots({ model, shape, engines }: ContextResult): { decode?: string; prefill?: string } {
  const decode = engines.flatMap((engine): Series[] => {
    const points = engine.decode.map(({ position, msPerToken }) => ({ x: position, y: 1000 / medianOf(msPerToken) }));
    return points.length > 0 ? [{ name: shortName(engine), points }] : [];
  });
  const prefill = engines.flatMap((engine): Series[] => {
    if (engine.prefill.length === 0) return [];
    const shortest = shortestOf(engine);
    return [
      {
        name: shortName(engine),
        points: engine.prefill.map(({ length, ms }) => ({ x: length, y: medianOf(ms) / 1000 })),
      },
      {
        name: 'the work alone',
        calculated: true,
        points: engine.prefill.map(({ length }) => ({ x: length, y: arithmeticMs(shape, shortest, length) / 1000 })),
      },
    ];
  });
  return {
    ...(decode.length > 0 && {
      decode: linePlot({
        title: `Decode by position, ${model}`,
        x: { label: 'tokens in the context' },
        y: { label: 'tokens a second' },
        series: decode,
      }),
    }),
    ...(prefill.length > 0 && {
      prefill: linePlot({
        title: `Prefill by length, ${model}`,
        x: { label: 'tokens of the prompt', logarithmic: true },
        y: { label: 'seconds', logarithmic: true, ticks: decades(prefill) },
        series: prefill,
      }),
    }),
  };
}

const shortName = ({ backend, threads }: ContextEngine): string =>
  backend === 'webgpu' ? 'WebGPU' : `WASM, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;

/** 1, 3 and 10 of every power of ten that the values reach into. */
function decades(series: Series[]): number[] {
  const values = series.flatMap(({ points }) => points.map(({ y }) => y));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const all = Array.from({ length: 12 }, (_, i) => 10 ** (i - 5)).flatMap((power) => [power, 3 * power]);
  const first = all.findLastIndex((tick) => tick <= low);
  const last = all.findIndex((tick) => tick >= high);
  return all.slice(Math.max(0, first), last + 1).map((tick) => Number(tick.toPrecision(3)));
}
