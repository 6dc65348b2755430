import type { Page } from '@playwright/test';
import type { ContributeStatus } from '../../web/api.ts';
import { namelessControls, overflow, watchFaults } from './support/page-checks.ts';
import { expect, test } from './support/test.ts';

const ROOM = '#room=abcdefghijklmnopqrstuv';
const FAKE = "export * from '/tests/browser/pages/fake-contribute.ts';";

const LENDING: Partial<ContributeStatus> = {
  ...{ state: 'joined', index: 2, name: 'Anna’s phone', backend: 'webgpu', threads: 8, gmacs: 13.4 },
  ...{
    memoryLimit: 1e9,
    memoryUsed: 47e6,
    memoryWarm: 8e6,
    model: 'SmolLM2',
    layers: [14, 30],
    heads: 3,
    ffn: 768,
    tokens: 1204,
  },
  ...{ link: 'webrtc', rttMs: 3.2, awake: true },
};

/** The contribute page on Vite's server, with the fake of `pages/fake-contribute.ts` in the place of what lends. */
class ContributePage {
  faults: () => Promise<string[]> = async () => [];

  constructor(
    readonly page: Page,
    readonly url: string,
  ) {}

  async open(status: Partial<ContributeStatus> = {}): Promise<void> {
    this.faults = await watchFaults(this.page);
    await this.page.route(/\/web\/contribute\/handle\.ts/, (route) =>
      route.fulfill({ contentType: 'text/javascript', body: FAKE }),
    );
    await this.set(status);
    await this.page.goto(`${this.url}/web/index.html${ROOM}`);
    await expect(this.page.getByRole('heading', { name: 'EdgeVisor' })).toBeVisible();
  }

  /** On an address of the local network by plain http, which no browser trusts. */
  async openPlain(https: string[]): Promise<void> {
    const { page, url } = this;
    this.faults = await watchFaults(page);
    await this.set({});
    await page.route('http://192.168.1.7:8080/**', async (route) => {
      const { pathname, search } = new URL(route.request().url());
      if (pathname === '/addresses.json') {
        await route.fulfill({ json: { http: ['http://192.168.1.7:8080'], https } });
      } else if (pathname === '/web/contribute/handle.ts') {
        await route.fulfill({ contentType: 'text/javascript', body: FAKE });
      } else if (pathname === '/@vite/client') {
        // Vite's own connection, which a page of this address cannot make.
        await route.fulfill({
          contentType: 'text/javascript',
          body: 'export const createHotContext = () => ({}); export const updateStyle = () => {}; export const removeStyle = () => {};',
        });
      } else {
        await route.fulfill({ response: await route.fetch({ url: `${url}${pathname}${search}` }) });
      }
    });
    await page.goto(`http://192.168.1.7:8080/web/index.html?name=Phone${ROOM}`);
  }

  async set(status: Partial<ContributeStatus>): Promise<void> {
    await this.page.addInitScript((given) => {
      window.fakeStatus = given;
    }, status);
  }

  become(status: Partial<ContributeStatus>): Promise<void> {
    return this.page.evaluate((change) => window.fakeContribute.become(change), status);
  }

  calls(): Promise<unknown[][]> {
    return this.page.evaluate(() => window.fakeContribute.calls);
  }

  button(name: string) {
    return this.page.getByRole('button', { name, exact: true });
  }

  heading(name: string) {
    return this.page.getByRole('heading', { name, exact: true });
  }
}

const lend = test.extend<{ lender: ContributePage }>({
  lender: async ({ page, viteUrl }, use) => {
    const opened = new ContributePage(page, viteUrl);
    await use(opened);
    expect(await opened.faults()).toEqual([]);
  },
});

lend('lends with one tap, under a name, with as much memory as chosen', async ({ lender }) => {
  await lender.open();
  const { page } = lender;
  await expect(page.getByLabel('Name of this device')).toHaveValue('Firefox on Android');
  const memory = page.getByRole('slider', { name: 'Memory to lend' });
  await expect(memory).toHaveAttribute('aria-valuetext', 'as much as the browser allows');
  await lender.button('Lend this device').click();
  await expect(lender.heading('Connecting…')).toBeVisible();
  expect(await lender.calls()).toEqual([['join', { name: 'Firefox on Android' }]]);

  await lender.button('Leave').click();
  await expect(lender.heading('This device has left')).toBeVisible();
  await page.getByLabel('Name of this device').fill('Kitchen');
  await memory.focus();
  await page.keyboard.press('Home');
  await expect(memory).toHaveAttribute('aria-valuetext', 'at most 100 MB');
  await lender.button('Lend it again').click();
  await expect
    .poll(async () => (await lender.calls()).at(-1))
    .toEqual(['join', { name: 'Kitchen', memoryLimit: 100e6 }]);
});

lend('shows what this device does, and follows it', async ({ lender }) => {
  await lender.open({ ...LENDING, layers: undefined, model: undefined });
  const { page } = lender;
  await expect(lender.heading('Ready')).toBeVisible();
  await lender.become({ loaded: 12e6, total: 40e6 });
  await expect(lender.heading('Loading its share')).toBeVisible();
  await expect(page.getByText('12.0 MB of 40.0 MB · 30 %')).toBeVisible();
  await expect(page.getByRole('progressbar', { name: 'Loading its share' })).toBeVisible();
  await lender.become({ ...LENDING, loaded: 0, total: 0 });
  await expect(lender.heading('Lending')).toBeVisible();
  const facts = page.getByRole('region', { name: 'What it computes' });
  for (const fact of [
    'Anna’s phone, device 2',
    'SmolLM2',
    '14–29 (16 layers)',
    '3 in each layer',
    '768 in each layer',
    'direct, 3.2 ms: good',
    'graphics (WebGPU), 8 threads',
    'kept awake',
  ]) {
    await expect(facts).toContainText(fact);
  }
  await expect(page.getByText('1,204 tokens helped with')).toBeVisible();
  await expect(page.getByText('47.0 MB in use, 8.00 MB of it in case a share comes back')).toBeVisible();
  await lender.become({ link: 'relay', rttMs: 80, awake: false, tokens: 1205, problem: 'The cache is closed here.' });
  await expect(facts).toContainText('relayed by the server, 80 ms: slow');
  await expect(facts).toContainText('keep this page in front');
  await expect(page.getByText('The cache is closed here.')).toBeVisible();
  await expect(page.getByText('1,205 tokens helped with')).toBeVisible();
});

lend('pauses, goes on, changes its memory, leaves', async ({ lender }) => {
  await lender.open(LENDING);
  const { page } = lender;
  await lender.button('Pause').click();
  await expect(lender.heading('Paused')).toBeVisible();
  await lender.button('Resume').click();
  await expect(lender.heading('Lending')).toBeVisible();
  const memory = page.getByRole('slider', { name: 'Memory to lend' });
  await expect(memory).toHaveAttribute('aria-valuetext', 'at most 1.00 GB');
  await memory.focus();
  await page.keyboard.press('ArrowLeft');
  await expect(memory).toHaveAttribute('aria-valuetext', 'at most 750 MB');
  await lender.button('Leave').click();
  await expect(lender.heading('This device has left')).toBeVisible();
  expect(await lender.calls()).toEqual([['pause'], ['resume'], ['setMemoryLimit', 750e6], ['leave']]);
});

lend('a wish that fails says why', async ({ lender }) => {
  await lender.open();
  await lender.page.evaluate(() => {
    window.fakeContribute.fail = 'The server does not answer.';
  });
  await lender.button('Lend this device').click();
  await expect(lender.page.getByRole('alert')).toContainText('The server does not answer.');
  await expect(lender.button('Lend this device')).toBeEnabled();
});

lend('says what it waits for', async ({ lender }) => {
  await lender.open({ state: 'connecting' });
  await expect(lender.heading('Connecting…')).toBeVisible();
  await lender.become({ state: 'waiting' });
  await expect(lender.heading('The host is not there yet')).toBeVisible();
  await lender.become({ state: 'pending' });
  await expect(lender.heading('Waiting to be let in')).toBeVisible();
  await lender.become(LENDING);
  await expect(lender.heading('Lending')).toBeVisible();
  await lender.become({ state: 'connecting' });
  await expect(lender.heading('Connection lost')).toBeVisible();
  await expect(lender.page.getByText('comes back by itself')).toBeVisible();
});

for (const [state, title, again] of [
  ['refused', 'Not let in', 'Ask again'],
  ['removed', 'Removed', 'Ask again'],
  ['failed', 'This device cannot lend', 'Try again'],
] as const) {
  lend(`says why when it is ${state}, and tries again`, async ({ lender }) => {
    await lender.open({ state, problem: 'This is why.' });
    await expect(lender.heading(title)).toBeVisible();
    await expect(lender.page.getByRole('alert').filter({ hasText: title })).toContainText('This is why.');
    await lender.set({ state: 'ready' });
    await lender.button(again).click();
    await expect(lender.button('Lend this device')).toBeVisible();
  });
}

lend('without a room it says what that is, and leads to the chat', async ({ lender }) => {
  await lender.open({ state: 'no-room' });
  const { page } = lender;
  await expect(page.getByText('There is no room in this page’s address')).toBeVisible();
  await expect(lender.button('Lend this device')).toHaveCount(0);
  await page.getByRole('link', { name: 'Open the chat' }).click();
  await expect(page).toHaveURL(/host\.html$/);
});

lend('the page itself, without a room, needs no server behind it', async ({ page, viteUrl }) => {
  const faults = await watchFaults(page);
  await page.goto(`${viteUrl}/web/index.html`);
  await expect(page.getByText('There is no room in this page’s address')).toBeVisible();
  expect(await faults()).toEqual([]);
});

lend.describe('by plain http', () => {
  lend.beforeEach(({ browserName }) => {
    test.skip(browserName !== 'chromium', 'Only Chromium lets a test play an address of the network.');
  });

  lend('says what is missing, and leads to https with the same room', async ({ lender }) => {
    await lender.openPlain(['https://10.0.0.2:8081', 'https://192.168.1.7:8081', 'https://localhost:8081']);
    const { page } = lender;
    await expect(lender.heading('This address is not encrypted')).toBeVisible();
    await expect(page.getByText('WebGPU')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Open the encrypted address' })).toHaveAttribute(
      'href',
      `https://192.168.1.7:8081/web/index.html?name=Phone${ROOM}`,
    );
    await expect(lender.button('Lend this device')).toHaveCount(0);
    await lender.button('Go on with one thread').click();
    await lender.button('Lend this device').click();
    await expect(lender.heading('Connecting…')).toBeVisible();
  });

  lend('says so where the server has no https', async ({ lender }) => {
    await lender.openPlain([]);
    await expect(lender.page.getByText('This server offers no https address')).toBeVisible();
    await expect(lender.button('Go on with one thread')).toBeVisible();
  });
});

lend('names every control, has large targets, and fits 320 pixels', async ({ lender }) => {
  await lender.page.setViewportSize({ width: 320, height: 640 });
  await lender.open();
  for (const state of [{ state: 'ready' }, { state: 'no-room' }, { state: 'pending' }, LENDING]) {
    await lender.become(state);
    await expect(lender.page.getByText('Loading…')).toHaveCount(0);
    expect(await namelessControls(lender.page)).toEqual([]);
    expect(await overflow(lender.page)).toBe(0);
    // A button may be there some moments before it has been laid out.
    const lowest = () =>
      lender.page
        .getByRole('button')
        .evaluateAll((all) => Math.min(48, ...all.map((button) => button.getBoundingClientRect().height)));
    await expect.poll(lowest).toBe(48);
  }
});

lend('a part that fails to load is told in words', async ({ page, viteUrl }) => {
  await page.route(/start-contribute-page\.ts/, (route) => route.abort());
  await page.goto(`${viteUrl}/web/index.html`);
  await expect(page.getByText('The page could not start.')).toBeVisible();
});
