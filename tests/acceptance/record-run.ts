/** A record's sections on what was run, what the move did, and what came out. */
import { table } from '../bench/table.ts';
import { CONTEXT } from './cases.ts';
import { firstOfNewPlan, reportOf } from './judge.ts';
import { facts, fence, kilobytes } from './markdown.ts';
import type { Evidence, Exchange } from './play.ts';
import { sharesOf } from './shares.ts';

/** @param command what repeats the test */
export function whatRan({ task, addresses, options }: Evidence, command: string): string {
  const [host, ...others] = addresses;
  return [
    `- Again: \`${command}\``,
    '- The server: `npm start -- --plan-socket PATH` (here on a free port, over plain http on localhost)',
    `- The host page: \`${host}\``,
    ...others.map((address, i) => `- Device ${i + 1}, a page of its own: \`${address}\``),
    `- The question, asked in the host page: \`window.edgevisor.generate(${JSON.stringify(options)})\``,
    ...(task.ignoreEos ? ['- `ignoreEos`: the answer goes on after its end, which would leave the move no time'] : []),
    '',
    `The room's secret, which is part of every address, is left out. Greedy (temperature 0), context ${CONTEXT}, first answer of freshly opened pages, no warm-up.`,
    ...(others.length > 0
      ? [
          `All ${addresses.length} devices are tabs of one browser on one machine and share its processor, so that together they are slower than one alone: this record is about the result, not about speed.`,
        ]
      : []),
  ].join('\n');
}

export const NODES =
  'A node is a place in the plan, counted over all stages; a device is a tab, by its number in the room (0 is the host page).';

/** Of the plan before the answer, or after it. */
export function shareTable({ before, after, info }: Evidence, which: 'before' | 'after'): string {
  const shares = sharesOf(which === 'before' ? before : after, info.shape);
  return table(
    ['node', 'device', 'stage', 'layers', 'query heads', 'KV heads', 'FFN columns', 'vocabulary rows'],
    shares.map(({ node, device, stage, layers: [from, to], ...amounts }) => [
      ...[node, device, stage].map(String),
      `${from}–${to - 1}`,
      ...[amounts.qHeads, amounts.kvHeads, amounts.ffn, amounts.vocab].map(String),
    ]),
  );
}

export function move(evidence: Evidence): string[] {
  const { task, exchanges, generation, before, after } = evidence;
  const report = reportOf(evidence);
  const sent = exchanges.find(({ request }) => request === JSON.stringify(task.move));
  const parts = [
    ...(sent
      ? [
          `Sent over the plan socket when ${sent.seen[0]} tokens had been seen; answered when ${sent.seen[1]} had.`,
          fence(dialogue(sent)),
        ]
      : []),
    NODES,
    `Before (epoch ${before.epoch}):`,
    shareTable(evidence, 'before'),
    `After (epoch ${after.epoch}):`,
    shareTable(evidence, 'after'),
  ];
  if (!report) return parts;
  const first = firstOfNewPlan(evidence, report);
  const gaps = [...generation.timings.gapsMs].sort((a, b) => a - b);
  const median = gaps[Math.floor(gaps.length / 2)] ?? 0;
  const ms = (value: number) => `${value.toFixed(0)} ms`;
  const rows: [string, string][] = [
    ['state', `${report.state}${report.error ? `: ${report.error}` : ''}`],
    [
      'took over at',
      `position ${report.position}: token ${first + 1} of ${generation.ids.length} is the first of the new plan`,
    ],
    ['weights that the receiver lacked', `${kilobytes(report.weightBytes)} kB, ${ms(report.prepareMs)}`],
    ['KV copied', `${kilobytes(report.kvBytes)} kB, ${ms(report.copyMs)}`],
    ['switch', ms(report.commitMs)],
    ['longest gap between tokens meanwhile', `${ms(report.longestGapMs)} (median of the whole answer: ${ms(median)})`],
  ];
  return [...parts, facts(rows)];
}

/** @param cpu the same question to one CPU device, where this was not that */
export function answer({ generation, promptText, task }: Evidence, cpu: Evidence | undefined): string[] {
  const { promptIds, ids, text, finishReason } = generation;
  const end = finishReason === 'stop' ? 'the end-of-turn token' : 'the limit';
  return [
    `The prompt, ${promptIds.length} tokens, as the model gets it:`,
    fence(promptText),
    `The answer, ${ids.length} tokens of at most ${task.steps}, ended by ${end}:`,
    fence(text),
    ...(cpu ? [againstCpu(ids, cpu.generation.ids)] : []),
  ];
}

function againstCpu(ids: number[], cpu: number[]): string {
  const parts = ids.findIndex((id, i) => id !== cpu[i]);
  if (parts === -1 && ids.length === cpu.length) return 'One CPU device gives the same tokens.';
  return `One CPU device gives other tokens from token ${(parts === -1 ? ids.length : parts) + 1} on: backends round differently, and where two tokens are nearly as good the choice may fall either way.`;
}

export const dialogue = ({ request, answer }: Exchange): string => `> ${request}\n< ${answer}`;
