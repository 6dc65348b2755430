/** What a person is told when the browser's storage fails. */
import { expect, test } from 'vitest';
import { explainStorage } from '../../../web/device/store/database.ts';
import { StuckError } from '../../../web/device/within.ts';

const quota = new DOMException('', 'QuotaExceededError');

test.each([
  ['a full store', quota, /no more room.*free disk space/],
  ['a transaction that ended without an error, as Firefox ends a large one', null, /no more room.*free disk space/],
  ['a storage that does not answer', new StuckError('No answer in 15 s.'), /close other tabs/],
  ['a page that may store nothing', new DOMException('', 'SecurityError'), /allow site data/],
  ['anything else', new DOMException('odd', 'DataError'), /DataError: odd/],
])('%s', (_, error, expected) => {
  expect(explainStorage(error)).toMatch(expected);
  expect(explainStorage(error)).toContain('The model runs all the same');
});
