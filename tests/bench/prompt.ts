import { makeTokenizer } from '../../web/model/tokenizer.ts';
import type { Tokenizer } from '../../web/model/types.ts';
import { openModel } from '../support/node-model.ts';
import { BenchError } from './bench-error.ts';
import type { Prompt } from './engine.ts';

/** Plain English; what it says does not matter, only that it is text like any other. */
const TEXT = [
  'The lighthouse on the northern point had been dark for eleven years when Marta bought it. She was a retired surveyor,',
  'and she liked the idea of a house whose only purpose was to be seen from far away. The stairs were sound, the windows',
  'were not, and the lamp room held two generations of gulls who did not mean to leave. In the first winter she repaired',
  'the roof and learned to sleep through the wind. In the second she found, behind a loose board in the kitchen, a log',
  'of forty years: weather, ships, birds, and the price of oil, written in the same small hand. She read one page each',
  'evening, as one takes a medicine. By spring she knew the names of all the boats that had gone past and most of the',
  'reasons why some of them had not.',
].join(' ');

/** Prompts of these lengths in tokens, all the same text from its start, in a model's own vocabulary. */
export async function readPrompts(path: string, lengths: number[]): Promise<Prompt[]> {
  const { file } = await openModel(path);
  const tokenizer = makeTokenizer(file);
  return lengths.map((length) => cutPrompt(tokenizer, TEXT, length));
}

/**
 * The start of a text that is exactly `length` tokens, BOS included where the model wants one.
 * Throws BenchError where the text is too short, or where its start alone would become other tokens.
 */
export function cutPrompt(
  { addBos, bos, encode, decode }: Pick<Tokenizer, 'addBos' | 'bos' | 'encode' | 'decode'>,
  whole: string,
  length: number,
): Prompt {
  const first = addBos && bos !== undefined ? [bos] : [];
  const ids = encode(whole, { special: false }).slice(0, length - first.length);
  const text = decode(ids);
  const again = encode(text, { special: false });
  if (first.length + ids.length < length) throw new BenchError(`The text is too short for ${length} tokens.`);
  if (again.join() !== ids.join())
    throw new BenchError(
      `With this model the text cannot be cut after ${length} tokens, since its end becomes others.`,
    );
  return { ids: [...first, ...ids], text };
}
