/** `?profile=1` in the built host page: the panel fills with the times of a real answer, and scripts read the same. */
import type { Locator } from '@playwright/test';
import { namelessControls, overflow, watchFaults } from './support/page-checks.ts';
import { expect, openHost, test } from './support/test.ts';

const TINY = 'tiny-llama.Q4_0';
const LAYERS = 4;
const ids = Array.from({ length: 20 }, (_, i) => i + 3);
const greedy = { ids, maxTokens: 12, temperature: 0, ignoreEos: true, reuse: false };

const cells = (row: Locator): Promise<string[]> => row.locator('th, td').allInnerTexts();

test('shows where an answer’s time went, by operation and layer', async ({ page, server }) => {
  const faults = await watchFaults(page);
  await page.setViewportSize({ width: 1280, height: 800 });
  await openHost(page, server, 'backend=wasm&threads=1&profile=1');
  await expect(page.getByText('After the next answer this shows')).toBeVisible();
  await page.evaluate((model) => window.edgevisor.load({ model }), TINY);
  const { timings } = await page.evaluate((options) => window.edgevisor.generate(options), greedy);

  const operations = page.getByRole('table', { name: 'This device, by operation' });
  const down = operations.getByRole('row', { name: /^down / });
  await expect(down).toHaveText(/\d %/);
  const total = Number((await cells(operations.getByRole('row', { name: /^in all / })))[1]);
  // Tables show a token's time; the page's clock saw all of them, with the way through the engine.
  expect(total).toBeGreaterThan(0);
  expect(total).toBeLessThanOrEqual(timings.decodeMs / timings.decodeTokens);

  const layers = page.getByRole('region', { name: 'This device, by layer' }).getByRole('row');
  await expect(layers).toHaveCount(2 + 2 + LAYERS);
  await expect(layers.nth(1)).toHaveText(/Layer.*All.*norm.*q k v.*rope.*scores.*join.*o.*norm.*gate up.*act.*down/s);
  await expect(page.getByText('11 tokens in 11 passes')).toBeVisible();
  await page.getByRole('radio', { name: 'Prompt' }).check();
  await expect(page.getByText(`${ids.length} tokens in 1 pass.`)).toBeVisible();
  await expect(operations.getByRole('row', { name: /^embedding / })).toBeVisible();

  const [profile] = await page.evaluate(() => window.edgevisor.profile());
  expect(profile).toMatchObject({ device: 0, timesOperations: true });
  expect(profile.decode).toMatchObject({ batches: 11, tokens: 11 });
  expect(profile.decode.layers).toHaveLength(LAYERS);
  expect(await namelessControls(page)).toEqual([]);
  await page.setViewportSize({ width: 360, height: 700 });
  expect(await overflow(page)).toBe(0);
  expect(await faults()).toEqual([]);
});

test('without it there is neither tab nor profile', async ({ page, server }) => {
  await openHost(page, server, `backend=wasm&threads=1`);
  await page.evaluate((model) => window.edgevisor.load({ model }), TINY);
  const code = await page.evaluate(() => window.edgevisor.profile().then(String, (error) => error.code));
  expect(code).toBe('no-profile');
  await page.getByRole('button', { name: 'Settings and device' }).click();
  await expect(page.getByRole('tab', { name: 'Devices' })).toBeVisible();
  await expect(page.getByRole('tab', { name: 'Profile' })).toHaveCount(0);
});
