import { expect, openHost, test } from './support/test.ts';

/** What every other browser test stands on. */
test('a page of the dev server is isolated, imports sources, reads models and has a WebGPU adapter', async ({
  modulePage,
}) => {
  const found = await modulePage.evaluate(async () => {
    const module = '/web/plan/types.ts';
    await import(module);
    const adapter = await navigator.gpu.requestAdapter();
    const models: { name: string }[] = await (await fetch('/models/')).json();
    return {
      isolated: crossOriginIsolated,
      shared: typeof SharedArrayBuffer,
      adapter: adapter !== null,
      models: models.length > 0,
    };
  });
  expect(found).toEqual({ isolated: true, shared: 'function', adapter: true, models: true });
});

test('the real server isolates its pages, over http and over https', async ({ page, server }) => {
  expect(server.secureUrl).toMatch(/^https:/);
  for (const origin of [server.url, server.secureUrl]) {
    await page.goto(`${origin}/host.html`);
    expect(await page.evaluate(() => ({ isSecureContext, crossOriginIsolated }))).toEqual({
      isSecureContext: true,
      crossOriginIsolated: true,
    });
  }
});

test('the host page of the real server comes up with its handle and lists the models', async ({ page, server }) => {
  const problems: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  await openHost(page, server);
  const names = (await page.evaluate(() => window.edgevisor.models())).map(({ name }) => name);
  expect(names.join(' ')).toContain('tiny-llama');
  expect(problems).toEqual([]);
});

test('the content security policy lets no inline script run', async ({ page, server }) => {
  await page.goto(`${server.url}/host.html`);
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'document.title = "ran"';
    document.head.append(script);
    return document.title === 'ran';
  });
  expect(ran).toBe(false);
});
