/**
 * The core that both kinds of byte-pair encoding share: merge the best pair of neighbours until none is left.
 * A heap and a chain of symbols, so that a long run without a space (a page of Chinese) takes n·log n and not n² steps.
 */

/** Order in which two neighbours merge, lowest first; undefined where they do not. */
export type Rank = (left: string, right: string) => number | undefined;

interface Pair {
  rank: number;
  left: number;
  right: number;
  /** Length of both texts when the pair was found: another length now means that one of them has merged since. */
  length: number;
}

/** Merges neighbouring symbols by rank, equal ranks from left to right, and returns what is left. */
export function mergeSymbols(symbols: readonly string[], rank: Rank): string[] {
  const texts = [...symbols];
  const previous = texts.map((_, i) => i - 1);
  const next = texts.map((_, i) => (i + 1 < texts.length ? i + 1 : -1));
  const heap: Pair[] = [];

  const consider = (left: number, right: number) => {
    if (left < 0 || right < 0) return;
    const order = rank(texts[left]!, texts[right]!);
    if (order === undefined) return;
    push(heap, { rank: order, left, right, length: texts[left]!.length + texts[right]!.length });
  };
  for (let i = 1; i < texts.length; i++) consider(i - 1, i);

  for (let pair = pop(heap); pair; pair = pop(heap)) {
    const { left, right, length } = pair;
    const merged = texts[left]! + texts[right]!;
    if (texts[left] === '' || texts[right] === '' || merged.length !== length) continue;
    texts[left] = merged;
    texts[right] = '';
    const after = next[right]!;
    next[left] = after;
    if (after >= 0) previous[after] = left;
    consider(previous[left]!, left);
    consider(left, after);
  }
  return texts.filter((text) => text !== '');
}

function before(a: Pair, b: Pair): boolean {
  return a.rank < b.rank || (a.rank === b.rank && a.left < b.left);
}

function push(heap: Pair[], pair: Pair): void {
  let at = heap.length;
  heap.push(pair);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(pair, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = pair;
}

function pop(heap: Pair[]): Pair | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
  return top;
}
