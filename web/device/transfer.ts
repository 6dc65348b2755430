import { transferHandlers } from 'comlink';
import { RatiosError } from '../plan/ratios.ts';
import { codeOf, messageOf } from './errors.ts';

/**
 * Makes Comlink carry an error's `code`, and the place in a text of ratios, on the side that throws; by itself it keeps
 * name, message and stack only. The other side gets an Error with all of them. Whatever else is thrown arrives as an Error, too.
 */
export function carryErrorCodes(): void {
  const original = transferHandlers.get('throw');
  if (!original) throw new Error('Comlink has no transfer handler for errors.');
  transferHandlers.set('throw', {
    ...original,
    serialize(thrown) {
      const error = (thrown as { value: unknown }).value;
      const value = {
        name: error instanceof Error ? error.name : 'Error',
        message: messageOf(error),
        code: codeOf(error),
        // Whoever typed the ratios is shown the place.
        ...(error instanceof RatiosError && { at: error.at, length: error.length }),
        stack: error instanceof Error ? error.stack : undefined,
      };
      return [{ isError: true, value }, []];
    },
  });
}
