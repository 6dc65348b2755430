/** Which way of sharing out the products suits a device: known for processors, measured on GPUs. */
import type { WebGpuDevice } from './adapter.ts';
import { bufferWith, type CheckedDevice, STORAGE } from './gpu.ts';
import { BLOCK, type Format, GROUP } from './layout.ts';
import { createPipelines, type Pipelines, type Sizes, type Tuning } from './pipelines.ts';
import { type GpuTile, product } from './product.ts';
import type { Readback } from './readback.ts';
import { activationValues, stepNumbers } from './scratch.ts';

/** Measured on llvmpipe, with its eight lanes: no barriers, several rows for every load of inputs. */
const PROCESSOR: Tuning = {
  processor: true,
  bundle: 32,
  vector: { groups: 4, slices: 1 },
  matrix: { groups: 4, tokens: 4, teams: 1 },
  rowThreads: 32,
  headThreads: 16,
  heads: 4,
  chunk: 256,
};

/**
 * Measured on SwiftShader: four lanes, loads that take many instructions, and a fiber for every four invocations of a
 * workgroup that has barriers.
 */
const SWIFTSHADER: Tuning = {
  ...PROCESSOR,
  bundle: 24,
  vector: { groups: 6, slices: 1 },
  matrix: { groups: 6, tokens: 4, teams: 1 },
  rowThreads: 4,
  headThreads: 8,
};

/** Where GPUs start from: 64 and more invocations a workgroup, neighbours read neighbouring vectors. */
const GPU: Tuning = {
  processor: false,
  bundle: 16,
  vector: { groups: 1, slices: 8 },
  matrix: { groups: 2, tokens: 4, teams: 8 },
  rowThreads: 128,
  headThreads: 128,
  heads: 1,
  chunk: 512,
};

/** Slices of the columns that are tried. */
const SLICES = [4, 8, 16];
/** The matrix that is measured: 4-bit weights, as most models have. */
const FORMAT: Format = 'q4h';
const ROWS = 4096;
const MOST_COLS = 2048;
const BYTES_PER_BLOCK = 20;
/** Dispatches of one measurement, so that it is longer than a clock tick, and measurements of which the best counts. */
const REPEATS = 20;
const MEASUREMENTS = 3;

export interface Tuned {
  tuning: Tuning;
  pipelines: Pipelines;
}

/** The usual choices for a device, without a measurement. */
export function knownTuning({ software, name }: Pick<WebGpuDevice, 'software' | 'name'>): Tuning {
  if (!software) return GPU;
  return /swiftshader/i.test(name) ? SWIFTSHADER : PROCESSOR;
}

/** Tries several slicings on a product of the model's width. */
export async function measureTuning(
  checked: CheckedDevice,
  sizes: Sizes,
  readback: Readback,
  base: Tuning,
): Promise<Tuned> {
  const bench = await createBench(checked, sizes, readback, base.bundle);
  try {
    let best: (Tuned & { ms: number }) | undefined;
    for (const slices of base.vector.slices > 1 ? SLICES : [base.vector.slices]) {
      const tuning = { ...base, vector: { ...base.vector, slices } };
      const pipelines = createPipelines(checked, sizes, tuning);
      const ms = await bench.measure({ tuning, pipelines });
      if (!best || ms < best.ms) best = { tuning, pipelines, ms };
    }
    return best!;
  } finally {
    bench.destroy();
  }
}

interface Bench {
  /** Milliseconds of a product with one token. */
  measure(tuned: Tuned): Promise<number>;
  destroy(): void;
}

async function createBench(checked: CheckedDevice, sizes: Sizes, readback: Readback, bundle: number): Promise<Bench> {
  const { device } = checked;
  const cols = Math.min(sizes.hyper.dim, MOST_COLS);
  const bytes = ((ROWS * cols) / BLOCK) * BYTES_PER_BLOCK;
  const buffers = await checked.createNow('a measurement', () => ({
    weights: device.createBuffer({ label: 'measured weights', size: bytes, usage: STORAGE() }),
    input: device.createBuffer({ label: 'measured input', size: activationValues(sizes) * 4, usage: STORAGE() }),
    output: device.createBuffer({ label: 'measured output', size: ROWS * 4, usage: STORAGE() }),
    step: device.createBuffer({
      label: 'measured step',
      size: 512,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    }),
  }));
  const scales = ((ROWS * cols) / BLOCK / GROUP) * GROUP;
  const tile: GpuTile = {
    ...{ rows: ROWS, cols, bytes },
    layout: { format: FORMAT, rows: ROWS, cols, rowGroups: ROWS / GROUP, scales, mins: bytes / 16, bytes, factor: 1 },
    allocation: { chunk: { buffer: buffers.weights, bytes }, at: 0, bytes },
  };
  const [dispatch] = product([{ tiles: [{ tile, row: 0, col: 0 }], outRow: 0 }], ROWS, bundle).dispatches;
  const table = bufferWith(device, 'measured table', dispatch!.table);

  return {
    async measure({ pipelines }) {
      await pipelines.prepare('matvec', {}, FORMAT);
      const pipeline = pipelines.get('matvec', {}, FORMAT);
      const { weights, input, output, step } = buffers;
      const group = pipelines.group('matvec', [{ buffer: step, size: 16 }, weights, table, input, output]);
      device.queue.writeBuffer(step, 0, stepNumbers(0, 1, 0, 1));
      let best = Number.POSITIVE_INFINITY;
      // The first one warms up.
      for (let i = 0; i <= MEASUREMENTS; i++) {
        const encoder = device.createCommandEncoder({ label: 'measurement' });
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, group);
        for (let n = 0; n < REPEATS; n++) pass.dispatchWorkgroups(dispatch!.bundles);
        pass.end();
        const start = performance.now();
        await readback.finish(encoder, [{ buffer: output, offset: 0, size: 4 }]);
        if (i > 0) best = Math.min(best, performance.now() - start);
      }
      return best;
    },
    destroy: () => {
      for (const buffer of [...Object.values(buffers), table]) buffer.destroy();
    },
  };
}
