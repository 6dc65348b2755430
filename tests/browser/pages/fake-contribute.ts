/**
 * Stands in for `web/contribute/handle.ts` in the tests of the contribute page: `window.fakeContribute` is what a test
 * reads and pulls; `window.fakeStatus` is set before the page starts.
 */
import type { ContributeHandle, ContributeStatus } from '../../../web/api.ts';

export interface FakeContribute {
  /** What the page asked for. */
  calls: [method: string, ...args: unknown[]][];
  /** The next call fails with this. */
  fail?: string;
  become(change: Partial<ContributeStatus>): void;
}

declare global {
  interface Window {
    fakeStatus?: Partial<ContributeStatus>;
    fakeContribute: FakeContribute;
  }
}

export function createContributeHandle(): ContributeHandle {
  let status: ContributeStatus = {
    ...{ state: 'ready', name: 'Firefox on Android', backend: '', threads: 0, gmacs: 0, memoryLimit: 0 },
    ...{
      memoryUsed: 0,
      memoryWarm: 0,
      heads: 0,
      ffn: 0,
      loaded: 0,
      total: 0,
      tokens: 0,
      link: 'none',
      rttMs: 0,
      awake: false,
    },
    ...window.fakeStatus,
  };
  const listeners = new Set<(status: ContributeStatus) => void>();
  const become = (change: Partial<ContributeStatus>): void => {
    status = { ...status, ...change };
    for (const listener of listeners) listener(status);
  };
  const asked = async (method: string, change: Partial<ContributeStatus>, ...args: unknown[]): Promise<void> => {
    const { calls, fail } = window.fakeContribute;
    calls.push([method, ...args]);
    delete window.fakeContribute.fail;
    if (fail !== undefined) throw new Error(fail);
    become(change);
  };
  window.fakeContribute = { calls: [], become };
  return {
    version: 'fake',
    ready: Promise.resolve(),
    status: async () => status,
    join: (options = {}) => asked('join', { state: 'connecting', name: options.name ?? status.name }, options),
    pause: () => asked('pause', { state: 'paused' }),
    resume: () => asked('resume', { state: 'joined' }),
    leave: () => asked('leave', { state: 'left' }),
    setMemoryLimit: (bytes) => asked('setMemoryLimit', { memoryLimit: bytes }, bytes),
    on(_event, listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
