/** Starting the Worker that lends, which is played by a message channel. */
import { expose } from 'comlink';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type DeviceEndpoint, startDevice } from '../../web/contribute/start-device.ts';
import { deferred } from '../../web/device/deferred.ts';
import type { DeviceWorker } from '../../web/device/device.worker.ts';
import type { About } from '../../web/mesh/control.ts';

const about = { backend: 'wasm' } as unknown as About;
const options = { backend: 'wasm' } as Parameters<DeviceWorker['start']>[0];

/** A Worker that offers `service`, or one whose script never comes. */
function setUp(service?: Partial<DeviceWorker>) {
  const { port1, port2 } = new MessageChannel();
  if (service) expose(service, port2 as unknown as Parameters<typeof expose>[1]);
  port1.start();
  const errors = new EventTarget();
  const terminate = vi.fn(() => {
    port1.close();
    port2.close();
  });
  const endpoint: DeviceEndpoint = {
    addEventListener: (type: string, listener: EventListenerOrEventListenerObject) =>
      (type === 'error' ? errors : port1).addEventListener(type, listener as never),
    removeEventListener: (type: string, listener: EventListenerOrEventListenerObject) =>
      port1.removeEventListener(type, listener as never),
    postMessage: (message: unknown, transfer?: Transferable[]) => port1.postMessage(message, transfer as never),
    terminate,
  };
  const crash = (message: string) => errors.dispatchEvent(Object.assign(new Event('error'), { message }));
  return { endpoint, terminate, crash };
}

describe('the Worker that lends', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }));
  afterEach(() => void vi.useRealTimers());

  it('may measure itself for longer than it may take to start', async () => {
    const { promise, resolve } = deferred<About>();
    const start = vi.fn(() => promise);
    const { endpoint, terminate } = setUp({ status: () => undefined, start });
    const started = startDevice(endpoint, options);
    await vi.waitFor(() => expect(start).toHaveBeenCalled());
    await vi.advanceTimersByTimeAsync(120_000);
    resolve(about);
    expect((await started).about).toEqual(about);
    expect(terminate).not.toHaveBeenCalled();
    terminate();
  });

  it('is not asked for its notes, which it tells once', async () => {
    const notes = ['This browser stores nothing.'];
    const { endpoint, terminate } = setUp({
      status: () => undefined,
      start: async () => about,
      notes: () => notes.splice(0),
    });
    const { worker } = await startDevice(endpoint, options);
    expect(await worker.notes()).toEqual(['This browser stores nothing.']);
    terminate();
  });

  it('whose script never comes is given up after a minute, in words', async () => {
    const { endpoint, terminate } = setUp();
    const rejected = expect(startDevice(endpoint, options)).rejects.toThrow(/has not started in 60 s\. Reload/);
    await vi.advanceTimersByTimeAsync(61_000);
    await rejected;
    expect(terminate).toHaveBeenCalledOnce();
  });

  it('that fails says how', async () => {
    const { endpoint, terminate, crash } = setUp();
    const rejected = expect(startDevice(endpoint, options)).rejects.toThrow(/stopped: no memory\. Reload/);
    crash('no memory');
    await rejected;
    expect(terminate).toHaveBeenCalledOnce();
  });
});
