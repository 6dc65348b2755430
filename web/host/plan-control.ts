/**
 * The plan socket's commands as the host carries them out: EdgeVisor's requests in, its answers out, moves in between.
 * docs/plan-socket.md describes both.
 */
import type { Migration, MoveReport, Plan } from '../api.ts';
import { HostError, messageOf } from '../device/errors.ts';
import { nextTask } from '../device/pause.ts';
import { parsePlanRequest, type RequestOf, type SetLayers, type SetPlan } from '../mesh/plan-request.ts';
import { type Node, nodeAt, nodesOf } from '../plan/nodes.ts';
import type { Devices, Profiled } from './mesh/devices.ts';
import type { Session } from './session.ts';

export interface PlanControlPorts {
  /** The loaded model. */
  session(): Pick<Session, 'conductor' | 'moves' | 'progress'> | undefined;
  profile: Devices['profile'];
}

/** A number that no command has had is above this. */
const NO_SEQ = -1;

const NO_COMMAND = {
  ...{ seq: 0, mode: 'none', stageIndex: 0, triggerPos: 0, triggerLayer: 0, fromNodeIndex: 0, toNodeIndex: 0 },
  ...{ cmdKind: 0, nHeadsToMove: 0, nFfnToMove: 0, reserved0: 0 },
};
const NO_LAYERS = { fromNodeIndex: 0, toNodeIndex: 0, layerCount: 0, layers: [] as number[], seq: 0 };

/** States of a move that may still be cancelled. */
const OPEN: ReadonlySet<MoveReport['state']> = new Set(['queued', 'preparing', 'copying']);

type MoveOp = 'set_plan' | 'set_pp_migration';

/** A move that came through the socket. */
interface Commanded {
  op: MoveOp;
  seq: number;
  report: Readonly<MoveReport>;
  controller: AbortController;
}

/** Answers requests of the plan socket, JSON in and out. Never rejects: failures are answers with `ok: false`. */
export function createPlanControl({ session, profile }: PlanControlPorts): (request: string) => Promise<string> {
  let cacheSeq = 0;
  let command: object = NO_COMMAND;
  let layersCommand = NO_LAYERS;
  const lastSeq: Record<MoveOp, number> = { set_plan: NO_SEQ, set_pp_migration: NO_SEQ };
  let commanded: Commanded[] = [];

  function loaded(): NonNullable<ReturnType<typeof session>> & { plan: Plan } {
    const current = session();
    const plan = current?.conductor.plan;
    if (!current || !plan) throw new HostError('no-model', 'No model is loaded in the host page. Load one first.');
    return { ...current, plan };
  }

  /** Starts a move in its turn; what it becomes at once is in the answer, the rest in `status`. */
  async function start(op: MoveOp, seq: number, move: Migration, echo: object, accepted: () => void): Promise<object> {
    const { moves, plan } = loaded();
    if (seq <= lastSeq[op]) throw new Error('stale seq');
    const before = lastSeq[op];
    lastSeq[op] = seq;
    const controller = new AbortController();
    const { report, done } = moves.begin(move, controller.signal);
    // Said in `report`.
    done.catch(() => undefined);
    const entry = { op, seq, report, controller };
    commanded.push(entry);
    // Where no move is under way, this one is looked at in the task that follows, and may be refused there.
    await nextTask();
    const { state, epoch, error } = report;
    if (state === 'refused' || state === 'failed') {
      commanded = commanded.filter((one) => one !== entry);
      if (lastSeq[op] === seq) lastSeq[op] = before;
      return { ok: false, error, state, epoch: plan.epoch, cmd: echo };
    }
    accepted();
    return { ok: true, cacheSeq: ++cacheSeq, cmd: echo, state, epoch };
  }

  async function setPlan(cmd: SetPlan): Promise<object> {
    const echo = { ...cmd, ...echoOf(cmd), reserved0: 0 };
    const accept = () => {
      command = echo;
    };
    if (cmd.moves?.length !== 0) return start('set_plan', cmd.seq, shareMove(cmd), echo, accept);
    // EdgeVisor's way to say nothing.
    const { plan } = loaded();
    if (cmd.seq <= lastSeq.set_plan) throw new Error('stale seq');
    lastSeq.set_plan = cmd.seq;
    accept();
    return { ok: true, cacheSeq: ++cacheSeq, cmd: echo, state: 'committed', epoch: plan.epoch };
  }

  async function setLayers(cmd: SetLayers): Promise<object> {
    const { plan } = loaded();
    const { seq, fromNodeIndex, toNodeIndex, layerCount } = cmd;
    const exact = exactOf(cmd, 0);
    const move = { from: fromNodeIndex, to: toNodeIndex, layers: layerCount, ...(exact && { exact }) };
    const layers = borderLayers(plan, move);
    const answer = await start('set_pp_migration', seq, move, { ...cmd, ...echoOf(cmd) }, () => {
      layersCommand = { fromNodeIndex, toNodeIndex, layerCount, layers, seq };
    });
    return { ...answer, ppMigration: true, layerCount };
  }

  function status(): object {
    const current = session();
    const { position, batchSize, tokens } = current?.progress ?? { position: 0, batchSize: 0, tokens: 0 };
    const plan = current?.conductor.plan;
    const reports = current?.moves.reports ?? [];
    const last = commanded.findLast(({ op }) => op === 'set_pp_migration');
    return {
      ...{ ok: true, cacheSeq, cmd: command, enablePlanBarrier: true, position, batchSize },
      perfSamples: plan && tokens > 0 ? nodesOf(plan).length : 0,
      ppMigration: {
        ...{ ...layersCommand, enabled: true, lastSeq: lastSeq.set_pp_migration },
        ...(last && { state: last.report.state, epoch: last.report.epoch }),
      },
      lastSeq: lastSeq.set_plan,
      epoch: plan?.epoch ?? 0,
      moves: reports.map((report) => {
        const by = commanded.find((one) => one.report === report);
        return { ...report, ...(by && { op: by.op, seq: by.seq }) };
      }),
    };
  }

  function clear(): object {
    for (const { report, controller } of commanded) {
      if (OPEN.has(report.state)) controller.abort(new HostError('aborted', 'The plan socket said clear.'));
    }
    command = NO_COMMAND;
    layersCommand = NO_LAYERS;
    return { ok: true, cacheSeq: ++cacheSeq };
  }

  const profiles = (nodes: Node[], layers: boolean) =>
    Promise.all(nodes.map(async (node) => ({ node, times: await profile(node.member.device, { layers }) })));

  async function perf(): Promise<object> {
    const current = session();
    const plan = current?.conductor.plan;
    if (!plan || current.progress.tokens === 0) return { ok: true, perf: [] };
    const rows = (await profiles(nodesOf(plan), false)).flatMap(({ node: { node, stage }, times }) => {
      if (!times) return [];
      const { position, batchSize, execUs, syncUs } = times;
      return [{ position, batchSize, nodeIndex: node, stageIndex: stage, execUs, syncUs }];
    });
    return { ok: true, perf: rows };
  }

  async function layerProfile(request: RequestOf<'layer_prof'>): Promise<object> {
    const { plan, progress } = loaded();
    const nodes = nodesOf(plan);
    const stage = stageOf(plan, request);
    const wanted = stage === undefined ? nodes : nodes.filter((node) => node.stage === stage);
    const [first, end] = stage === undefined ? [0, plan.stages.at(-1)?.layers[1] ?? 0] : plan.stages[stage].layers;
    const { layerIndex } = request;
    if (!request.all && (layerIndex === undefined || layerIndex < first || layerIndex >= end)) {
      throw new Error(
        stage === undefined
          ? `There is no layer ${layerIndex}; the model has layers 0 to ${end - 1}.`
          : `Stage ${stage} has layers ${first} to ${end - 1}, not ${layerIndex}.`,
      );
    }
    const timed = await profiles(wanted, true);
    const rowOf = (layer: number) =>
      timed.flatMap(({ node: { node, stage: at }, times }) => {
        const [from, to] = plan.stages[at].layers;
        return layer >= from && layer < to ? [layerRow(at, node, layer, times)] : [];
      });
    const shown = stage ?? 0;
    const epoch = progress.tokens;
    const header = {
      stageIndex: shown,
      rootNodeIndex: nodes.find((node) => node.stage === shown)?.node ?? 0,
      nLayers: end - first,
      nStageNodes: plan.stages[shown].members.length,
      epoch,
    };
    const rows = request.all
      ? { layers: Array.from({ length: end - first }, (_, i) => rowOf(first + i)) }
      : { layerIndex, nodes: rowOf(layerIndex as number) };
    return { ok: true, layer_prof: { path: request.path, epoch, header, ...rows } };
  }

  async function answer(text: string): Promise<object> {
    const request = parsePlanRequest(JSON.parse(text));
    switch (request.op) {
      case 'ping':
        return { ok: true };
      case 'status':
        return status();
      case 'perf':
        return perf();
      case 'layer_prof':
        return layerProfile(request);
      case 'set_plan':
        return setPlan(request.cmd);
      case 'set_pp_migration':
        return setLayers(request.cmd);
      case 'clear':
        return clear();
      case 'set_runtime_gate':
        throw new Error(
          'set_runtime_gate switches groups of segments of EdgeVisor on and off, to debug it. Nothing computes twice here, so there is nothing to switch.',
        );
      case 'set_primary_layer':
        throw new Error(
          'set_primary_layer switches a layer of EdgeVisor on and off, to debug it. Here every layer has one owner: move it with set_pp_migration.',
        );
    }
  }

  return async (text) => {
    try {
      return JSON.stringify(await answer(text));
    } catch (error) {
      return JSON.stringify({ ok: false, error: messageOf(error) });
    }
  };
}

/** What EdgeVisor's answers repeat of a command, spelled out. */
function echoOf({ mode, triggerPos = 0, triggerLayer = 0 }: SetPlan | SetLayers) {
  return { mode: mode === 'next' ? 'next_barrier' : mode, triggerPos, triggerLayer };
}

function shareMove(cmd: SetPlan): Migration {
  const { stageIndex: stage, fromNodeIndex: from, toNodeIndex: to, cmdKind: kind } = cmd;
  const exact = exactOf(cmd);
  const rest = { stage, ...(exact && { exact }) };
  if (!cmd.moves) return { from, to, kind, heads: cmd.nHeadsToMove, ffn: cmd.nFfnToMove, ...rest };
  const moves = cmd.moves.map((one) => ({
    ...{ from: one.fromNodeIndex, to: one.toNodeIndex, kind: one.cmdKind, heads: one.headMove, ffn: one.ffnMove },
  }));
  return { moves, ...rest };
}

/** Where the command takes over; undefined for "as soon as it can". Throws where `exact` lacks the place. */
function exactOf({ mode, triggerPos, triggerLayer }: SetPlan | SetLayers, defaultLayer?: number) {
  if (mode !== 'exact') return undefined;
  const layer = triggerLayer ?? defaultLayer;
  if (triggerPos === undefined || layer === undefined)
    throw new Error(
      'mode exact needs triggerPos and triggerLayer: the token and the layer at which the plan takes over',
    );
  return { position: triggerPos, layer };
}

/** The layers that such a move takes; none where it is not possible. */
function borderLayers(plan: Plan, { from, to, layers }: { from: number; to: number; layers: number }): number[] {
  const giver = nodeAt(plan, from)?.stage;
  const taker = nodeAt(plan, to)?.stage;
  if (giver === undefined || taker === undefined || Math.abs(giver - taker) !== 1) return [];
  const [first, end] = plan.stages[giver].layers;
  if (layers > end - first) return [];
  const start = giver < taker ? end - layers : first;
  return Array.from({ length: layers }, (_, i) => start + i);
}

/** The stage that a profile is wanted of; undefined for all of them, or for whichever has the layer. */
function stageOf(plan: Plan, { stageIndex, rootNodeIndex }: RequestOf<'layer_prof'>): number | undefined {
  if (stageIndex !== undefined && stageIndex >= plan.stages.length)
    throw new Error(`There is no stage ${stageIndex}; the plan has stages 0 to ${plan.stages.length - 1}.`);
  if (rootNodeIndex === undefined) return stageIndex;
  const root = nodeAt(plan, rootNodeIndex);
  if (!root) throw new Error(`There is no node ${rootNodeIndex}; the plan has ${nodesOf(plan).length}.`);
  if (root.index !== 0 || (stageIndex !== undefined && root.stage !== stageIndex))
    throw new Error(`Node ${rootNodeIndex} does not lead stage ${stageIndex ?? root.stage}.`);
  return root.stage;
}

function layerRow(stageIndex: number, nodeIndex: number, layerIndex: number, times: Profiled | undefined) {
  const found = times?.layers.find(([layer]) => layer === layerIndex);
  const [, attnUs, ffnUs] = found ?? [layerIndex, 0, 0];
  return { ok: found !== undefined, stageIndex, nodeIndex, layerIndex, attnUs, ffnUs };
}
