/** The models that the server has, and whether the engine can run them. */
import * as v from 'valibot';
import type { ModelListing } from '../api.ts';
import { messageOf } from '../device/errors.ts';
import { catalogue } from '../model/catalogue.ts';
import { readModelFile } from '../model/gguf.ts';
import { urlSource } from '../model/http.ts';
import { ModelError } from '../model/types.ts';
import { addressOfModel, modelsAddress, nameOfModel } from './open-model.ts';

const listSchema = v.array(v.object({ name: v.string(), bytes: v.number(), missing: v.optional(v.array(v.string())) }));
type Entry = v.InferOutput<typeof listSchema>[number];

/** Headers that are read at the same time. */
const PARALLEL = 4;

/** What is known of a file by name and size: its header is read once. */
const known = new Map<string, Promise<Pick<ModelListing, 'supported' | 'why'>>>();

/** Rejects with ModelError `network` when the server does not answer or keeps no models. */
export async function listModels(): Promise<ModelListing[]> {
  const entries = await fetchList();
  const listings: ModelListing[] = new Array(entries.length);
  let next = 0;
  const work = async (): Promise<void> => {
    for (let i = next++; i < entries.length; i = next++) {
      const { name, bytes } = entries[i]!;
      listings[i] = { name: nameOfModel(name), bytes, ...(await judge(entries[i]!)) };
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return listings;
}

async function fetchList(): Promise<Entry[]> {
  const trouble = (what: string, cause?: unknown): ModelError =>
    new ModelError('network', `The list of models could not be read: ${what}. Is the server running?`, { cause });
  let response: Response;
  try {
    response = await fetch(modelsAddress(), { cache: 'no-store' });
  } catch (cause) {
    throw trouble('the server does not answer', cause);
  }
  if (!response.ok) throw trouble(`the server answered ${response.status}`);
  const list = v.safeParse(listSchema, await response.json().catch(() => undefined));
  if (!list.success) throw trouble('the server sent something else');
  return list.output;
}

function judge({ name, bytes, missing }: Entry): Promise<Pick<ModelListing, 'supported' | 'why'>> {
  if (missing?.length) {
    return Promise.resolve({ supported: false, why: `Parts of it are missing: ${missing.join(', ')}.` });
  }
  const key = `${name} ${bytes}`;
  let verdict = known.get(key);
  if (!verdict) {
    verdict = readHeader(name);
    known.set(key, verdict);
    // Only good news is remembered: a fault of the network may pass, and a bad file may be replaced.
    void verdict.then(({ supported }) => supported || known.delete(key));
  }
  return verdict;
}

async function readHeader(name: string): Promise<Pick<ModelListing, 'supported' | 'why'>> {
  try {
    await catalogue(await readModelFile(await urlSource(addressOfModel(name))));
    return { supported: true };
  } catch (error) {
    return { supported: false, why: messageOf(error) };
  }
}
