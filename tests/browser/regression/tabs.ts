/** Tabs of any engine, driven alike: Playwright's of Chromium and Firefox, WebDriver's of WebKitGTK. */
import { type Browser, type BrowserContextOptions, type CDPSession, expect, type Page } from '@playwright/test';
import { FIREFOX_CONTEXT, launch } from '../mesh/browsers.ts';
import { openWebKit } from '../support/webkit.ts';

export type EngineName = 'chromium' | 'firefox' | 'webkit';

export interface Tab {
  /** Runs a function in the page; what it takes and gives are plain JSON. It must use nothing from around it. */
  evaluate<R, A>(run: (given: A) => R | Promise<R>, given: A): Promise<R>;
  evaluate<R>(run: () => R | Promise<R>): Promise<R>;
  goto(url: string): Promise<void>;
  reload(): Promise<void>;
  close(): Promise<void>;
}

export interface Engine {
  name: EngineName;
  open(url: string): Promise<Tab>;
  /** In a browser that slows hidden pages down as a person's does. */
  openHidden(url: string): Promise<Tab>;
  /** In a browser in which an origin may keep so little. Undefined: a test cannot say so to this engine. */
  openSmall?(url: string, quotaBytes: number): Promise<Tab>;
  close(): Promise<void>;
}

/** Playwright's own and the projects' switches by which pages in the background go on at full speed. */
const NO_BACKGROUND = [
  '--disable-background-timer-throttling',
  '--disable-backgrounding-occluded-windows',
  '--disable-renderer-backgrounding',
];

/** Firefox as people have it: Playwright lets timers of hidden pages run. */
const BACKGROUND_PREFERENCES = {
  'dom.min_background_timeout_value': 1000,
  'dom.min_background_timeout_value_without_budget_throttling': 1000,
};

export function startEngine(name: EngineName): Engine {
  if (name === 'webkit') return webkitEngine();
  let browser: Promise<Browser> | undefined;
  const context: BrowserContextOptions = name === 'firefox' ? FIREFOX_CONTEXT : {};
  const own = () => (browser ??= launch(name));
  return {
    name,
    async open(url) {
      const page = await (await (await own()).newContext(context)).newPage();
      await page.goto(url);
      return tabOf(page, () => page.context().close());
    },
    openHidden: name === 'firefox' ? hiddenFirefox : hiddenChromium,
    openSmall: name === 'firefox' ? smallFirefox : async (url, bytes) => smallChromium(await own(), url, bytes),
    async close() {
      await (await browser)?.close();
    },
  };
}

function tabOf(page: Page, close: () => Promise<void>): Tab {
  return {
    evaluate: <R, A>(run: (given: A) => R | Promise<R>, given?: A) => page.evaluate(run as never, given) as Promise<R>,
    async goto(url) {
      await page.goto(url);
    },
    async reload() {
      await page.reload();
    },
    close,
  };
}

async function smallChromium(browser: Browser, url: string, quotaSize: number): Promise<Tab> {
  const page = await (await browser.newContext()).newPage();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin, quotaSize });
  await page.goto(url);
  return tabOf(page, () => page.context().close());
}

const launchFirefox = (preferences: Record<string, number>): Promise<Browser> =>
  launch('firefox', (options) => ({
    ...options,
    firefoxUserPrefs: { ...options.firefoxUserPrefs, ...preferences },
  }));

async function smallFirefox(url: string, quotaBytes: number): Promise<Tab> {
  const browser = await launchFirefox({ 'dom.quotaManager.temporaryStorage.fixedLimit': quotaBytes / 1024 });
  const page = await (await browser.newContext(FIREFOX_CONTEXT)).newPage();
  await page.goto(url);
  return tabOf(page, () => browser.close());
}

/** A page that the first opens is a tab of the same window, in front of it. */
async function hiddenFirefox(url: string): Promise<Tab> {
  const browser = await launchFirefox(BACKGROUND_PREFERENCES);
  const page = await (await browser.newContext(FIREFOX_CONTEXT)).newPage();
  await page.goto(url);
  await page.evaluate(() => void window.open('about:blank'));
  return tabOf(page, () => browser.close());
}

/** Playwright keeps every page of its contexts visible, so this one is of the default context, which it leaves alone. */
async function hiddenChromium(url: string): Promise<Tab> {
  const browser = await launch('chromium', (options) => ({
    ...options,
    args: (options.args ?? []).filter((flag) => !NO_BACKGROUND.includes(flag)),
    ignoreDefaultArgs: NO_BACKGROUND,
  }));
  const devtools = await browser.newBrowserCDPSession();
  const { targetId } = await devtools.send('Target.createTarget', { url });
  const inFront = await devtools.send('Target.createTarget', { url: 'about:blank' });
  await devtools.send('Target.activateTarget', inFront);
  const { sessionId } = await devtools.send('Target.attachToTarget', { targetId, flatten: false });
  const call = targetCalls(devtools, sessionId);
  // Until then the target shows an empty page, and what is asked of that is lost with it.
  const loaded = () =>
    call('Runtime.evaluate', { expression: 'location.href !== "about:blank" && document.readyState' }).then(
      ({ result }) => result.value,
      () => undefined,
    );
  await expect.poll(loaded).toBe('complete');
  return {
    async evaluate<R, A>(run: (given: A) => R | Promise<R>, given?: A) {
      const { result, exceptionDetails } = await call('Runtime.evaluate', {
        ...{ expression: callOf(run, given), awaitPromise: true, returnByValue: true },
      });
      if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
      return result.value as R;
    },
    async goto(to) {
      await call('Page.navigate', { url: to });
    },
    async reload() {
      await call('Page.reload', {});
    },
    close: () => browser.close(),
  };
}

interface Answer {
  result: { value: unknown };
  exceptionDetails?: { text: string; exception?: { description?: string } };
}

interface Reply {
  id: number;
  result?: Answer;
  error?: { message: string };
}

/** Calls of the DevTools protocol to a target that Playwright knows nothing of. */
function targetCalls(devtools: CDPSession, sessionId: string) {
  let last = 0;
  const waiting = new Map<number, (reply: Reply) => void>();
  devtools.on('Target.receivedMessageFromTarget', ({ message }) => {
    const reply = JSON.parse(message) as Reply;
    waiting.get(reply.id)?.(reply);
    waiting.delete(reply.id);
  });
  return async (method: string, params: object): Promise<Answer> => {
    const id = ++last;
    const answer = new Promise<Answer>((resolve, reject) => {
      waiting.set(id, ({ result, error }) => (result ? resolve(result) : reject(new Error(error?.message))));
    });
    await devtools.send('Target.sendMessageToTarget', { sessionId, message: JSON.stringify({ id, method, params }) });
    return answer;
  };
}

/** The call of a function as source text. */
const callOf = (run: unknown, given: unknown): string => `(${run})(${JSON.stringify(given) ?? ''})`;

function webkitEngine(): Engine {
  const open = async (url: string, hidden: boolean): Promise<Tab> => {
    const page = await openWebKit(url);
    if (hidden) await page.minimize();
    return {
      evaluate: <R, A>(run: (given: A) => R | Promise<R>, given?: A) =>
        page.evaluate<R>(`return ${callOf(run, given)};`),
      goto: page.goto,
      reload: page.reload,
      close: page.close,
    };
  };
  return {
    name: 'webkit',
    open: (url) => open(url, false),
    openHidden: (url) => open(url, true),
    close: async () => undefined,
  };
}
