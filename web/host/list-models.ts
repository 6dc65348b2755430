/** The models that the server has, and whether the engine can run them. */
import type { ModelListing } from '../api.ts';
import { messageOf } from '../device/errors.ts';
import { catalogue } from '../model/catalogue.ts';
import { openModelFile } from '../model/open-file.ts';
import { fetchModelList, type ModelEntry } from './model-list.ts';
import { nameOfModel, serverSources } from './open-model.ts';

type Verdict = Pick<ModelListing, 'supported' | 'why'>;

/** Headers that are read at the same time. */
const PARALLEL = 4;

/** What is known of a file by name and size: its header is read once. */
const known = new Map<string, Promise<Verdict>>();

/** Rejects with ModelError `network` when the server does not answer or keeps no models. */
export async function listModels(): Promise<ModelListing[]> {
  const entries = await fetchModelList();
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

function judge(entry: ModelEntry): Promise<Verdict> {
  if (entry.missing?.length) {
    return Promise.resolve({ supported: false, why: `Parts of it are missing: ${entry.missing.join(', ')}.` });
  }
  const key = JSON.stringify([entry.name, entry.bytes, entry.tokenizer]);
  let verdict = known.get(key);
  if (!verdict) {
    verdict = readHeader(entry);
    known.set(key, verdict);
    // Only good news is remembered: a fault of the network may pass, and a bad file may be replaced.
    void verdict.then(({ supported }) => supported || known.delete(key));
  }
  return verdict;
}

async function readHeader(entry: ModelEntry): Promise<Verdict> {
  try {
    await catalogue(await openModelFile(await serverSources(entry)));
    return { supported: true };
  } catch (error) {
    return { supported: false, why: messageOf(error) };
  }
}
