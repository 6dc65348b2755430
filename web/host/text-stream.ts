/** Text of an answer as it grows: whole characters only, and nothing that may turn out to be a stop string. */
import type { Tokenizer } from '../model/types.ts';

export interface TextStream {
  /** Adds a token; returns the text that is certain now. After a stop string has matched, always ''. */
  push(id: number): string;
  /** A stop string has been seen: the text before it is all there is. */
  readonly stopped: boolean;
  /**
   * No token follows: returns what was held back as a possible beginning of a stop string. Bytes of a character that
   * never became whole are not text and are left out.
   */
  end(): string;
}

/** @param stop strings that end the answer; the text before the first of them is returned, they themselves are not. */
export function textStream(tokenizer: Tokenizer, stop: readonly string[]): TextStream {
  // Streaming mode keeps the bytes of an unfinished character, and ignoreBOM keeps a U+FEFF that the model wrote.
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let held = '';
  let stopped = false;
  return {
    push(id) {
      if (stopped) return '';
      held += decoder.decode(tokenizer.bytes(id), { stream: true });
      const match = firstMatch(held, stop);
      if (match !== undefined) {
        stopped = true;
        const text = held.slice(0, match);
        held = '';
        return text;
      }
      const keep = possibleBeginning(held, stop);
      const text = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return text;
    },
    get stopped() {
      return stopped;
    },
    end() {
      const text = held;
      held = '';
      return text;
    },
  };
}

/**
 * Where the stop string begins that is the first to be complete in `text` (the longest, where several end together),
 * so that it does not matter how the text was cut into tokens.
 */
function firstMatch(text: string, stop: readonly string[]): number | undefined {
  let first: number | undefined;
  let firstEnd = Number.POSITIVE_INFINITY;
  for (const string of stop) {
    const at = text.indexOf(string);
    const end = at + string.length;
    if (at >= 0 && (end < firstEnd || (end === firstEnd && at < first!))) {
      first = at;
      firstEnd = end;
    }
  }
  return first;
}

/** Length of the longest end of `text` with which a stop string begins. */
function possibleBeginning(text: string, stop: readonly string[]): number {
  let longest = 0;
  for (const string of stop) {
    for (let n = Math.min(text.length, string.length - 1); n > longest; n--) {
      if (text.endsWith(string.slice(0, n))) longest = n;
    }
  }
  return longest;
}
