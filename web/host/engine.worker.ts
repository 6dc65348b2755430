/** The engine in its Worker: the world as it is in a browser, around `createEngine`. */
import { expose } from 'comlink';
import { browserName } from '../device/browser-name.ts';
import { browserBackends, browserMemory } from '../device/environment.ts';
import { codeOf, messageOf } from '../device/errors.ts';
import { openShardStore } from '../device/store/store.ts';
import { carryErrorCodes } from '../device/transfer.ts';
import { createEngine } from './engine.ts';
import type { EngineMessage } from './engine-types.ts';
import { listModels } from './list-models.ts';
import { openModel } from './open-model.ts';

const send = (message: EngineMessage): void => self.postMessage(message);

carryErrorCodes();
self.addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  const text = `Something went wrong in the engine: ${messageOf(event.reason)}`;
  send({ event: 'log', detail: { level: 'error', text, code: codeOf(event.reason) } });
});

expose(
  createEngine({
    emit: (event, detail) => send({ event, detail }),
    openModel,
    listModels,
    openStore: (onNote) => openShardStore({ onNote }),
    browser: browserName(navigator.userAgent),
    backends: browserBackends,
    memoryLimit: ({ emulation }) => browserMemory(emulation),
  }),
);
