/** The judgement of an acceptance test: a list of checks, each with what was found. */
import type { MoveReport, Pass } from '../../web/api.ts';
import { CONTEXT, devicesIn, type Form, MARGIN, type MoveCommand, SENT_AFTER } from './cases.ts';
import type { Evidence, Exchange } from './play.ts';
import { type NodeShare, sharesOf } from './shares.ts';

export interface Check {
  what: string;
  passed: boolean;
  found: string;
}

/**
 * @param single the answer of one device with the same backend; undefined where the test is that run itself
 * @param form   whose `expected` knows the model's answers, if anybody does
 */
export function judge(evidence: Evidence, single: number[] | undefined, form: Form): Check[] {
  return [
    ...ran(evidence),
    ...(single ? [equal('The tokens are those of one device', evidence.generation.ids, single)] : []),
    ...known(evidence, form),
    ...computed(evidence),
    ...(evidence.task.move ? moved(evidence, evidence.task.move) : []),
  ];
}

export const passedAll = (checks: Check[]): boolean => checks.length > 0 && checks.every(({ passed }) => passed);

/** The move's own report, as the host tells it. */
export const reportOf = ({ status }: Evidence): MoveReport | undefined => status.moves.at(-1);

/** Index of the first token that the new plan computed: what is forwarded at a position gives the token after it. */
export const firstOfNewPlan = ({ generation }: Evidence, { position }: MoveReport): number =>
  position - generation.timings.promptTokens + 1;

function ran({ task, generation, status, info, before, logs, tokens }: Evidence): Check[] {
  const { finishReason, ids } = generation;
  const full = ids.length === task.steps;
  const errors = logs.filter(({ level }) => level === 'error').map(({ text }) => text);
  const devices = status.devices.map(({ backend, description = backend }) => description);
  return [
    {
      what: 'The answer ends well',
      passed: ids.length > 0 && (finishReason === 'stop' || (finishReason === 'length' && full)),
      found: `${ids.length} tokens, ended by ${finishReason === 'stop' ? "the model's end of turn" : finishReason === 'length' ? `the limit of ${task.steps} tokens` : finishReason}`,
    },
    {
      what: 'Every token was shown as it came',
      passed: tokens.map(({ id }) => id).join() === ids.join(),
      found: `${tokens.length} token events`,
    },
    {
      what: 'The page is ready for the next question, without an error in its log',
      passed: status.state === 'ready' && errors.length === 0,
      found: `state ${status.state}${errors.map((text) => `; ${text}`).join('')}`,
    },
    {
      what: `It ran as asked: ${devicesIn(task.ratios)} × ${task.backend === 'wasm' ? 'WASM' : 'WebGPU'}, context ${CONTEXT}`,
      passed:
        status.devices.every(({ backend }) => backend === task.backend) &&
        info.context === CONTEXT &&
        before.stages.reduce((n, { members }) => n + members.length, 0) === devicesIn(task.ratios),
      found: `${devices.join(' · ')}; context ${info.context}`,
    },
  ];
}

function equal(what: string, ids: number[], wanted: number[]): Check {
  const length = Math.max(ids.length, wanted.length);
  const parts = Array.from({ length }, (_, i) => i).find((i) => ids[i] !== wanted[i]);
  const found =
    parts === undefined
      ? `${ids.length} tokens, all equal`
      : `first difference at token ${parts + 1}: ${ids[parts] ?? 'none'} instead of ${wanted[parts] ?? 'none'}`;
  return { what, passed: parts === undefined, found };
}

function known({ generation }: Evidence, form: Form): Check[] {
  const expected = form.expected(generation.promptIds);
  if (!expected) return [];
  const length = Math.min(expected.length, Math.max(generation.ids.length, 1));
  const what = 'The tokens are the known greedy ones of this model (tests/fixtures)';
  return [equal(what, generation.ids.slice(0, length), expected.slice(0, length))];
}

/** Each position once or more, the prompt's too; the last token of an answer is not forwarded. */
function computed({ generation, passes, status, before }: Evidence): Check[] {
  const { promptIds, ids } = generation;
  const end = promptIds.length + ids.length - 1;
  const devices = before.stages.flatMap(({ members }) => members.map(({ device }) => device));
  const passed = devices.every((device) => {
    const done = passes.find((one) => one.device === device)?.passes ?? [];
    const covered = new Set(
      done.flatMap(({ position, tokens }) => Array.from({ length: tokens }, (_, i) => position + i)),
    );
    const counters = status.devices.find(({ index }) => index === device);
    const talked = devices.length === 1 || (counters && counters.bytesSent > 0 && counters.bytesReceived > 0);
    const busy = done.every(({ execMs }) => execMs > 0);
    return busy && talked && counters && counters.tokens > 0 && covered.size === end;
  });
  const found = devices.map((device) => {
    const done = passes.find((one) => one.device === device)?.passes ?? [];
    const sum = (of: (pass: Pass) => number) => done.reduce((n, pass) => n + of(pass), 0);
    return `${device}: ${sum(({ tokens }) => tokens)} positions, ${(sum(({ execMs }) => execMs) / 1000).toFixed(2)} s`;
  });
  return [
    {
      what: `Every device computed all ${end} positions`,
      passed,
      found: `device ${found.join('; ')}`,
    },
  ];
}

function moved(evidence: Evidence, command: MoveCommand): Check[] {
  const { exchanges, generation, passes, before, after, info } = evidence;
  const report = reportOf(evidence);
  const sent = exchanges.find(({ request }) => request === JSON.stringify(command));
  const first = report ? firstOfNewPlan(evidence, report) : -1;
  const last = generation.ids.length - 1;
  const under = (epoch: number, of: (position: number) => boolean) =>
    passes.every(({ passes: all }) => all.filter(({ position }) => of(position)).every((pass) => pass.epoch === epoch));
  return [
    {
      what: `The command was sent when at least ${SENT_AFTER} tokens had been seen, and the socket accepted it`,
      passed: sent !== undefined && sent.seen[0] >= SENT_AFTER && (JSON.parse(sent.answer) as { ok: boolean }).ok,
      found: sent ? `${sent.seen[0]} tokens seen; ${brief(sent)}` : 'it was never sent',
    },
    {
      what: "The move was committed, and the socket's status says so",
      passed: report?.state === 'committed' && committedBy(exchanges, command),
      found: report ? `${report.state}${report.error ? `: ${report.error}` : ''}` : 'no move',
    },
    {
      what: 'The plan has the next epoch',
      passed: report !== undefined && after.epoch > before.epoch && after.epoch === report.epoch,
      found: `${before.epoch} → ${after.epoch}`,
    },
    {
      what: 'The shares are those before, but for what was moved',
      passed: same(sharesOf(after, info.shape), expectedShares(sharesOf(before, info.shape), command, info.shape)),
      found: `${inBrief(sharesOf(before, info.shape), command)} → ${inBrief(sharesOf(after, info.shape), command)}`,
    },
    {
      what: `The new plan took over at least ${MARGIN} tokens after the first token and ${MARGIN} before the last`,
      passed: report?.state === 'committed' && first >= MARGIN && last - first >= MARGIN,
      found: `from token ${first + 1} of ${last + 1} on (position ${report?.position ?? 'unknown'})`,
    },
    {
      what: 'Every device computed up to there under the old plan, and from there on under the new one',
      passed:
        report !== undefined &&
        under(before.epoch, (position) => position < report.position) &&
        under(after.epoch, (position) => position >= report.position),
      found: passes.map(({ device, passes: all }) => `device ${device}: ${countEpochs(all)}`).join('; '),
    },
  ];
}

const brief = ({ answer }: Exchange): string => {
  const { ok, state, error } = JSON.parse(answer) as { ok: boolean; state?: string; error?: string };
  return `ok: ${ok}, ${error ?? state}`;
};

function committedBy(exchanges: Exchange[], { op, cmd }: MoveCommand): boolean {
  const last = exchanges.findLast(({ request }) => request === '{"op":"status"}');
  const { moves = [] } = JSON.parse(last?.answer ?? '{}') as { moves?: { op: string; seq: number; state: string }[] };
  return moves.some((move) => move.op === op && move.seq === cmd.seq && move.state === 'committed');
}

function countEpochs(passes: Pass[]): string {
  const epochs = [...new Set(passes.map(({ epoch }) => epoch))];
  return epochs.map((epoch) => `${passes.filter((pass) => pass.epoch === epoch).length} under ${epoch}`).join(', ');
}

const same = (a: NodeShare[], b: NodeShare[]): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What the command must make of the shares, worked out here and not by the planner. */
function expectedShares(
  before: NodeShare[],
  command: MoveCommand,
  shape: { heads: number; kvHeads: number },
): NodeShare[] {
  const { fromNodeIndex: from, toNodeIndex: to } = command.cmd;
  const giver = before[from];
  if (!giver) return [];
  if (command.op === 'set_plan') {
    const heads = command.cmd.nHeadsToMove;
    const group = shape.heads / shape.kvHeads;
    const gain = (node: number) => (node === to ? heads : node === from ? -heads : 0);
    return before.map((share) => ({
      ...share,
      qHeads: share.qHeads + gain(share.node) * group,
      kvHeads: share.kvHeads + gain(share.node),
    }));
  }
  // The giver's stage is the one before the taker's.
  const border = giver.layers[1] - command.cmd.layerCount;
  return before.map((share) => ({
    ...share,
    layers: share.stage === giver.stage ? [share.layers[0], border] : [border, share.layers[1]],
  }));
}

const inBrief = (shares: NodeShare[], { op }: MoveCommand): string =>
  op === 'set_plan'
    ? `KV heads ${shares.map(({ kvHeads }) => kvHeads).join(':')}`
    : `layers ${[...new Set(shares.map(({ layers: [from, to] }) => `${from}–${to - 1}`))].join(' | ')}`;
