import { expect } from 'vitest';

/** Matches a ModelError with that code and a message like that. */
export const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ name: 'ModelError', code, message: expect.stringMatching(message) });

/** What a function throws, for `expect(thrown(...)).toEqual(failure(...))`. */
export function thrown(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return 'nothing was thrown';
}
