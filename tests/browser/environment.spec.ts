import { expect, test } from './support/test.ts';

/** What every other browser test stands on: isolation, threads, and a WebGPU adapter in both browsers. */
test('a page of the dev server is isolated, imports sources and has a WebGPU adapter', async ({ modulePage }) => {
  const found = await modulePage.evaluate(async () => {
    const module = '/web/plan/types.ts';
    await import(module);
    const adapter = await navigator.gpu.requestAdapter();
    return { isolated: crossOriginIsolated, shared: typeof SharedArrayBuffer, adapter: adapter !== null };
  });
  expect(found).toEqual({ isolated: true, shared: 'function', adapter: true });
});
