/** From the bytes of a model's files to its `ModelFile`, whichever of the two formats they have. */
import { readDistributedLlama } from './distributed-llama/model-file.ts';
import { readModelFile } from './gguf.ts';
import { type ModelSources, needsTokenizer, withoutTokenizer } from './model-sources.ts';
import type { ModelFile } from './types.ts';

/**
 * Reads the headers of a model. Rejects with ModelError `tokenizer` where a `.m` file comes without its `.t`, and
 * otherwise as `readModelFile` or `readDistributedLlama` does.
 */
export async function openModelFile({ model, tokenizer }: ModelSources, signal?: AbortSignal): Promise<ModelFile> {
  if (!needsTokenizer(model.name)) return readModelFile(model, signal);
  if (!tokenizer) throw withoutTokenizer(model.name);
  return readDistributedLlama(model, tokenizer, signal);
}
