/** Runs acceptance tests one after another; what one device answers is asked once and used by every test that needs it. */
import { messageOf } from '../../web/device/errors.ts';
import { type AcceptanceCase, devicesIn, SHORTEST_FOR_MOVE } from './cases.ts';
import { judge } from './judge.ts';
import { type Evidence, play, type Stage, type Task } from './play.ts';
import type { Outcome } from './record.ts';

/** Plays a test and judges it; never rejects. */
export type RunCase = (test: AcceptanceCase) => Promise<Outcome>;

export function createRunner(stage: Stage): RunCase {
  const { form } = stage;
  const singles = new Map<string, Promise<Evidence>>();

  /** The same question to one device. */
  function single({ backend, prompt, steps, ignoreEos }: Task): Promise<Evidence> {
    const key = JSON.stringify([backend, form.prompts[prompt], steps, ignoreEos]);
    const known = singles.get(key);
    if (known) return known;
    const asked = play(stage, { backend, prompt, steps, ignoreEos, ratios: '1' });
    singles.set(key, asked);
    return asked;
  }

  async function outcome(test: AcceptanceCase): Promise<Omit<Outcome, 'test' | 'model'>> {
    const { backend, ratios, prompt, move } = test;
    const task: Task = { backend, ratios, prompt, steps: form.steps ?? test.steps, ignoreEos: form.ignoreEos ?? false };
    let evidence = await single(task);
    if (devicesIn(ratios) > 1) {
      if (move && evidence.generation.ids.length < SHORTEST_FOR_MOVE) task.ignoreEos = true;
      const alone = await single(task);
      evidence = await play(stage, { ...task, ...(move && { move }) });
      const checks = judge(evidence, alone.generation.ids, form);
      return { evidence, checks, single: alone, ...(await onCpu(task)) };
    }
    return { evidence, checks: judge(evidence, undefined, form), ...(await onCpu(task)) };
  }

  const onCpu = async (task: Task) =>
    task.backend === 'wasm' ? {} : { cpu: await single({ ...task, backend: 'wasm' }) };

  return async (test) => {
    const { model } = form;
    try {
      return { test, model, ...(await outcome(test)) };
    } catch (error) {
      return { test, model, checks: [], failure: messageOf(error) };
    }
  };
}
