/** What the server says of its models, before anything of them is read. */
import * as v from 'valibot';
import { within } from '../device/within.ts';
import { ModelError } from '../model/types.ts';

const listSchema = v.array(
  v.object({
    name: v.string(),
    bytes: v.number(),
    missing: v.optional(v.array(v.string())),
    tokenizer: v.optional(v.string()),
  }),
);

/** `tokenizer`: name of the file that goes with a `.m` file, where there is one. */
export type ModelEntry = v.InferOutput<typeof listSchema>[number];

/** Longest wait for the list, in milliseconds. */
const PATIENCE_MS = 30_000;

/** Where the server keeps its models; answers with their list. */
export const modelsAddress = (): URL => new URL('/models/', globalThis.location.href);

/** Address of one of the server's files by its whole name. */
export const addressOfFile = (name: string): URL => new URL(encodeURIComponent(name), modelsAddress());

/** Rejects with ModelError `network` when the server does not answer or keeps no models. */
export async function fetchModelList(signal?: AbortSignal): Promise<ModelEntry[]> {
  const trouble = (what: string, cause?: unknown): ModelError =>
    new ModelError('network', `The list of models could not be read: ${what}. Is the server running?`, { cause });
  let response: Response;
  try {
    const asked = fetch(modelsAddress(), { cache: 'no-store', ...(signal && { signal }) });
    response = await within(PATIENCE_MS, asked);
  } catch (cause) {
    signal?.throwIfAborted();
    throw trouble('the server does not answer', cause);
  }
  if (!response.ok) throw trouble(`the server answered ${response.status}`);
  const list = v.safeParse(listSchema, await response.json().catch(() => undefined));
  if (!list.success) throw trouble('the server sent something else');
  return list.output;
}
