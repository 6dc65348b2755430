/** Native llama.cpp on the processor, in a process of its own (`native-process.ts`). */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Engine, Run } from '../engine.ts';
import { installedVersion } from '../peers.ts';
import type { NativeAnswer, NativeRequest } from './native-process.ts';

export function native(threads: number): Engine {
  return {
    ...{ family: 'native', backend: 'cpu', threads },
    async open({ directory, file, context, prompt, decodeTokens }) {
      const child = fork(fileURLToPath(new URL('./native-process.ts', import.meta.url)), {
        execArgv: ['--import', 'tsx'],
      });
      const run = () => ask<Run>(child, { call: 'run', ids: prompt.ids, decodeTokens });
      try {
        const load: NativeRequest = { call: 'load', path: join(directory, file), context, threads };
        const { ms, release } = await ask<{ ms: number; release: string }>(child, load);
        await run();
        return {
          description: `node-llama-cpp ${installedVersion('node-llama-cpp')} (llama.cpp ${release}), ${threads} threads`,
          start: { warmLoadMs: ms },
          run,
          close: () => ended(child),
        };
      } catch (error) {
        await ended(child);
        throw error;
      }
    },
  };
}

/** One call at a time. */
function ask<T>(child: ChildProcess, request: NativeRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const gone = (code: number | null) => reject(new Error(`Native llama.cpp ended with exit code ${code}.`));
    child.once('exit', gone);
    child.once('message', (answer) => {
      child.off('exit', gone);
      const { result, error } = answer as NativeAnswer;
      if (error) reject(new Error(`Native llama.cpp: ${error}`));
      else resolve(result as T);
    });
    child.send(request);
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else {
      child.once('exit', () => resolve());
      child.kill();
    }
  });
}
