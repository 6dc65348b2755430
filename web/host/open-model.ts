/** From where a model is to everything that its header says: nothing of the weights has been read after this. */
import { catalogue } from '../model/catalogue.ts';
import { type HttpOptions, httpSource, urlSource } from '../model/http.ts';
import { filesSources, type ModelSources, needsTokenizer } from '../model/model-sources.ts';
import { openModelFile } from '../model/open-file.ts';
import { withSharedRows } from '../model/shared-rows.ts';
import { chatTemplate } from '../model/template.ts';
import { makeTokenizer } from '../model/tokenizer.ts';
import type { ByteSource, Catalogue, ChatTemplate, ModelFile, Tokenizer } from '../model/types.ts';
import type { ModelPlace } from './engine-types.ts';
import { addressOfFile, fetchModelList, type ModelEntry } from './model-list.ts';

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

/** A file's name as `models()` has it: without `.gguf`; `.m` stays, so that both may have the same stem. */
export const nameOfModel = (fileName: string): string => fileName.replace(/\.gguf$/i, '');

/** The name of one of the server's files, with or without `.gguf`. */
const fileNameOf = (name: string): string => (/\.(gguf|m)$/i.test(name) ? name : `${name}.gguf`);

/** Rejects with ModelError: everything that makes a model unusable is found here. */
export async function openModel(place: ModelPlace, signal?: AbortSignal): Promise<OpenedModel> {
  const { model, tokenizer } = await sourcesOf(place, signal);
  return readModel(model, { tokenizer, signal });
}

/** As `openModel`, for bytes that are already within reach. */
export async function readModel(
  model: ByteSource,
  { tokenizer, signal }: { tokenizer?: ByteSource | undefined; signal?: AbortSignal | undefined } = {},
): Promise<OpenedModel> {
  const file = await openModelFile({ model, tokenizer }, signal);
  const found = await catalogue(file, signal);
  return {
    name: nameOfModel(model.name),
    file,
    catalogue: found,
    tokenizer: makeTokenizer(file),
    template: chatTemplate(file),
    notes: found.notes ?? [],
  };
}

async function sourcesOf(place: ModelPlace, signal: AbortSignal | undefined): Promise<ModelSources> {
  if ('file' in place) return filesSources([place.file, ...(place.parts ?? [])]);
  if ('name' in place) return namedSources(fileNameOf(place.name), signal);
  const url = new URL(place.url);
  const options = signal ? { signal } : {};
  const model = columnsOf(await urlSource(url, options));
  if (!needsTokenizer(url.pathname)) return { model };
  const beside = new URL(url);
  beside.pathname = url.pathname.replace(/\.m$/i, '.t');
  return { model, tokenizer: await httpSource(beside, options) };
}

async function namedSources(name: string, signal: AbortSignal | undefined): Promise<ModelSources> {
  if (!needsTokenizer(name)) return serverSources({ name }, signal);
  const entry = (await fetchModelList(signal)).find((each) => each.name === name);
  return serverSources(entry ?? { name }, signal);
}

/** The files of one of the server's models. Rejects with ModelError `network`. */
export async function serverSources(
  { name, tokenizer }: Pick<ModelEntry, 'name' | 'tokenizer'>,
  signal?: AbortSignal,
): Promise<ModelSources> {
  const options: HttpOptions = signal ? { signal } : {};
  const model = columnsOf(await urlSource(addressOfFile(name), options));
  return {
    model,
    tokenizer: tokenizer === undefined ? undefined : await httpSource(addressOfFile(tokenizer), options),
  };
}

const columnsOf = (source: ByteSource): ByteSource => (source.readStrided ? source : withSharedRows(source));
