/** One IndexedDB database behind idb-keyval's verbs: it reopens a closed connection, and never waits for ever. */
import { createStore, type UseStore } from 'idb-keyval';
import { StuckError, within } from '../within.ts';

const OBJECT_STORE = 'shards';

/** Longest wait for one transaction before the storage counts as stuck, in milliseconds. */
export const PATIENCE_MS = 15_000;

/** This page has no IndexedDB at all. */
export class MissingError extends Error {
  override readonly name = 'MissingError';
}

/**
 * A handle for idb-keyval's verbs. A connection that the browser closed (site data cleared, Safari in the background) is
 * opened again once; a transaction that is not over in `patienceMs` rejects with StuckError.
 */
export function openDatabase(name: string, patienceMs = PATIENCE_MS): UseStore {
  let connection: UseStore | undefined;
  return async (mode, callback) => {
    if (typeof indexedDB === 'undefined') throw new MissingError('This page has no IndexedDB.');
    connection ??= createStore(name, OBJECT_STORE);
    const used = connection;
    try {
      return await within(patienceMs, used(mode, callback));
    } catch (error) {
      if (!wasClosed(error)) throw error;
      // Of several transactions that met the closed connection, the first opens the new one.
      if (connection === used) connection = createStore(name, OBJECT_STORE);
      return await within(patienceMs, connection(mode, callback));
    }
  };
}

/** A transaction that a closing connection ended has no error of its own, so idb-keyval then rejects with null. */
function wasClosed(error: unknown): boolean {
  return error === null || ['InvalidStateError', 'AbortError', 'UnknownError'].includes(nameOf(error));
}

export function isFull(error: unknown): boolean {
  return nameOf(error) === 'QuotaExceededError';
}

/** Why nothing is stored, in words for a person, whatever IndexedDB threw. */
export function explainStorage(error: unknown): string {
  return `${reason(error)} The model runs all the same, but parts that are not stored are downloaded again next time.`;
}

function reason(error: unknown): string {
  if (isFull(error)) {
    return 'This browser gives no more room to store the model: free disk space, delete stored models, or leave private mode.';
  }
  if (error instanceof StuckError) {
    return 'The browser’s storage does not answer: close other tabs of this page or restart the browser.';
  }
  if (error instanceof MissingError) return 'This browser or mode has no storage for model parts (IndexedDB).';
  // Firefox ends a large transaction so when it gives no more room; a closed connection has been opened again by now.
  if (error === null) {
    return 'The browser stopped storing the model without saying why, most likely because it gives no more room: free disk space, delete stored models, or leave private mode.';
  }
  if (nameOf(error) === 'SecurityError') {
    return 'This browser does not let the page store anything: allow site data for this address.';
  }
  const detail = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return `The browser’s storage failed (${detail}).`;
}

function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : '';
}
