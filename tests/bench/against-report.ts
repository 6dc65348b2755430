/** What `bench -- peers` found: how many times as fast as each peer ours is, as a table and a plot. */
import { labelOf } from './engine.ts';
import { describeMachine } from './machine.ts';
import { barPlot } from './plot.ts';
import { type EngineResult, peerOf, type SingleResult, speeds } from './single-report.ts';
import { ratios, type Summary, summarize } from './statistics.ts';
import { table } from './table.ts';

const PEERS = ['wllama', 'native'] as const;
const PHASES = ['prefill', 'decode'] as const;

export interface Comparison {
  ours: string;
  peer: string;
  phase: (typeof PHASES)[number];
  oursPerSecond: number;
  peerPerSecond: number;
  /** Ours over the peer's, of the rounds. */
  ratio: Summary;
}

/** Every engine of ours against every peer on as many threads, peer by peer. */
export function comparisons({ engines }: Pick<SingleResult, 'engines'>): Comparison[] {
  return PEERS.flatMap((family) =>
    engines.flatMap((engine): Comparison[] => {
      const peer = peerOf(engine, engines, family);
      return peer ? PHASES.flatMap((phase) => compare(engine, peer, phase)) : [];
    }),
  );
}

function compare(engine: EngineResult, peer: EngineResult, phase: (typeof PHASES)[number]): Comparison[] {
  const [own, others] = [speeds(engine, phase), speeds(peer, phase)];
  const ratio = ratios(own, others);
  if (!ratio) return [];
  const [oursPerSecond, peerPerSecond] = [summarize(own).median, summarize(others).median];
  return [{ ours: labelOf(engine), peer: labelOf(peer), phase, oursPerSecond, peerPerSecond, ratio }];
}

/** @param command what the figures were made with */
export function renderAgainst(result: SingleResult, command: string, plot?: string): string {
  const { model, promptTokens, decodeTokens } = result.workload;
  const rows = comparisons(result).map(({ ours, peer, phase, oursPerSecond, peerPerSecond, ratio }) => [
    ...[ours, peer, phase, oursPerSecond.toFixed(1), peerPerSecond.toFixed(1)],
    `${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)} to ${ratio.high.toFixed(2)})`,
  ]);
  const failures = result.engines.filter(({ failure }) => failure);
  return [
    `Measured ${result.date.slice(0, 10)} by \`${command}\` on ${describeMachine(result.machine, result.loadBefore)}`,
    `${model}, the same file and tokens for all: prefill of ${promptTokens}, decode of ${decodeTokens}, ${result.rounds} ${result.rounds === 1 ? 'round' : 'rounds'}. Speeds are medians in tokens a second; ratios are ours ÷ the peer's, median of the rounds' own (lowest to highest).`,
    plot,
    rows.length > 0 ? table(['ours', 'peer', 'phase', 'ours', "peer's", 'ratio'], rows) : 'Nothing could be compared.',
    result.engines.map((engine) => `- ${labelOf(engine)}: ${engine.description || 'did not start'}.`).join('\n'),
    failures.map((engine) => `**${labelOf(engine)} failed**: ${engine.failure}`).join('\n\n'),
  ]
    .filter(Boolean)
    .join('\n\n');
}

/** Tokens a second of every engine, by phase and number of threads; undefined where nothing ran. */
export function againstPlot({ engines, workload }: SingleResult): string | undefined {
  const ran = engines.filter(({ runs }) => runs.length > 0);
  if (ran.length === 0) return undefined;
  const threads = [...new Set(ran.map((engine) => engine.threads))].sort((a, b) => a - b);
  const groups = PHASES.flatMap((phase) =>
    threads.map((n) => ({
      name: `${phase}, ${n} ${n === 1 ? 'thread' : 'threads'}`,
      bars: ran
        .filter((engine) => engine.threads === n)
        .map((engine) => {
          const { median } = summarize(speeds(engine, phase));
          return { name: nameOf(engine), value: median, text: median.toFixed(1) };
        }),
    })),
  );
  return barPlot({
    title: `Against the peers, ${workload.model.replace(/\.gguf$/, '')}`,
    unit: 'tokens a second',
    groups,
  });
}

function nameOf({ family, backend }: EngineResult): string {
  if (family === 'native') return 'llama.cpp, native';
  return family === 'wllama' ? 'wllama, browser' : `ours, browser, ${backend === 'wasm' ? 'WASM' : 'WebGPU'}`;
}
