import type { HyperParameters } from '../../model/types.ts';
import { DeviceError } from '../backend.ts';
import { words } from './adapter.ts';
import type { CheckedDevice } from './gpu.ts';
import { type Format, GROUP } from './layout.ts';
import { type Defines, type Operation, shaderSource } from './shaders.ts';

/** Choices that depend on the device, not on the model. Bundles, groups and slices are explained in matvec.wgsl and matmul.wgsl. */
export interface Tuning {
  /** Products of one token are written for a compiler with few registers that keeps no constants in them. */
  processor: boolean;
  /** Row groups (of four rows) of a workgroup: a multiple of 8. */
  bundle: number;
  /** For one token. `groups`: row groups of an invocation; `slices`: of the columns, summed side by side. */
  vector: { groups: number; slices: number };
  /** For several tokens. `tokens`: of an invocation; `teams`: invocations side by side with tokens of their own. */
  matrix: { groups: number; tokens: number; teams: number };
  /** Invocations for one row of activations (norms, embedding). */
  rowThreads: number;
  /** Invocations for one head (rope, attention). */
  headThreads: number;
  /** q heads of one KV head that a workgroup attends with. More share loads, fewer keep more workgroups busy. */
  heads: number;
  /** Cache positions of an attention pass. */
  chunk: number;
}

/** Bindings of every operation in order: u uniform, r storage that is read, w storage that is written too. */
const BINDINGS: Record<Operation, string> = {
  matvec: 'urrrw',
  matmul: 'urrrw',
  gated: 'urrrw',
  swiglu: 'urrw',
  norm: 'uwrrw',
  merge: 'uwr',
  bias: 'uwr',
  embed: 'rrw',
  summarize: 'urw',
  select: 'urww',
  rope: 'urrrrwww',
  attention: 'urrrrw',
};

/** Logits that one workgroup of summarize.wgsl takes. */
export const LOGITS_PER_CHUNK = 256;

/** Choices within an operation; each combination is a pipeline. */
export type Variant = Partial<Record<'ADD' | 'BIAS', boolean>>;

export interface Sizes {
  hyper: HyperParameters;
  context: number;
  maxBatch: number;
  /** Values of an activation row: the widest input of any product. */
  actStride: number;
}

export interface Pipelines {
  /** Compiles ahead, without blocking. Rejects with DeviceError `unsupported`. */
  prepare(operation: Operation, variant?: Variant, format?: Format): Promise<void>;
  /** The pipeline, compiled here and now if it was not prepared. */
  get(operation: Operation, variant?: Variant, format?: Format): GPUComputePipeline;
  /** Buffers in the order of the operation's bindings. */
  group(operation: Operation, resources: (GPUBuffer | GPUBufferBinding)[]): GPUBindGroup;
}

export function createPipelines(checked: CheckedDevice, sizes: Sizes, tuning: Tuning): Pipelines {
  const { device } = checked;
  const layouts = new Map<string, GPUBindGroupLayout>();
  const pipelines = new Map<string, GPUComputePipeline>();
  const preparing = new Map<string, Promise<void>>();
  const base = baseDefines(sizes, tuning);

  const bindings = (operation: Operation): GPUBindGroupLayout => {
    const signature = BINDINGS[operation];
    const known = layouts.get(signature);
    if (known) return known;
    const layout = checked.create('a bind group layout', () =>
      device.createBindGroupLayout({
        label: signature,
        entries: [...signature].map((letter, binding) => ({
          binding,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: letter === 'u' ? 'uniform' : letter === 'r' ? 'read-only-storage' : 'storage' },
        })),
      }),
    );
    layouts.set(signature, layout);
    return layout;
  };

  const descriptorOf = (operation: Operation, variant: Variant, format?: Format) => {
    const label = keyOf(operation, variant, format);
    const code = shaderSource(operation, { ...base, ...productDefines(operation, tuning), ...variant }, format);
    return {
      label,
      layout: device.createPipelineLayout({ label, bindGroupLayouts: [bindings(operation)] }),
      compute: { module: device.createShaderModule({ label, code }), entryPoint: 'main' },
    };
  };

  return {
    prepare(operation, variant = {}, format) {
      const key = keyOf(operation, variant, format);
      const known = preparing.get(key);
      if (known) return known;
      const compiled = (async () => {
        device.pushErrorScope('validation');
        const descriptor = descriptorOf(operation, variant, format);
        const invalid = device.popErrorScope();
        try {
          pipelines.set(key, await device.createComputePipelineAsync(descriptor));
        } catch (cause) {
          const { messages } = await descriptor.compute.module.getCompilationInfo();
          const complaints = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
          const why = complaints.length > 0 ? complaints.join('; ') : ((await invalid)?.message ?? words(cause));
          throw new DeviceError('unsupported', `The GPU could not compile ${key}: ${why}`, { cause });
        }
      })();
      preparing.set(key, compiled);
      return compiled;
    },
    get(operation, variant = {}, format) {
      const key = keyOf(operation, variant, format);
      const known = pipelines.get(key);
      if (known) return known;
      const pipeline = checked.create(`the shader ${key}`, () =>
        device.createComputePipeline(descriptorOf(operation, variant, format)),
      );
      pipelines.set(key, pipeline);
      return pipeline;
    },
    group: (operation, resources) =>
      checked.create(`the buffers of ${operation}`, () =>
        device.createBindGroup({
          label: operation,
          layout: bindings(operation),
          entries: resources.map((resource, binding) => ({
            binding,
            resource: 'buffer' in resource ? resource : { buffer: resource },
          })),
        }),
      ),
  };
}

function keyOf(operation: Operation, variant: Variant, format?: Format): string {
  const choices = Object.entries(variant).flatMap(([name, on]) => (on ? [name] : []));
  return [operation, format, ...choices].filter((part) => part !== undefined).join(' ');
}

/** The constants of all shaders. */
function baseDefines({ hyper, context, maxBatch, actStride }: Sizes, tuning: Tuning): Defines {
  return {
    ACT_STRIDE: actStride,
    BIAS_AT: hyper.qkNorm ? 2 * hyper.headDim : 0,
    CHUNK: tuning.chunk,
    FOUR: 4,
    LOGITS_PER_CHUNK: LOGITS_PER_CHUNK,
    CONTEXT: context,
    DIM: hyper.dim,
    EPSILON: { f32: hyper.normEpsilon },
    HEADS: headsTogether(hyper, tuning),
    HEAD_DIM: hyper.headDim,
    HEAD_THREADS: Math.max(tuning.headThreads, hyper.headDim / 8),
    MAX_BATCH: maxBatch,
    ADJACENT: hyper.rope.layout === 'pairs',
    QK_NORM: hyper.qkNorm,
    QUERY_SCALE: { f32: 1 / Math.sqrt(hyper.headDim) },
    ROPE_DIMS: hyper.rope.dims,
    ROW_THREADS: tuning.rowThreads,
  };
}

function productDefines(operation: Operation, { processor, bundle, vector, matrix }: Tuning): Defines {
  const { groups, tokens, slices, teams } =
    operation === 'matmul' ? { ...matrix, slices: 1 } : { ...vector, tokens: 1, teams: 1 };
  return {
    ...{ PARTS: 4, PROCESSOR: processor && (operation === 'matvec' || operation === 'gated') },
    ...{ BUNDLE: bundle, GROUPS: groups, LANES: bundle / groups, ROWS: GROUP },
    ...{ SLICED: slices > 1, SLICES: slices, TEAMS: teams, TOKENS: tokens },
  };
}

/** q heads of a team in attention.wgsl. */
export function headsTogether({ heads, kvHeads }: HyperParameters, tuning: Tuning): number {
  return Math.min(tuning.heads, Math.ceil(heads / kvHeads));
}
