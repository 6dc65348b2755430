/** A stage's members in one process: their partial sums are added in member order, as the mesh will do. */
import type { Executor } from '../../web/device/executor.ts';
import { type Batch, type Exchange, runStage } from '../../web/device/member.ts';
import { decode, encode, type NumberType, roundTrip, wireBytes } from '../../web/mesh/wire.ts';
import { argmax } from './golden.ts';

/** Exchanges for `members` executors that wait for each other at every sum, rounded as on the wire. */
export function lockstep(members: number, wire: NumberType = 'f32'): Exchange[] {
  let waiting: { partial: Float32Array; resolve: (sum: Float32Array) => void }[] = [];
  let arrived = 0;
  const meet = (member: number, partial: Float32Array) =>
    new Promise<Float32Array>((resolve) => {
      waiting[member] = { partial: partial.slice(), resolve };
      arrived++;
      if (arrived < members) return;
      const everyone = waiting;
      waiting = [];
      arrived = 0;
      const sum = new Float32Array(everyone[0].partial.length);
      const bytes = new Uint8Array(wireBytes(wire, sum.length));
      for (const [i, { partial: part }] of everyone.entries()) {
        encode(wire, part, bytes);
        decode(wire, bytes, sum, i === 0);
      }
      for (const { resolve: give } of everyone) give(sum);
    });
  return Array.from({ length: members }, (_, member) => ({ members, allReduce: (partial) => meet(member, partial) }));
}

/**
 * One batch through stages of executors. Gives the logits of all positions asked for over the whole vocabulary:
 * members of the last stage hold ascending, disjoint vocabulary ranges.
 */
export async function runPipeline(
  stages: Executor[][],
  ids: Uint32Array,
  position: number,
  wire: NumberType = 'f32',
): Promise<Float32Array[]> {
  let input: Batch['input'] = { ids };
  for (const [index, members] of stages.entries()) {
    const final = index === stages.length - 1;
    const output: Batch['output'] = final ? { logits: 'all' } : 'residual';
    const exchanges = lockstep(members.length, wire);
    // Members after the first have no embedding: the first one's residual reaches them.
    const shared: Batch['input'] =
      'ids' in input && members.length > 1 ? { residual: await embed(members[0], input.ids, position, wire) } : input;
    const results = await Promise.all(
      members.map(async (member, i) => {
        const result = await runStage(member, exchanges[i], { position, count: ids.length, input: shared, output });
        return result.slice();
      }),
    );
    if (!final) input = { residual: results[0] };
    else return joinVocabulary(members, results, ids.length);
  }
  throw new Error('a pipeline has at least one stage');
}

/** The embedding's rows as they go to the other members, and as the first one takes them itself. */
async function embed(member: Executor, ids: Uint32Array, position: number, wire: NumberType): Promise<Float32Array> {
  const ops = [{ op: 'embed' } as const];
  const residual = (await member.run({ position, count: ids.length, ids, ops, output: 'residual' })).slice();
  if (wire !== 'f32') roundTrip('q15', residual, residual);
  return residual;
}

function joinVocabulary(members: Executor[], results: Float32Array[], positions: number): Float32Array[] {
  const { vocab } = members[0].hyper;
  return Array.from({ length: positions }, (_, t) => {
    const logits = new Float32Array(vocab).fill(Number.NaN);
    for (const [i, { weights }] of members.entries()) {
      const rows = results[i].length / positions;
      let at = t * rows;
      for (const [from, to] of weights.share.vocab) {
        logits.set(results[i].subarray(at, at + to - from), from);
        at += to - from;
      }
    }
    return logits;
  });
}

/** Logits after every one of `ids`, in batches of up to `batch`. */
export async function teacherForce(
  stages: Executor[][],
  ids: number[],
  batch = 32,
  wire: NumberType = 'f32',
): Promise<Float32Array[]> {
  const logits: Float32Array[] = [];
  for (let position = 0; position < ids.length; position += batch) {
    logits.push(
      ...(await runPipeline(stages, Uint32Array.from(ids.slice(position, position + batch)), position, wire)),
    );
  }
  return logits;
}

/** The next `tokens` best tokens after `ids`. */
export async function greedy(stages: Executor[][], ids: number[], tokens: number): Promise<number[]> {
  let logits = (await teacherForce(stages, ids)).at(-1) ?? new Float32Array();
  const out: number[] = [];
  for (let t = 0; t < tokens; t++) {
    out.push(argmax(logits));
    [logits] = await runPipeline(stages, Uint32Array.of(out[t]), ids.length + t);
  }
  return out;
}
