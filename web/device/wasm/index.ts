/** The WASM backend: wasm-cpu's kernels on one or more threads over one memory. */
import type { Backend, BackendOptions, LayerShare, PlacedTile, Step, Tile, TileData } from '../backend.ts';
import { DeviceError } from '../backend.ts';
import { MOST_BEST, scaleOf } from '../best.ts';
import type { OperationTimer } from '../run-timed.ts';
import { wasmFeatures } from './kernels.ts';
import { CHUNK, type KvHead, kvHeadBytes, kvRoom, readKvHead, writeKvHead } from './kv-cache.ts';
import { createMemory } from './memory.ts';
import { cutPacked, type Packing, packTile } from './pack.ts';
import { compileProgram, OP_FIELDS, type ResidentLayer, type Section, type WasmTile } from './program.ts';
import { createScratch, MOST_HEADS_TOGETHER, type Scratch } from './scratch.ts';
import { blocksOf, selectBest } from './selection.ts';
import { CONTROL, takeTeam } from './team.ts';

/** Word offsets in the control block; see wasm-cpu/assembly/layout.ts. */
const POSITION = CONTROL;
const COUNT = CONTROL + 1;
const SELECTION_SCALE = CONTROL + 9;
/** Below lie the control block and the kernels' constants. */
const FIRST_FREE = 8192;
const TAKEN = OP_FIELDS - 1;

export interface WasmOptions extends BackendOptions {
  /** 1 or more; capped to 1 where memory cannot be shared. */
  threads: number;
  /** Forces plain SIMD; for tests. */
  plain?: boolean;
  /** Compiled kernels, where they cannot be fetched. Must match `threads` and `plain`. */
  module?: WebAssembly.Module;
  /** Longest wait for a helper thread, in milliseconds; for tests. */
  patienceMs?: number;
}

/** A compiled program in memory. */
interface ResidentProgram {
  at: number;
  ops: number;
  sections: Section[];
}

/** Rejects with DeviceError `unsupported` without WASM SIMD or for heads of a width that the kernels lack, `memory` when the scratch does not fit. */
export async function createWasmBackend(options: WasmOptions): Promise<Backend> {
  const { hyper, context, maxBatch } = options;
  const features = wasmFeatures();
  if (!features.simd) {
    throw new DeviceError('unsupported', 'This browser has no WebAssembly SIMD. Update it to compute here.');
  }
  if (hyper.headDim > CHUNK || hyper.headDim % 8 !== 0) {
    throw new DeviceError(
      'unsupported',
      `The processor's kernels have attention heads of a multiple of 8 values, ${CHUNK} at most, not ${hyper.headDim}.`,
    );
  }
  const relaxed = features.relaxed && !options.plain;
  const team = await takeTeam({
    ...{ relaxed, module: options.module, patienceMs: options.patienceMs },
    threads: features.threads ? Math.max(1, options.threads) : 1,
  });
  const { threads } = team;
  const memory = createMemory(team.memory, FIRST_FREE, team.dirty);

  const layers = new Map<number, ResidentLayer>();
  const kv = new Map<string, KvHead>();
  let embedding: PlacedTile[] = [];
  let head = { tiles: [] as PlacedTile[], norm: 0, rows: 0 };
  let logits = { at: 0, positions: 0, summary: 0 };
  let scratch: Scratch | undefined;
  let scratchKey = '';
  const programs = new Map<string, ResidentProgram>();
  let weightBytes = 0;
  let kvBytes = 0;
  let reportLost: (why: string) => void = () => {};
  const lost = new Promise<string>((resolve) => {
    reportLost = resolve;
  });

  const residentLayer = (layer: number): ResidentLayer => {
    const found = layers.get(layer);
    if (!found) throw new Error(`this device holds no share of layer ${layer}`);
    return found;
  };

  function forgetPrograms(): void {
    for (const { at } of programs.values()) memory.free(at);
    programs.clear();
  }

  function floats(values: Float32Array): number {
    const at = memory.allocate(values.byteLength);
    memory.f32().set(values, at >>> 2);
    return at;
  }

  function currentScratch(): Scratch {
    let heads = 0;
    let kvHeads = 0;
    let ffn = 0;
    for (const { share } of layers.values()) {
      heads = Math.max(heads, share.qToKv.length);
      kvHeads = Math.max(kvHeads, share.kvHeads.length);
      ffn = Math.max(ffn, share.ffn);
    }
    const key = `${heads}/${kvHeads}/${ffn}`;
    if (scratch && key === scratchKey) return scratch;
    // The residual stream lives from step to step: it moves with the scratch.
    const size = maxBatch * hyper.dim;
    const residual = scratch && memory.f32().slice(scratch.residual >>> 2, (scratch.residual >>> 2) + size);
    scratch?.free();
    const sizes = { maxBatch, dim: hyper.dim, headDim: hyper.headDim, ropeDims: hyper.rope.dims, context, threads };
    scratch = createScratch(memory, { ...sizes, heads, kvHeads, ffn });
    if (residual) memory.f32().set(residual, scratch.residual >>> 2);
    scratchKey = key;
    return scratch;
  }

  function ensureLogits(positions: number): void {
    if (logits.positions >= positions) return;
    if (logits.at) memory.free(logits.at);
    const bytes = 16 * Math.ceil(head.rows / 4) * positions;
    const at = memory.allocate(bytes + 8 * blocksOf(head.rows));
    logits = { at, positions, summary: at + bytes };
    forgetPrograms();
  }

  function program(step: Step): ResidentProgram {
    const buffers = currentScratch();
    const best = step.output === 'best';
    const ops = step.ops.map(
      (op) => `${op.op}${'layer' in op ? op.layer : ''}${'positions' in op ? op.positions : ''}`,
    );
    const key = [best, ...ops].join();
    const known = programs.get(key);
    if (known) return known;
    const { words, sections } = compileProgram(step.ops, {
      ...{ hyper, threads, scratch: buffers, layer: residentLayer },
      ...{ embedding, head, logits: logits.at, summary: best ? logits.summary : undefined },
    });
    const made = { at: memory.allocate(Math.max(4, words.byteLength)), ops: words.length / OP_FIELDS, sections };
    memory.i32().set(words, made.at >>> 2);
    programs.set(key, made);
    return made;
  }

  function writeRopeTable(at: number, position: number, count: number): void {
    const { dims, frequencies, magnitude } = hyper.rope;
    const half = dims / 2;
    const table = memory.f32();
    for (let t = 0; t < count; t++) {
      const base = (at >>> 2) + t * dims;
      for (let i = 0; i < half; i++) {
        const angle = (position + t) * frequencies[i];
        table[base + i] = Math.cos(angle) * magnitude;
        table[base + half + i] = Math.sin(angle) * magnitude;
      }
    }
  }

  /** The same records in the same order, with a look at the clock after every section. */
  function executeTimed({ at, ops, sections }: ResidentProgram, timer: OperationTimer): void {
    let before = performance.now();
    for (const [i, { first, operation, layer }] of sections.entries()) {
      const end = sections[i + 1]?.first ?? ops;
      if (end === first) continue;
      team.execute(at + 4 * OP_FIELDS * first, end - first);
      const now = performance.now();
      timer(operation, layer, now - before);
      before = now;
    }
  }

  async function run(step: Step): Promise<Float32Array> {
    const { position, count, ops } = step;
    if (count < 1 || count > maxBatch) throw new Error(`a step has 1 to ${maxBatch} positions, not ${count}`);
    if (position < 0 || position + count > context) {
      throw new Error(`positions ${position} to ${position + count} do not fit a context of ${context}`);
    }
    const buffers = currentScratch();
    const headOp = ops.find((op) => op.op === 'head');
    if (headOp) ensureLogits(headOp.positions === 'all' ? maxBatch : 1);
    const resident = program(step);
    const { at, ops: opCount } = resident;
    const size = count * hyper.dim;
    const residualAt = buffers.residual >>> 2;
    if (step.ids) memory.u32().set(step.ids.subarray(0, count), buffers.ids >>> 2);
    if (step.residual) memory.f32().set(step.residual.subarray(0, size), residualAt);
    if (step.add) {
      const residual = memory.f32();
      for (let i = 0; i < size; i++) residual[residualAt + i] += step.add[i];
    }
    writeRopeTable(buffers.table, position, count);
    const words = memory.i32();
    for (let i = 0; i < opCount; i++) words[(at >>> 2) + i * OP_FIELDS + TAKEN] = 0;
    words[POSITION] = position;
    words[COUNT] = count;
    if (step.best) memory.f32()[SELECTION_SCALE] = scaleOf(step.best.temperature);
    try {
      if (step.timer) executeTimed(resident, step.timer);
      else team.execute(at, opCount);
    } catch (cause) {
      reportLost(`The WASM kernels stopped: ${(cause as Error).message}`);
      throw new DeviceError('lost', `The WASM kernels stopped: ${(cause as Error).message}`, { cause });
    }
    const view = memory.f32();
    if (step.output === 'none') return view.subarray(0, 0);
    if (step.output === 'best') {
      const from = logits.summary >>> 2;
      const blocks = view.subarray(from, from + 2 * blocksOf(head.rows));
      return selectBest(logitsView(view, 1), blocks, step.best ?? { top: 0, temperature: 0 });
    }
    if (step.output === 'logits') {
      const positions = headOp?.positions === 'all' ? count : 1;
      return logitsView(view, positions);
    }
    const from = step.output === 'partial' ? buffers.partial >>> 2 : residualAt;
    return view.subarray(from, from + size);
  }

  /** Rows are padded to groups of 4 in memory; the caller sees them dense. */
  function logitsView(view: Float32Array, positions: number): Float32Array {
    const padded = Math.ceil(head.rows / 4) * 4;
    const from = logits.at >>> 2;
    if (padded === head.rows || positions === 1) return view.subarray(from, from + positions * head.rows);
    const dense = new Float32Array(positions * head.rows);
    for (let t = 0; t < positions; t++) {
      dense.set(view.subarray(from + t * padded, from + t * padded + head.rows), t * head.rows);
    }
    return dense;
  }

  function ensureKv(layer: number, number: number): KvHead {
    const key = `${layer}/${number}`;
    const known = kv.get(key);
    if (known) return known;
    const bytes = kvHeadBytes(context, hyper.headDim);
    const made: KvHead = { at: memory.allocate(bytes), room: kvRoom(context), headDim: hyper.headDim };
    kvBytes += bytes;
    kv.set(key, made);
    return made;
  }

  function dropLayer(layer: number): void {
    const resident = layers.get(layer);
    if (!resident) return;
    for (const at of [...Object.values(resident.vectors), resident.kv, resident.runs.at]) memory.free(at);
    layers.delete(layer);
  }

  function setLayer(layer: number, share: LayerShare | undefined): void {
    forgetPrograms();
    dropLayer(layer);
    const keep = new Set(share?.kvHeads ?? []);
    for (const [key, { at }] of kv) {
      const [l, number] = key.split('/').map(Number);
      if (l !== layer || keep.has(number)) continue;
      memory.free(at);
      kvBytes -= kvHeadBytes(context, hyper.headDim);
      kv.delete(key);
    }
    if (!share) return;
    const records = share.kvHeads.flatMap((number) => {
      const { at, room } = ensureKv(layer, number);
      return [at, room];
    });
    const words = (values: number[]) => {
      const at = memory.allocate(4 * values.length);
      memory.u32().set(values, at >>> 2);
      return at;
    };
    const runs = headRuns(share.qToKv);
    const vectors: ResidentLayer['vectors'] = {};
    for (const [role, values] of Object.entries(share.vectors)) {
      vectors[role as keyof LayerShare['vectors']] = floats(values);
    }
    layers.set(layer, { share, vectors, kv: words(records), runs: { at: words(runs.flat()), count: runs.length } });
  }

  const kvOf = (layer: number, number: number): KvHead => {
    const found = kv.get(`${layer}/${number}`);
    if (!found) throw new Error(`this device holds no KV head ${number} of layer ${layer}`);
    return found;
  };

  function place({ bytes, writeTo }: Packing, rows: number, cols: number): WasmTile {
    const at = memory.allocate(bytes);
    weightBytes += bytes;
    return { rows, cols, bytes, ...writeTo(at) };
  }

  return {
    kind: 'wasm',
    threads,
    description: `WASM ${relaxed ? 'relaxed ' : ''}SIMD, ${threads} ${threads === 1 ? 'thread' : 'threads'}`,
    note: team.note,
    lost,
    timesOperations: true,
    selection: { most: MOST_BEST, readLogits: async () => logitsView(memory.f32(), 1).slice() },
    reserve: (bytes) => memory.reserve(bytes),
    async addTile(_role, data: TileData): Promise<Tile> {
      if (data.cols % 32 !== 0) throw new Error(`a tile has whole blocks of 32 columns, not ${data.cols}`);
      return place(packTile(data, memory), data.rows, data.cols);
    },
    async cutTile(tile, rows, cols) {
      const cutting = cutPacked(tile as WasmTile, tile, rows, cols, memory);
      return cutting && place(cutting, rows[1] - rows[0], cols[1] - cols[0]);
    },
    dropTile(tile) {
      const { at, bytes } = tile as WasmTile;
      memory.free(at);
      weightBytes -= bytes;
    },
    setLayer,
    setEmbedding(tiles) {
      forgetPrograms();
      embedding = tiles ?? [];
    },
    setHead(tiles, norm) {
      forgetPrograms();
      if (head.norm) memory.free(head.norm);
      if (logits.at) memory.free(logits.at);
      logits = { at: 0, positions: 0, summary: 0 };
      const rows = (tiles ?? []).reduce((n, { tile, row }) => Math.max(n, row + tile.rows), 0);
      head = { tiles: tiles ?? [], norm: norm ? floats(norm) : 0, rows };
    },
    run,
    readKv: async (layer, number, from, to) => readKvHead(memory, kvOf(layer, number), from, to),
    writeKv: async (layer, number, from, slice) => writeKvHead(memory, kvOf(layer, number), from, slice),
    memory: () => ({ weights: weightBytes, kv: kvBytes, scratch: memory.used() - weightBytes - kvBytes }),
    destroy() {
      memory.close();
      team.end(memory.touched());
    },
  };
}

/** Neighbouring query heads of one KV head, in runs that attention can take together. */
function headRuns(qToKv: readonly number[]): [first: number, heads: number, kvHead: number][] {
  const runs: [number, number, number][] = [];
  for (const [head, kvHead] of qToKv.entries()) {
    const last = runs.at(-1);
    if (last && last[2] === kvHead && last[1] < MOST_HEADS_TOGETHER) last[1]++;
    else runs.push([head, 1, kvHead]);
  }
  return runs;
}
