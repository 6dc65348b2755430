/** What callers of the handle pass in, checked: scripts are not type-checked, and a wrong number must not become NaN. */
import * as v from 'valibot';
import type { EvaluateOptions, GenerateOptions, LoadOptions } from '../api.ts';
import { HostError } from '../device/errors.ts';
import { MOST_ECHOED } from '../mesh/control.ts';

/** `GenerateOptions` as they travel to the engine's Worker. */
export type GenerateRequest = Omit<GenerateOptions, 'onToken' | 'signal'>;

/** Most candidates a caller may ask to record. */
const MOST_TOP = 1024;

const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const ids = v.array(count);
const messages = v.pipe(
  v.array(v.object({ role: v.picklist(['system', 'user', 'assistant']), content: v.string() })),
  v.minLength(1),
);
const top = v.pipe(count, v.maxValue(MOST_TOP));
const echoed = v.pipe(count, v.minValue(1), v.maxValue(MOST_ECHOED));
const finite = v.pipe(v.number(), v.finite());
const share = v.pipe(finite, v.minValue(0), v.maxValue(1));

const generateSchema = v.strictObject({
  messages: v.optional(messages),
  prompt: v.optional(v.string()),
  ids: v.optional(ids),
  maxTokens: v.optional(count),
  temperature: v.optional(v.pipe(finite, v.minValue(0))),
  topK: v.optional(count),
  topP: v.optional(share),
  minP: v.optional(share),
  repetitionPenalty: v.optional(v.pipe(finite, v.gtValue(0))),
  seed: v.optional(v.pipe(v.number(), v.safeInteger())),
  stop: v.optional(v.array(v.pipe(v.string(), v.nonEmpty()))),
  ignoreEos: v.optional(v.boolean()),
  reuse: v.optional(v.boolean()),
  top: v.optional(top),
});

const evaluateSchema = v.strictObject({
  ids: v.pipe(ids, v.minLength(1)),
  from: v.optional(count),
  top: v.optional(top),
  full: v.optional(v.boolean()),
});

const loadSchema = v.strictObject({
  model: v.union([v.pipe(v.string(), v.nonEmpty()), v.instance(Blob), v.instance(URL)]),
  parts: v.optional(v.array(v.instance(Blob))),
  backend: v.optional(v.picklist(['auto', 'wasm', 'webgpu'])),
  threads: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64))),
  context: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
  ratios: v.optional(v.string()),
});

/** @throws HostError `bad-request` that names the option and what was wrong with it. */
export function checkGenerate(options: unknown): GenerateRequest {
  const request = check('generate', generateSchema, options);
  const inputs = [request.messages, request.prompt, request.ids].filter((input) => input !== undefined).length;
  if (inputs !== 1) {
    throw new HostError('bad-request', 'generate() needs exactly one of `messages`, `prompt` and `ids`.');
  }
  return request;
}

/** @throws HostError `bad-request` */
export function checkEvaluate(options: unknown): EvaluateOptions {
  return check('evaluate', evaluateSchema, options);
}

/** @throws HostError `bad-request` */
export function checkLoad(options: unknown): LoadOptions {
  return check('load', loadSchema, options) as LoadOptions;
}

/** @throws HostError `bad-request` */
export function checkMessages(value: unknown): NonNullable<GenerateOptions['messages']> {
  return check('render', messages, value);
}

/** @throws HostError `bad-request` */
export function checkIds(value: unknown): number[] {
  return check('detokenize', ids, value);
}

/** @throws HostError `bad-request` */
export function checkBytes(value: unknown): number {
  return check('linkDelays', echoed, value);
}

function check<Schema extends v.GenericSchema>(call: string, schema: Schema, value: unknown): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const issue = result.issues[0];
  const path = v.getDotPath(issue);
  throw new HostError('bad-request', `${call}(): ${path ? `\`${path}\`: ` : ''}${issue.message}.`);
}
