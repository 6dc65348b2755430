/** What `bench -- single` found, as Markdown. */
import type { DeviceProfile } from '../../web/api.ts';
import {
  formatShare,
  formatTime,
  type LineName,
  layerTableOf,
  linesOf,
  longName,
  shortName,
} from '../../web/components/profile/profile-lines.ts';
import { type Engine, type Family, labelOf, type Run, type Start } from './engine.ts';
import { describeMachine, type Machine } from './machine.ts';
import type { Deviation, RoundingError } from './rounding.ts';
import { ratios, type Summary, summarize } from './statistics.ts';
import { table } from './table.ts';

export interface EngineResult extends Pick<Engine, 'family' | 'backend' | 'threads'> {
  description: string;
  start: Start;
  runs: Run[];
  profile?: DeviceProfile;
  rounding?: RoundingError;
  failure?: string;
}

export interface SingleResult {
  benchmark: 'single';
  date: string;
  machine: Machine;
  /** Busy processors before the benchmark began. */
  loadBefore: number;
  workload: { model: string; bytes: number; promptTokens: number; decodeTokens: number; context: number };
  rounds: number;
  engines: EngineResult[];
}

type Phase = 'prefill' | 'decode';

/** Tokens a second of every round. */
export function speeds({ runs }: Pick<EngineResult, 'runs'>, phase: Phase): number[] {
  return runs.map(({ promptTokens, prefillMs, decodeTokens, decodeMs }) =>
    phase === 'prefill' ? (promptTokens / prefillMs) * 1000 : (decodeTokens / decodeMs) * 1000,
  );
}

/** Tables of speed, of ratios and of starting, with what was measured and on what. */
export function renderSingle(result: SingleResult): string {
  const { model, promptTokens, decodeTokens, context } = result.workload;
  const failures = result.engines.filter(({ failure }) => failure);
  return [
    `Measured ${result.date.slice(0, 10)} on ${describeMachine(result.machine, result.loadBefore)}`,
    `${model}: prefill of ${promptTokens} tokens, decode of ${decodeTokens}, context ${context}, ${result.rounds} rounds. Tokens a second: median (lowest to highest).`,
    speedTable(result),
    `Ratios are medians over the rounds. ${threadScaling(result)}`.trim(),
    roundingTable(result),
    startTable(result),
    profileTables(result),
    result.engines.map((engine) => `- ${labelOf(engine)}: ${engine.description || 'did not start'}.`).join('\n'),
    agreement(result),
    failures.map((engine) => `**${labelOf(engine)} failed**: ${engine.failure}`).join('\n\n'),
  ]
    .filter(Boolean)
    .join('\n\n');
}

function speedTable({ engines }: SingleResult): string {
  const rows = engines.map((engine) => [
    labelOf(engine),
    ...(['prefill', 'decode'] as const).map((phase) => summaryOf(speeds(engine, phase))),
    ...(['wllama', 'native'] as const).flatMap((family) =>
      (['prefill', 'decode'] as const).map((phase) => ratioText(engine, peerOf(engine, engines, family), phase)),
    ),
  ]);
  const heads = [
    'engine',
    'prefill',
    'decode',
    'prefill ÷ wllama',
    'decode ÷ wllama',
    'prefill ÷ native',
    'decode ÷ native',
  ];
  return table(heads, rows);
}

/** Only our own rows are compared, with the peer on as many threads. */
export function peerOf(engine: EngineResult, engines: EngineResult[], family: Family): EngineResult | undefined {
  if (engine.family !== 'ours') return undefined;
  return engines.find((other) => other.family === family && other.threads === engine.threads);
}

function ratioText(a: EngineResult, b: EngineResult | undefined, phase: Phase): string {
  const ratio = b && ratios(speeds(a, phase), speeds(b, phase));
  return ratio ? ratio.median.toFixed(2) : '';
}

function threadScaling({ engines }: SingleResult): string {
  const texts = engines.flatMap((engine) => {
    const single = engines.find((e) => e.family === engine.family && e.backend === engine.backend && e.threads === 1);
    if (engine.threads === 1 || engine.backend === 'webgpu' || !single) return [];
    const [prefill, decode] = [ratioText(engine, single, 'prefill'), ratioText(engine, single, 'decode')];
    return prefill ? [`${engine.family} ${prefill} and ${decode} (${engine.threads} threads)`] : [];
  });
  return texts.length > 0 ? `Against one thread, prefill and decode: ${texts.join('; ')}.` : '';
}

/** Ours and llama.cpp's error, a row an engine. */
function roundingTable({ engines }: SingleResult): string {
  const rows = engines.flatMap((engine) => {
    if (!engine.rounding) return [];
    const { texts, steps, ours, llamacpp } = engine.rounding;
    const columns = (of: keyof Deviation) => [
      ...[ours[of], llamacpp[of]].map((error) => error.toPrecision(2)),
      (ours[of] / llamacpp[of]).toPrecision(2),
    ];
    return [[labelOf(engine), String(texts), String(steps), ...columns('rms'), ...columns('worst')]];
  });
  if (rows.length === 0) return '';
  const heads = ['rms', 'llama.cpp', 'ratio', 'worst', 'llama.cpp', 'ratio'];
  return `Rounding error: of the exact eight best logits at every step of texts with known answers, given the same tokens; llama.cpp's as recorded with them.\n\n${table(['engine', 'texts', 'steps', ...heads], rows)}`;
}

function startTable({ engines, workload }: SingleResult): string {
  const rows = engines
    .filter(({ start }) => start.warmLoadMs !== undefined)
    .map(({ start, ...engine }) => {
      const peak = highest(start.coldPeak?.tab, start.warmPeak?.tab);
      return [
        labelOf(engine),
        ...[start.coldLoadMs, start.warmLoadMs, start.openToTokenMs].map(seconds),
        ...[start.coldPeak?.tab, start.warmPeak?.tab, start.resting?.tab, start.ownBytes].map(megabytes),
        megabytes(highest(start.coldPeak?.browser, start.warmPeak?.browser)),
        peak === undefined ? '' : (peak / workload.bytes).toFixed(2),
      ];
    });
  const heads = ['engine', 'load cold, s', 'load cached, s', 'page open to first token, s'];
  const memory = ['tab peak cold, MB', 'tab peak cached, MB', 'tab at rest, MB', 'own account, MB', 'browser peak, MB'];
  return rows.length > 0 ? table([...heads, ...memory, 'tab peak ÷ file'], rows) : '';
}

/** A row an operation, two columns an engine; for decode and for prefill. */
function profileTables({ engines }: SingleResult): string {
  const profiled = engines.flatMap((engine) => (engine.profile ? [{ ...engine, profile: engine.profile }] : []));
  if (profiled.length === 0) return '';
  return (['decode', 'prefill'] as const)
    .map((phase) => {
      const columns = profiled.map(({ profile }) => linesOf(profile[phase]));
      const names = [...new Set(columns.flatMap((lines) => lines.map(({ name }) => name)))];
      const rows = names.map((name: LineName) => [
        longName(name),
        ...columns.flatMap((lines) => {
          const line = lines.find((one) => one.name === name);
          return line ? [formatTime(line.ms), formatShare(line.share)] : ['', ''];
        }),
      ]);
      const totals = profiled.flatMap(({ profile }) => [
        formatTime(profile[phase].totalMs / profile[phase].tokens),
        '',
      ]);
      const heads = profiled.flatMap((engine) => [`${labelOf(engine)}, ms a token`, 'share']);
      return `Where the time of ${phase} goes, with every operation timed:\n\n${table(['operation', ...heads], [...rows, ['in all', ...totals]])}`;
    })
    .join('\n\n');
}

/** A row a layer for every engine that was profiled: for the console, since they are long. */
export function layerTables({ engines }: SingleResult): string {
  return engines
    .flatMap((engine) => {
      if (!engine.profile || engine.profile.decode.layers.length === 0) return [];
      const { columns, layers, sums } = layerTableOf(engine.profile.decode);
      const times = (values: readonly (number | undefined)[]) =>
        values.map((ms) => (ms === undefined ? '' : formatTime(ms)));
      const rows = [
        ['all', ...times([sums.all, ...sums.ms])],
        ...layers.map(({ layer, all, ms }) => [String(layer), ...times([all, ...ms])]),
      ];
      return [`${labelOf(engine)}, decode, ms a token:\n\n${table(['layer', 'all', ...columns.map(shortName)], rows)}`];
    })
    .join('\n\n');
}

/** Engines that compute the same model say the same, but for near ties: a check that the work was the same. */
function agreement({ engines }: SingleResult): string {
  const native = engines.find(({ family }) => family === 'native')?.runs.at(-1)?.ids;
  if (!native) return '';
  const texts = engines.flatMap((engine) => {
    const ids = engine.family === 'ours' ? engine.runs.at(-1)?.ids : undefined;
    if (!ids) return [];
    const parting = ids.findIndex((id, i) => id !== native[i]);
    return [`${labelOf(engine)} ${parting < 0 ? 'all' : parting} of ${ids.length}`];
  });
  return texts.length > 0
    ? `Greedy tokens equal to native llama.cpp's before the first difference: ${texts.join('; ')}.`
    : '';
}

function summaryOf(values: number[]): string {
  if (values.length === 0) return '';
  const { median, low, high }: Summary = summarize(values);
  return `${median.toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`;
}

function highest(...values: (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length > 0 ? Math.max(...known) : undefined;
}

const seconds = (ms: number | undefined): string => (ms === undefined ? '' : (ms / 1000).toFixed(2));
const megabytes = (bytes: number | undefined): string => (bytes === undefined ? '' : (bytes / 1e6).toFixed(0));
