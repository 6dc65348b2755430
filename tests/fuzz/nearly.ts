/** Values that are right but for a few places, at any depth. */
import fc from 'fast-check';

/** Values that are near a bound, of the wrong kind, or that programs of this language trip over. */
export const wrong: fc.Arbitrary<unknown> = fc.oneof(
  {
    weight: 40,
    arbitrary: fc.constantFrom<unknown>(
      ...[undefined, null, true, '', -1, 0, 1, 0.5, 65535, 65536, 2 ** 26 + 1, 2 ** 32, 2 ** 48, 1e308, [], {}],
      ...[Number.NaN, Number.POSITIVE_INFINITY, -0, '__proto__', 'constructor', 'x'.repeat(5000), '\ud800'],
    ),
  },
  { weight: 4, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
  { weight: 1, arbitrary: fc.constantFrom(65, 1025, 4097, 65537).map((length) => new Array(length).fill(0)) },
);

interface Change {
  /** Which of the places, as a part of all of them. */
  place: number;
  /** Put in place of what is there; or the key is left out, or another is put beside it. */
  value: unknown;
  how: 'put' | 'leave out' | 'add';
}

/** One of the values with up to three changes; sometimes anything at all. */
export function nearly(values: readonly unknown[]): fc.Arbitrary<unknown> {
  const change: fc.Arbitrary<Change> = fc.record({
    place: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    value: wrong,
    how: fc.constantFrom('put', 'put', 'put', 'leave out', 'add'),
  });
  const changed = fc
    .tuple(fc.constantFrom(...values), fc.array(change, { minLength: 0, maxLength: 3 }))
    .map(([value, changes]) => changes.reduce(apply, structuredClone(value)));
  return fc.oneof(
    { weight: 12, arbitrary: changed },
    { weight: 1, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: wrong },
  );
}

function apply(root: unknown, { place, value, how }: Change): unknown {
  const places: { holder: Record<string, unknown>; key: string }[] = [];
  const collect = (holder: unknown): void => {
    if (typeof holder !== 'object' || holder === null) return;
    // Of a long list the first places are as good as the rest.
    for (const key of Object.keys(holder).slice(0, 20)) {
      places.push({ holder: holder as Record<string, unknown>, key });
      collect((holder as Record<string, unknown>)[key]);
    }
  };
  collect(root);
  // A message of no kind at all is refused at once, and tests little.
  const worth = places.filter(({ holder, key }) => holder !== root || key !== 'type' || how === 'leave out');
  const chosen = worth[Math.floor(place * worth.length)];
  if (!chosen) return value;
  if (how === 'put') chosen.holder[chosen.key] = value;
  else if (how === 'leave out') delete chosen.holder[chosen.key];
  else chosen.holder[`${chosen.key}x`] = value;
  return root;
}
