import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium, firefox } from '@playwright/test';

export type BrowserName = 'chromium' | 'firefox';

/** A browser that the tests can drive. `own` is Playwright's build, which is driven by another protocol in Firefox's case. */
export interface FoundBrowser {
  path: string;
  own: boolean;
}

const COMMANDS: Record<BrowserName, string[]> = {
  chromium: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
  firefox: ['firefox-esr', 'firefox'],
};

const programFiles = [process.env.PROGRAMFILES, process.env['PROGRAMFILES(X86)'], process.env.LOCALAPPDATA].filter(
  (path) => path !== undefined,
);

const APPLICATIONS: Record<BrowserName, string[]> = {
  chromium: [
    ...['/Applications', join(homedir(), 'Applications')].flatMap((folder) => [
      join(folder, 'Google Chrome.app/Contents/MacOS/Google Chrome'),
      join(folder, 'Chromium.app/Contents/MacOS/Chromium'),
    ]),
    ...programFiles.flatMap((folder) => [
      join(folder, 'Google/Chrome/Application/chrome.exe'),
      join(folder, 'Chromium/Application/chrome.exe'),
      join(folder, 'Microsoft/Edge/Application/msedge.exe'),
    ]),
  ],
  firefox: [
    ...['/Applications', join(homedir(), 'Applications')].map((folder) =>
      join(folder, 'Firefox.app/Contents/MacOS/firefox'),
    ),
    ...programFiles.map((folder) => join(folder, 'Mozilla Firefox/firefox.exe')),
  ],
};

/**
 * Finds a browser: the path in CHROMIUM_PATH or FIREFOX_PATH, else one of the system, else Playwright's own build where
 * it was installed (`npx playwright install`).
 */
export function findBrowser(name: BrowserName): FoundBrowser | undefined {
  const named = process.env[`${name.toUpperCase()}_PATH`];
  if (named) return existsSync(named) ? { path: named, own: false } : undefined;
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  const inPath = COMMANDS[name].flatMap((command) => folders.map((folder) => join(folder, command)));
  const path = [...inPath, ...APPLICATIONS[name]].find((candidate) => existsSync(candidate));
  if (path) return { path, own: false };
  const own = { chromium, firefox }[name].executablePath();
  return existsSync(own) ? { path: own, own: true } : undefined;
}

/** WebKitGTK, which its own driver controls, and the display that it needs. */
export interface FoundWebKit {
  driver: string;
  display: string;
  browser: string;
}

const WEBKIT_FOLDERS = ['webkit2gtk-4.1', 'webkit2gtk-4.0', 'webkitgtk-6.0'].flatMap((version) =>
  ['x86_64', 'aarch64'].map((machine) => `/usr/lib/${machine}-linux-gnu/${version}`),
);

/** Finds what Debian's packages webkit2gtk-driver and xvfb install; undefined where a part is missing. */
export function findWebKit(): FoundWebKit | undefined {
  const [driver, display] = ['/usr/bin/WebKitWebDriver', '/usr/bin/xvfb-run'];
  const browser = WEBKIT_FOLDERS.map((folder) => join(folder, 'MiniBrowser')).find((path) => existsSync(path));
  return browser && existsSync(driver) && existsSync(display) ? { driver, display, browser } : undefined;
}
