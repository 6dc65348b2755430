/**
 * `?verify=1`: this page computes parts of other members once more, from the model's own bytes, and holds them against
 * what those members sent. It looks at sums of the answer itself, which its own device has anyway, so nobody can tell
 * what is looked at; a member that cheats in a part of its layers is found after as many looks as that part is small.
 *
 * Attention is checked from the beginning of a conversation on, since it rests on all positions before; FFN always.
 */
import type { Backend, BackendOptions } from '../../device/backend.ts';
import { createExecutor, type Executor } from '../../device/executor.ts';
import { loadMissing } from '../../device/loader/load.ts';
import type { Half, LayerWatch, Watcher } from '../../device/member.ts';
import type { StreamingPartReader } from '../../device/store/types.ts';
import { MeshError } from '../../mesh/errors.ts';
import { decode, type NumberType, roundTrip } from '../../mesh/wire.ts';
import type { Catalogue } from '../../model/types.ts';
import { count as countOf } from '../../plan/ranges.ts';
import type { Member, Plan, Stage } from '../../plan/types.ts';
import { OWN } from './hub.ts';

/** Batches after which another layer of another member is looked at. */
const BATCHES_EACH = 64;
/**
 * Largest rms difference, as part of the rms sum. Different orders of summation make 1e-6, and where they tip the
 * rounding of a cached key, or of a sum on its way as bytes, some 1e-3.
 */
const TOLERANCE = 1e-2;

export interface SpotCheckOptions {
  catalogue: Catalogue;
  context: number;
  /** Positions in one batch of the members. */
  batch: number;
  wire: NumberType;
  /** The model's bytes. */
  reader: StreamingPartReader;
  /** Makes the backend that everything is computed with once more. */
  makeBackend(options: BackendOptions): Promise<Backend>;
  /** The plan that holds. */
  plan(): Plan | undefined;
  /** A member's part was wrong: MeshError `wrong-share` with the device. */
  onWrong(error: MeshError): void;
  /** From 0 to 1, in place of chance. */
  random?(): number;
}

export interface SpotCheck extends Watcher {
  /** Gives the memory back. */
  close(): void;
}

/** One layer of one member of this page's stage. */
interface Suspect {
  epoch: number;
  member: Member;
  /** Its place among the members. */
  place: number;
  layer: number;
  batchesLeft: number;
  /** Positions from 0 on whose KV has been computed here too. */
  followed: number;
}

export function createSpotCheck(options: SpotCheckOptions): SpotCheck {
  const { catalogue, context, batch, wire, reader, makeBackend, plan, onWrong, random = Math.random } = options;
  const { hyper } = catalogue;
  let suspect: Suspect | undefined;
  let backend: Promise<Backend> | undefined;
  let executor: Executor | undefined;
  /** Whose weights the executor has. */
  let loaded: Suspect | undefined;
  let closed = false;

  const anyOf = <T>(list: readonly T[]): T => list[Math.min(list.length - 1, Math.floor(random() * list.length))] as T;

  function choose({ members, layers }: Stage, epoch: number): Suspect {
    const others = members.flatMap((member, place) => (member.device === OWN ? [] : [{ member, place }]));
    const layer = layers[0] + Math.floor(random() * (layers[1] - layers[0]));
    return { ...anyOf(others), epoch, layer, batchesLeft: BATCHES_EACH, followed: 0 };
  }

  /** The weights of the suspect's part of its layer. */
  async function load(wanted: Suspect): Promise<Executor> {
    if (executor && loaded === wanted) return executor;
    backend ??= makeBackend({ hyper, context, maxBatch: batch });
    const device = await backend;
    const { qHeads, ffn } = wanted.member;
    const share = {
      ...{ qHeads, ffn, vocab: [], embedding: false, head: false },
      layers: [wanted.layer, wanted.layer + 1] as [number, number],
    };
    const change = await loadMissing({ catalogue, reader, backend: device, share, current: executor?.weights });
    if (executor) executor.setWeights(change.weights);
    else executor = createExecutor(hyper, device, change.weights);
    for (const tile of change.released) device.dropTile(tile);
    loaded = wanted;
    return executor;
  }

  /** The suspect's sums for a half of its layer, as every member should have seen them. */
  async function expected(
    wanted: Suspect,
    half: Half,
    position: number,
    residual: Float32Array,
  ): Promise<Float32Array> {
    const { qHeads, ffn } = wanted.member;
    if (countOf(half === 'attention' ? qHeads : ffn) === 0) return new Float32Array(residual.length);
    const run = await load(wanted);
    const sums = await run.run({
      ...{ position, count: residual.length / hyper.dim, residual },
      ...{ ops: [{ op: half, layer: wanted.layer }], output: 'partial' },
    });
    const seen = new Float32Array(sums.length);
    roundTrip(wire, sums, seen);
    return seen;
  }

  async function check(wanted: Suspect, half: Half, position: number, seen: Seen): Promise<void> {
    if (!seen.residual || !seen.sent) return;
    const due = await expected(wanted, half, position, seen.residual);
    const sums = new Float32Array(due.length);
    decode(wire, seen.sent, sums, true);
    const difference = relativeDifference(due, sums);
    if (difference <= TOLERANCE) return;
    const { device } = wanted.member;
    const text = `Device ${device} computed its part of layer ${wanted.layer} wrongly (${half}, off by ${percent(difference)}).`;
    const error = new MeshError('wrong-share', text, device);
    onWrong(error);
    throw error;
  }

  function watch(wanted: Suspect, position: number, count: number): LayerWatch {
    const seen: Record<Half, Seen> = { attention: {}, ffn: {} };
    return {
      layer: wanted.layer,
      input(half, residual) {
        seen[half].residual = residual.slice();
      },
      sums(half, parts) {
        seen[half].sent = parts[wanted.place]?.slice();
      },
      async done() {
        if (closed) return;
        if (position <= wanted.followed) {
          await check(wanted, 'attention', position, seen.attention);
          wanted.followed = position + count;
        }
        await check(wanted, 'ffn', position, seen.ffn);
      },
    };
  }

  return {
    begin({ epoch, position, count, layers }) {
      const present = plan();
      const stage = present?.stages.find(({ members }) => members.some(({ device }) => device === OWN));
      if (closed || present?.epoch !== epoch || !stage) return undefined;
      const anew = suspect?.epoch !== epoch || suspect.batchesLeft <= 0 || position === 0;
      const wanted = anew || !suspect ? choose(stage, epoch) : suspect;
      suspect = wanted;
      wanted.batchesLeft--;
      // A token that changes its plan halfway goes through some of the layers only.
      return wanted.layer >= layers[0] && wanted.layer < layers[1] ? watch(wanted, position, count) : undefined;
    },
    close() {
      closed = true;
      void backend?.then((made) => made.destroy());
    },
  };
}

/** Of one half: what went in, and what the suspect sent. */
interface Seen {
  residual?: Float32Array;
  sent?: Uint8Array | undefined;
}

/** Rms of the difference as part of the rms of what was due; infinite where nothing was due. */
function relativeDifference(due: Float32Array, sums: Float32Array): number {
  let error = 0;
  let size = 0;
  for (let i = 0; i < due.length; i++) {
    error += (due[i]! - sums[i]!) ** 2;
    size += due[i]! ** 2;
  }
  return error === 0 ? 0 : Math.sqrt(error / size);
}

const percent = (part: number): string => (Number.isFinite(part) ? `${(100 * part).toPrecision(2)} %` : 'everything');
