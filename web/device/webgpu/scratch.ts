/** Buffers between the operations, the same for all layers. */
import { bufferWith, type CheckedDevice, roundUp, STORAGE } from './gpu.ts';
import type { Sizes } from './pipelines.ts';

/** Slots of the step's numbers lie this far apart, in bytes: the least alignment of uniform bindings. */
const SLOT_BYTES = 256;
const F32_BYTES = 4;

export interface Scratch {
  /** Two Step slots: of the step, and of its output head. */
  step: GPUBuffer;
  /** maxBatch × dim */
  residual: GPUBuffer;
  partial: GPUBuffer;
  /** Activation buffers (activations.wgsl): after norms; after attention and SwiGLU. */
  normed: GPUBuffer;
  mixed: GPUBuffer;
  /** maxBatch × (heads + 2 kvHeads) · headDim: outputs of q, k, v. */
  projected: GPUBuffer;
  /** maxBatch × heads · headDim */
  queries: GPUBuffer;
  /** maxBatch × 2 ffn: outputs of gate and up. */
  gateUp: GPUBuffer;
  /** context × rope pairs of (cosine, sine) */
  rotations: GPUBuffer;
  bytes(): number;
  destroy(): void;
}

/** Bindings of the two Step slots. */
export const stepSlot = (scratch: Scratch, slot: 0 | 1): GPUBufferBinding => ({
  buffer: scratch.step,
  offset: slot * SLOT_BYTES,
  size: 16,
});

/** The slots' contents as one write. */
export function stepNumbers(
  position: number,
  count: number,
  headFirst: number,
  headCount: number,
): Uint32Array<ArrayBuffer> {
  const numbers = new Uint32Array((2 * SLOT_BYTES) / 4);
  numbers.set([position, count, 0, 0], 0);
  numbers.set([position, headCount, headFirst, 0], SLOT_BYTES / 4);
  return numbers;
}

/** Values of an activation buffer (activations.wgsl). */
export function activationValues({ maxBatch, actStride }: Sizes): number {
  return maxBatch * actStride;
}

export function createScratch(checked: CheckedDevice, sizes: Sizes): Promise<Scratch> {
  const { device } = checked;
  const { hyper, context, maxBatch } = sizes;
  const activations = activationValues(sizes);
  const buffers: GPUBuffer[] = [];
  const make = (label: string, values: number): GPUBuffer => {
    const buffer = device.createBuffer({ label, size: roundUp(values * F32_BYTES, 16), usage: STORAGE() });
    buffers.push(buffer);
    return buffer;
  };
  const { heads, kvHeads, headDim } = hyper;
  return checked.createNow('working memory', () => {
    const step = device.createBuffer({
      label: 'step',
      size: 2 * SLOT_BYTES,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    const rotations = bufferWith(device, 'rotations', rotationTable(hyper.rope, context));
    buffers.push(step, rotations);
    return {
      step,
      rotations,
      residual: make('residual', maxBatch * hyper.dim),
      partial: make('partial', maxBatch * hyper.dim),
      normed: make('normed', activations),
      mixed: make('mixed', activations),
      projected: make('projected', maxBatch * (heads + 2 * kvHeads) * headDim),
      queries: make('queries', maxBatch * heads * headDim),
      gateUp: make('gate and up', maxBatch * 2 * hyper.ffn),
      bytes: () => buffers.reduce((sum, buffer) => sum + buffer.size, 0),
      destroy: () => {
        for (const buffer of buffers) buffer.destroy();
      },
    };
  });
}

/** Computed in float64 and rounded to f32, as docs/arithmetic.md demands: context × pairs × (cosine, sine). */
function rotationTable(rope: Sizes['hyper']['rope'], context: number): Float32Array {
  const pairs = rope.dims / 2;
  const table = new Float32Array(context * pairs * 2);
  let at = 0;
  for (let position = 0; position < context; position++) {
    for (let i = 0; i < pairs; i++) {
      const angle = position * rope.frequencies[i]!;
      table[at++] = Math.cos(angle) * rope.magnitude;
      table[at++] = Math.sin(angle) * rope.magnitude;
    }
  }
  return table;
}
