/** From where a model is to everything that its header says: nothing of the weights has been read after this. */
import { catalogue } from '../model/catalogue.ts';
import { readModelFile } from '../model/gguf.ts';
import { urlSource } from '../model/http.ts';
import { withSharedRows } from '../model/shared-rows.ts';
import { filesSource } from '../model/sources.ts';
import { chatTemplate } from '../model/template.ts';
import { makeTokenizer } from '../model/tokenizer.ts';
import type { ByteSource, Catalogue, ChatTemplate, ModelFile, Tokenizer } from '../model/types.ts';
import type { ModelPlace } from './engine-types.ts';

export interface OpenedModel {
  /** As in `?model=`: the file's name without `.gguf`. */
  name: string;
  file: ModelFile;
  catalogue: Catalogue;
  tokenizer: Tokenizer;
  template: ChatTemplate;
  /** What was limited, for people. */
  notes: readonly string[];
}

/** Where the server keeps its models; answers with their list. */
export const modelsAddress = (): URL => new URL('/models/', globalThis.location.href);

/** Address of one of the server's models by its name, with or without `.gguf`. */
export function addressOfModel(name: string): URL {
  return new URL(encodeURIComponent(/\.gguf$/i.test(name) ? name : `${name}.gguf`), modelsAddress());
}

export const nameOfModel = (fileName: string): string => fileName.replace(/\.gguf$/i, '');

/** Rejects with ModelError: everything that makes a model unusable is found here. */
export async function openModel(place: ModelPlace, signal?: AbortSignal): Promise<OpenedModel> {
  return readModel(await sourceOf(place, signal), signal);
}

/** As `openModel`, for bytes that are already within reach. */
export async function readModel(source: ByteSource, signal?: AbortSignal): Promise<OpenedModel> {
  const file = await readModelFile(source, signal);
  const found = await catalogue(file, signal);
  return {
    name: nameOfModel(source.name),
    file,
    catalogue: found,
    tokenizer: makeTokenizer(file),
    template: chatTemplate(file),
    notes: found.notes ?? [],
  };
}

async function sourceOf(place: ModelPlace, signal: AbortSignal | undefined): Promise<ByteSource> {
  if ('file' in place) return filesSource([place.file, ...(place.parts ?? [])]);
  const source = await urlSource('url' in place ? place.url : addressOfModel(place.name), signal ? { signal } : {});
  return source.readStrided ? source : withSharedRows(source);
}
