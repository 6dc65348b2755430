import { type Browser, chromium, firefox, type LaunchOptions, type Page } from '@playwright/test';
import config from '../../../playwright.config.ts';
import { newSecret } from '../../../web/mesh/secret.ts';

/** Both browsers at once, with the projects' own options. */
export type BrowserName = 'chromium' | 'firefox';

export function hasBrowser(name: BrowserName): boolean {
  return config.projects?.some((project) => project.name === name) ?? false;
}

/** Emulation that WebDriver BiDi, by which a system Firefox is driven, does not know. */
export const FIREFOX_CONTEXT = { colorScheme: null, reducedMotion: null, forcedColors: null, contrast: null } as const;

/** With the project's own options. `change` gives others in their place. */
export async function launch(
  name: BrowserName,
  change: (options: LaunchOptions) => LaunchOptions = (options) => options,
): Promise<Browser> {
  const use = config.projects?.find((project) => project.name === name)?.use;
  if (!use) throw new Error(`There is no ${name} here.`);
  const type = name === 'chromium' ? chromium : firefox;
  return type.launch({ ...change(use.launchOptions ?? {}), ...(use.channel ? { channel: use.channel } : {}) });
}

/** A page of the mesh in a context of its own. */
export async function openPage(browser: Browser, url: string): Promise<Page> {
  const isFirefox = browser.browserType().name() === 'firefox';
  const page = await (await browser.newContext(isFirefox ? FIREFOX_CONTEXT : {})).newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || message.text().startsWith('link')) console.log(`page: ${message.text()}`);
  });
  page.on('pageerror', (error) => console.log(`page: ${error}`));
  await page.goto(`${url}/tests/browser/mesh/page.html`);
  await page.waitForFunction(() => window.meshPage);
  return page;
}

/** Lets the pages enter one room, the first as its host, and waits until they are linked pairwise. */
export async function mesh(pages: Page[], options: { relay?: boolean[]; secret?: string } = {}): Promise<string> {
  const secret = options.secret ?? newSecret();
  for (const [i, page] of pages.entries()) {
    const role = i === 0 ? ('host' as const) : ('device' as const);
    await page.evaluate((entry) => window.meshPage.enter(entry), {
      secret,
      role,
      name: `page ${i}`,
      relay: options.relay?.[i] ?? false,
    });
    await page.waitForFunction(() => window.meshPage.room.state === 'joined');
  }
  await Promise.all(pages.map((page) => linked(page, pages.length - 1)));
  return secret;
}

/** Waits until a page has so many links that are up. */
export async function linked(page: Page, count: number): Promise<void> {
  await page.waitForFunction(
    (links) => [...window.meshPage.mesh.links.values()].filter(({ state }) => state === 'up').length === links,
    count,
  );
}
