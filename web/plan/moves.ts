/** Moves: a plan and a wish give the next plan, or the reason why not. */
import { type Limits, shortages } from './memory.ts';
import { type Node, nodeAt, nodesOf } from './nodes.ts';
import { aligned, count, distance, intersect, pick, subtract, union } from './ranges.ts';
import type { Ratios } from './ratios.ts';
import { BLOCK, groupSize, headUnit, type ModelShape } from './shape.ts';
import { makePlan, ratiosFault } from './split.ts';
import type { Member, Plan, Range, Stage } from './types.ts';

/** EdgeVisor's "whichever stage holds both nodes". */
export const ANY_STAGE = 0xffffffff;

/** EdgeVisor's amounts where a command leaves them out. */
export const DEFAULT_HEADS = 1;
export const DEFAULT_FFN = 256;

/**
 * A share from one member of a stage to another. `from` and `to` are node indices. Kind 1 moves KV heads with the
 * query heads that the giver has of them, kind 2 FFN columns, kind 3 both.
 */
export interface ShareMove {
  kind: 1 | 2 | 3;
  from: number;
  to: number;
  /** Must hold both nodes; absent or ANY_STAGE: whichever does. */
  stage?: number;
  /** KV heads, of those of which the giver has query heads; default 1. */
  heads?: number;
  /** FFN columns, a multiple of 32; default 256. */
  ffn?: number;
}

/** Layers at the border from the stage of node `from` to the neighbour stage of node `to`. */
export interface LayersMove {
  from: number;
  to: number;
  layers: number;
}

/** A new layout for these devices (indices in the room, in node order). */
export interface RatiosMove {
  ratios: Ratios;
  devices: number[];
}

/** `moves` are applied one after the other, all or none. */
export type Move = ShareMove | LayersMove | RatiosMove | { moves: (ShareMove | LayersMove)[] };

export type MoveResult = { plan: Plan } | { refused: string };

/**
 * The plan after a move, with the next epoch, or a reason for a person why it cannot be. An empty list of moves gives
 * the same plan, same epoch. With `limits`, a move for which a device lacks memory is refused too.
 * The plan must be sound (`checkPlan`); then so is the next.
 */
export function applyMove(plan: Plan, move: Move, shape: ModelShape, limits?: Limits): MoveResult {
  if ('moves' in move && move.moves.length === 0) return { plan };
  try {
    const next = { ...changed(plan, move, shape), epoch: plan.epoch + 1 };
    const [short] = limits ? shortages(plan, next, shape, limits) : [];
    if (short) {
      throw new Refusal(
        `Device ${short.device} would need ${megabytes(short.wanted)} for weights and context, but may use ${megabytes(short.room)}.`,
      );
    }
    return { plan: next };
  } catch (error) {
    if (error instanceof Refusal) return { refused: error.message };
    throw error;
  }
}

/** Ends a move with the reason; never leaves this file. */
class Refusal extends Error {}

function changed(plan: Plan, move: Move, shape: ModelShape): Plan {
  if ('moves' in move) return move.moves.reduce((before, one) => changed(before, one, shape), plan);
  if ('ratios' in move) {
    const fault = ratiosFault(move.ratios, shape, move.devices);
    if (fault) throw new Refusal(fault);
    return makePlan(move.ratios, shape, move.devices, plan.epoch);
  }
  return 'layers' in move ? moveLayers(plan, move) : moveShare(plan, move, shape);
}

function moveLayers(plan: Plan, move: LayersMove): Plan {
  const from = find(plan, move.from).stage;
  const to = find(plan, move.to).stage;
  if (Math.abs(from - to) !== 1) {
    const where = from === to ? `are both in stage ${from}` : `are in stages ${from} and ${to}`;
    throw new Refusal(`Nodes ${move.from} and ${move.to} ${where}; layers move between neighbouring stages.`);
  }
  demandAmount(move.layers, 'layers');
  const [first, end] = plan.stages[from].layers;
  if (move.layers < 1) throw new Refusal('The move names no layers.');
  if (move.layers >= end - first) {
    throw new Refusal(
      `Stage ${from} has ${end - first} layers and must keep at least one, so ${move.layers} cannot move.`,
    );
  }
  const border = from < to ? end - move.layers : first + move.layers;
  const upper = Math.max(from, to);
  const stages = plan.stages.map((stage, i): Stage => {
    const [start, stop] = stage.layers;
    if (i === upper) return { ...stage, layers: [border, stop] };
    if (i === upper - 1) return { ...stage, layers: [start, border] };
    return stage;
  });
  return { ...plan, stages };
}

function moveShare(plan: Plan, move: ShareMove, shape: ModelShape): Plan {
  const from = find(plan, move.from);
  const to = find(plan, move.to);
  if (from.node === to.node) throw new Refusal(`Node ${from.node} cannot give to itself.`);
  if (from.stage !== to.stage) {
    throw new Refusal(
      `Node ${from.node} is in stage ${from.stage} and node ${to.node} in stage ${to.stage}; shares move within a stage.`,
    );
  }
  if (move.stage !== undefined && move.stage !== ANY_STAGE && move.stage !== from.stage) {
    throw new Refusal(`Nodes ${from.node} and ${to.node} are in stage ${from.stage}, not in stage ${move.stage}.`);
  }
  if (![1, 2, 3].includes(move.kind)) throw new Refusal(`Kind ${move.kind} is none of 1 (heads), 2 (FFN), 3 (both).`);
  const heads = move.kind === 2 ? 0 : (move.heads ?? DEFAULT_HEADS);
  const ffn = move.kind === 1 ? 0 : (move.ffn ?? DEFAULT_FFN);
  demandAmount(heads, 'KV heads');
  demandAmount(ffn, 'FFN columns');
  if (heads + ffn === 0) throw new Refusal('The move names nothing to move.');

  const qMoved = heads > 0 ? headsToMove(from, to, heads, shape) : [];
  const ffnMoved = ffn > 0 ? ffnToMove(from, to, ffn) : [];
  const giver: Member = {
    ...from.member,
    qHeads: subtract(from.member.qHeads, qMoved),
    ffn: subtract(from.member.ffn, ffnMoved),
  };
  const receiver: Member = {
    ...to.member,
    qHeads: union(to.member.qHeads, qMoved),
    ffn: union(to.member.ffn, ffnMoved),
  };
  const members = plan.stages[from.stage].members.with(from.index, giver).with(to.index, receiver);
  return { ...plan, stages: plan.stages.with(from.stage, { ...plan.stages[from.stage], members }) };
}

/** Query heads of `amount` KV heads of the giver. A KV head that it shares with others counts whole; its part moves. */
function headsToMove(from: Node, to: Node, amount: number, shape: ModelShape): Range[] {
  const own = from.member.qHeads;
  const group = groupSize(shape);
  const borders = [0];
  for (let head = 0; head < shape.heads; head += group) {
    const part = count(intersect(own, [[head, head + group]]));
    if (part > 0) borders.push(borders[borders.length - 1] + part);
  }
  const kvHeads = borders.length - 1;
  if (amount > kvHeads) {
    throw new Refusal(`Node ${from.node} has ${kvHeads} KV heads, so ${amount} cannot move.`);
  }
  const unit = headUnit(shape);
  const whole = (moved: Range[]) => aligned(moved, unit, shape.heads);
  const choose = (n: number) => nearest(own, to.member.qHeads, borders, n, from.node < to.node, whole);
  const moved = choose(amount);
  if (moved) return moved;
  const possible = borders.map((_, n) => n).filter((n) => n > 0 && choose(n) !== undefined);
  throw new Refusal(
    `${amount} KV heads of node ${from.node} cannot move: heads of ${shape.headDim} values move in groups of ${unit}, which fill blocks of ${BLOCK} columns. Possible here: ${possible.join(', ')}.`,
  );
}

function ffnToMove(from: Node, to: Node, amount: number): Range[] {
  const own = from.member.ffn;
  if (amount % BLOCK !== 0) {
    throw new Refusal(`FFN columns move in blocks of ${BLOCK}; ${amount} is not a multiple of it.`);
  }
  const columns = count(own);
  if (amount > columns) {
    throw new Refusal(`Node ${from.node} has ${columns} FFN columns, so ${amount} cannot move.`);
  }
  const borders = Array.from({ length: columns / BLOCK + 1 }, (_, i) => i * BLOCK);
  return nearest(own, to.member.ffn, borders, amount / BLOCK, from.node < to.node, () => true)!;
}

/**
 * Which `amount` neighbouring pieces of the giver's list move: those that leave both lists with the fewest ranges,
 * then those nearest to what the receiver has, then those at the giver's end on the receiver's side.
 *
 * @param own the giver's list
 * @param theirs the receiver's list
 * @param borders where `own` may be cut, counted in its own numbers, 0 and its length included
 * @param upward whether the receiver comes after the giver
 * @param allowed which choices may be taken
 */
function nearest(
  own: Range[],
  theirs: Range[],
  borders: number[],
  amount: number,
  upward: boolean,
  allowed: (moved: Range[]) => boolean,
): Range[] | undefined {
  let best: { moved: Range[]; ranges: number; far: number } | undefined;
  for (let i = 0; i + amount < borders.length; i++) {
    const moved = pick(own, borders[i], borders[i + amount]);
    if (!allowed(moved)) continue;
    const ranges = subtract(own, moved).length + union(theirs, moved).length;
    const far = distance(moved, theirs);
    const order = best ? ranges - best.ranges || (far === best.far ? 0 : far - best.far) : -1;
    if (order < 0 || (order === 0 && upward)) best = { moved, ranges, far };
  }
  return best?.moved;
}

function find(plan: Plan, node: number): Node {
  const found = nodeAt(plan, node);
  if (!found) throw new Refusal(`There is no node ${node}; the plan has nodes 0 to ${nodesOf(plan).length - 1}.`);
  return found;
}

/** Amounts come from people and sockets. */
function demandAmount(amount: number, what: string): void {
  if (!Number.isInteger(amount) || amount < 0) throw new Refusal(`${amount} is no number of ${what}.`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
