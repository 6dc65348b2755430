/** Which files make up one model, by their names. */
import { filesSource } from './sources.ts';
import { type ByteSource, ModelError } from './types.ts';

/** Files of one model. */
export interface ModelSources {
  /** The weights: GGUF, several files in a row where it is split, or distributed-llama's `.m`. */
  model: ByteSource;
  /** distributed-llama's `.t`; a GGUF file has its tokenizer inside. */
  tokenizer?: ByteSource | undefined;
}

/** Whether this is the name of a distributed-llama model, whose tokenizer is a file of its own. */
export const needsTokenizer = (name: string): boolean => /\.m$/i.test(name);

/** Whether this is the name of a distributed-llama tokenizer. */
export const isTokenizer = (name: string): boolean => /\.t$/i.test(name);

/** What to do about a `.m` file alone. */
export function withoutTokenizer(name: string): ModelError {
  const beside = name.replace(/\.m$/i, '.t');
  return new ModelError(
    'tokenizer',
    `${name} is a model of distributed-llama, whose tokenizer is a file of its own. Open both together: pick or drop ${name} and its .t file at once; in the server's models folder and at an address, it is found as ${beside} beside it.`,
  );
}

/**
 * The sources of the files that a person picked: one model, all parts of a split one, or a `.m` and its `.t`, in any
 * order. Throws ModelError `tokenizer` where one of the two is missing, and otherwise as `filesSource` does.
 */
export function filesSources(files: readonly File[]): ModelSources {
  const tokenizers = files.filter(({ name }) => isTokenizer(name));
  const models = files.filter(({ name }) => !isTokenizer(name));
  const [tokenizer] = tokenizers;
  if (!tokenizer) {
    const model = filesSource(models);
    if (needsTokenizer(model.name)) throw withoutTokenizer(model.name);
    return { model };
  }
  const [model] = models;
  if (!model) {
    throw new ModelError(
      'tokenizer',
      `${tokenizer.name} is a tokenizer without its model. Pick or drop the .m file together with it.`,
    );
  }
  if (tokenizers.length > 1 || models.length > 1 || !needsTokenizer(model.name)) {
    throw new ModelError(
      'not-a-model',
      `${files.map(({ name }) => name).join(', ')} do not belong together: a .t file goes with one .m file. Pick one model.`,
    );
  }
  return { model: filesSource([model]), tokenizer: filesSource([tokenizer]) };
}
