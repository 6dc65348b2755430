/** The engine of a page held against golden answers, through the handle. */
import type { Page } from '@playwright/test';
import type { LoadOptions } from '../../web/api.ts';
import type { Executor } from '../../web/device/executor.ts';
import { createWasmBackend } from '../../web/device/wasm/index.ts';
import { type GoldenCase, rms, tieMargin, topError } from '../support/golden.ts';
import { teacherForce } from '../support/in-process.ts';
import { kernelModule, openModel, wholeShare } from '../support/node-model.ts';
import { expect } from './support/test.ts';

export type Backend = 'wasm' | 'webgpu';
export const BACKENDS: readonly Backend[] = ['wasm', 'webgpu'];

/** The goal that `shared/golden/README.md` sets: our error against the exact answer, as a part of llama.cpp's. */
export const OF_LLAMACPP = 1 / 3;

/** Largest rms difference of two backends' logits at one position, and over all positions of a text (`docs/arithmetic.md`). */
export const AT_ONE_POSITION = 4e-3;
export const OVER_A_TEXT = 1e-3;

/** Best candidates that are asked for of every step: all of a small vocabulary, and of any the exact top 8. */
const TOP = 512;

export interface Judged {
  /** Largest error of the exact top 8 over all steps. */
  topError: number;
  /** The best logits of every position from the last of the prompt on, by token: all in a vocabulary of up to 512. */
  steps: number[][];
}

export async function loadOn(page: Page, backend: Backend, model: string, context = 1024): Promise<void> {
  const options: LoadOptions = { model, backend, context };
  const info = await page.evaluate((given) => window.edgevisor.load(given), options);
  expect(info.backend).toBe(backend);
}

/** Teacher-forces a case along llama.cpp's continuation, checks every decided token, and gives the errors. */
export async function teacherForced(page: Page, item: GoldenCase): Promise<Judged> {
  const { logits: steps } = await page.evaluate((given) => window.edgevisor.evaluate(given), {
    ids: [...item.ids, ...item.greedy.slice(0, -1)],
    from: item.ids.length - 1,
    top: TOP,
  });
  expect(steps).toHaveLength(item.greedy.length);
  const errors = steps.map((step, i) => topError(sparse(step), item.steps[i]!.exact));
  const worst = Math.max(...errors);
  // A token of the exact top 8 that is not among our best TOP would make this NaN.
  expect(worst, `${item.name}: the exact top 8 are among our best ${TOP}`).not.toBeNaN();
  for (const [i, { exact }] of item.steps.entries()) {
    if (decided(item, i, worst)) expect(steps[i]![0]![0], `${item.name}, step ${i}`).toBe(exact[0]![0]);
  }
  return { topError: worst, steps: steps.map(sparse) };
}

/** Logits by token, with holes. */
function sparse(pairs: [id: number, logit: number][]): number[] {
  const logits: number[] = [];
  for (const [id, logit] of pairs) logits[id] = logit;
  return logits;
}

/** Free-running greedy tokens: equal to llama.cpp's, up to the first step that rounding may decide. */
export async function freeRunning(page: Page, item: GoldenCase, error: number): Promise<void> {
  const ours = await page.evaluate(
    async ({ ids, maxTokens }) => (await window.edgevisor.generate({ ids, maxTokens, reuse: false })).ids,
    { ids: item.ids, maxTokens: item.greedy.length },
  );
  const parts = item.greedy.findIndex((token, i) => ours[i] !== token);
  if (parts === -1) return;
  const exactDisagrees = item.exactDisagreesAt.includes(parts);
  const where = `${item.name}: step ${parts} of the free run`;
  if (exactDisagrees) {
    // Here llama.cpp is the one that is off: a decided step must have the exact token.
    if (decided(item, parts, error)) expect(ours[parts], where).toBe(item.steps[parts]!.exact[0]![0]);
  } else expect(decided(item, parts, error), `${where} differs from llama.cpp's and is no tie`).toBe(false);
}

/** The exact first is so far ahead of the second that rounding cannot swap them. */
function decided(item: GoldenCase, step: number, error: number): boolean {
  const { exact } = item.steps[step]!;
  return exact[0]![1] - exact[1]![1] > tieMargin(error);
}

/** All logits of the last position. */
export function fullLogits(page: Page, ids: number[]): Promise<number[]> {
  return page.evaluate(
    async (given) =>
      Array.from((await window.edgevisor.evaluate({ ids: given, from: given.length, full: true })).full!),
    ids,
  );
}

/** Holds logits against those of WASM in node. */
export function expectAgreement(full: number[], reference: Float32Array, name: string): void {
  expect(full.length, name).toBe(reference.length);
  expect(rms(full, reference), `${name}: rms difference from WASM in node`).toBeLessThanOrEqual(AT_ONE_POSITION);
}

/** Root mean square over the logits that two judgements of a text have both. */
export function rmsOfText(a: Judged, b: Judged): number {
  const pairs = a.steps.flatMap((logits, i) =>
    logits.flatMap((logit, token) => {
      const other = b.steps[i]![token];
      return other === undefined ? [] : [[logit, other] as const];
    }),
  );
  return rms(
    pairs.map(([logit]) => logit),
    pairs.map(([, logit]) => logit),
  );
}

/** The model in node, on the plain kernels: what every backend in every browser must agree with. */
export async function nodeReference(path: string): Promise<(ids: number[]) => Promise<Float32Array>> {
  const model = await openModel(path);
  const executor: Executor = await model.executor(wholeShare(model.hyper), {
    backend: (options) => createWasmBackend({ ...options, threads: 1, plain: true, module: kernelModule('plain') }),
  });
  return async (ids) => (await teacherForce([[executor]], ids)).at(-1)!;
}
