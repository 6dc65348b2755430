/** Looks up which of many texts another one goes on with, in time that grows with the match and not with the texts. */

export interface Prefixes {
  /**
   * Goes through the texts that `text` has at `at`, the shortest first, until `take` says that it has enough: it is
   * given their places in the list. Gives whether `text` ended before all was known: with more of it, there may be others.
   */
  search(text: string, at: number, take: (place: number) => boolean): boolean;
}

/** Of equal texts the first one counts. */
export function prefixesOf(texts: readonly string[]): Prefixes {
  const order = [...texts.keys()].sort((a, b) => compare(texts[a]!, texts[b]!) || a - b);
  const textAt = (place: number): string => texts[order[place]!]!;

  /** First place in [low, high) whose letter at `depth` is at least that; texts that end before count as below all. */
  function firstFrom(low: number, high: number, depth: number, letter: number): number {
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = textAt(middle);
      if (there.length > depth && there.charCodeAt(depth) >= letter) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  return {
    search(text, at, take) {
      let low = 0;
      let high = order.length;
      for (let depth = 0; low < high; depth++) {
        if (at + depth >= text.length) return textAt(high - 1).length > depth;
        const letter = text.charCodeAt(at + depth);
        low = firstFrom(low, high, depth, letter);
        high = firstFrom(low, high, depth, letter + 1);
        if (low < high && textAt(low).length === depth + 1 && take(order[low]!)) return false;
      }
      return false;
    },
  };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
