/** Steps with a look at the clock, for a profile. */
import type { Operation } from '../mesh/operations.ts';
import type { Step } from './backend.ts';
import type { Executor } from './executor.ts';

/** Told how long an operation of a layer (undefined for what belongs to none) took, in milliseconds. */
export type OperationTimer = (operation: Operation, layer: number | undefined, ms: number) => void;

/** Runs a step and tells its operations' times; of a backend that cannot tell them apart, the whole step's. */
export async function runTimed(executor: Executor, step: Step, timer: OperationTimer): Promise<Float32Array> {
  if (executor.backend.timesOperations) return executor.run({ ...step, timer });
  const started = performance.now();
  const result = await executor.run(step);
  const { operation, layer } = wholeStep(step);
  timer(operation, layer, performance.now() - started);
  return result;
}

/** The name for everything in a step: what it computes, if that is one thing. */
function wholeStep({ ops }: Step): { operation: Operation; layer: number | undefined } {
  const [only, ...others] = ops.filter(({ op }) => op !== 'merge');
  if (others.length > 0) return { operation: 'step', layer: undefined };
  return { operation: only?.op ?? 'merge', layer: only && 'layer' in only ? only.layer : undefined };
}
