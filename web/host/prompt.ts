import { HostError } from '../device/errors.ts';
import type { ChatTemplate, Tokenizer } from '../model/types.ts';
import type { GenerateRequest } from './requests.ts';

/**
 * Token ids of a prompt in any of its three forms. Text gets the model's BOS unless it begins with it (a chat template
 * may write it out); ids are taken as they are.
 * @throws HostError `bad-request` for an empty prompt or an id outside the vocabulary; ModelError `template`.
 */
export function promptIds(request: GenerateRequest, tokenizer: Tokenizer, template: ChatTemplate): number[] {
  let ids: number[];
  if (request.ids) {
    ids = request.ids.slice();
  } else {
    const text = request.messages ? template(request.messages, { generationPrompt: true }) : (request.prompt ?? '');
    ids = tokenizer.encode(text, { special: true });
    if (tokenizer.addBos && tokenizer.bos !== undefined && ids[0] !== tokenizer.bos) ids.unshift(tokenizer.bos);
  }
  if (ids.length === 0) throw new HostError('bad-request', 'The prompt is empty: give at least one token.');
  checkVocabulary(ids, tokenizer.vocabSize);
  return ids;
}

/** @throws HostError `bad-request` for an id that the model does not have. */
export function checkVocabulary(ids: number[], vocab: number): void {
  const wrong = ids.find((id) => id >= vocab);
  if (wrong !== undefined) {
    throw new HostError('bad-request', `Token ${wrong} does not exist: this model has ${vocab} tokens, from 0 on.`);
  }
}
