import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { findBrowser } from '../../../scripts/browsers.ts';
import { ensureBrowsers } from '../../../scripts/install-browsers.ts';

let root = '';
let bin = '';
let said: string[] = [];
const log = (line: string) => void said.push(line);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'edgevisor-browsers-'));
  bin = join(root, 'bin');
  mkdirSync(bin);
  said = [];
  vi.stubEnv('PATH', bin);
  vi.stubEnv('CHROMIUM_PATH', '');
  vi.stubEnv('FIREFOX_PATH', '');
  // Where Playwright would have put its own browsers.
  vi.stubEnv('PLAYWRIGHT_BROWSERS_PATH', join(root, 'playwright'));
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

const command = (name: string, script = 'exit 0') =>
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });

describe.skipIf(process.platform !== 'linux')('finding browsers', () => {
  test('in the path', () => {
    expect(findBrowser('chromium')).toBeUndefined();
    command('chromium');
    command('firefox-esr');
    expect(findBrowser('chromium')).toEqual({ path: join(bin, 'chromium'), own: false });
    expect(findBrowser('firefox')).toEqual({ path: join(bin, 'firefox-esr'), own: false });
  });

  test('where the environment says, before all others', () => {
    command('chromium');
    command('special');
    vi.stubEnv('CHROMIUM_PATH', join(bin, 'special'));
    expect(findBrowser('chromium')).toEqual({ path: join(bin, 'special'), own: false });
    vi.stubEnv('CHROMIUM_PATH', join(bin, 'none'));
    expect(findBrowser('chromium')).toBeUndefined();
  });
});

describe.skipIf(process.platform !== 'linux' || process.getuid?.() !== 0)('getting browsers', () => {
  test('nothing is installed where all are there', async () => {
    command('apt-get', `echo called >> ${root}/apt.log`);
    for (const name of ['chromium', 'firefox-esr', 'WebKitWebDriver', 'xvfb-run', 'redis-server']) command(name);
    expect(await ensureBrowsers(log)).toEqual(['chromium', 'firefox']);
    const installed = existsSync(join(root, 'apt.log')) ? readFileSync(join(root, 'apt.log'), 'utf8') : '';
    expect(installed).not.toContain('chromium');
    expect(said.join('\n')).toContain(`Firefox: ${join(bin, 'firefox-esr')}`);
  });

  test("Debian's packages are installed where this user may", async () => {
    // "Installs" each package as a command of its name.
    command(
      'apt-get',
      `echo "$@" >> ${root}/apt.log
for word in "$@"; do case "$word" in chromium|firefox-esr) echo > ${bin}/$word;; esac; done`,
    );
    expect(await ensureBrowsers(log)).toEqual(['chromium', 'firefox']);
    const lines = readFileSync(join(root, 'apt.log'), 'utf8').trim().split('\n');
    expect(lines[0]).toMatch(/^update/);
    expect(lines[1]).toMatch(/^install .*chromium firefox-esr/);
    expect(said.join('\n')).toMatch(/Without redis-server .* will be skipped/);
  });

  test('Playwright is asked where packages cannot be installed, and what stays missing is not an error', async () => {
    command('firefox');
    command('npx', `echo "$@" >> ${root}/npx.log; echo no network; exit 1`);
    expect(await ensureBrowsers(log)).toEqual(['firefox']);
    expect(readFileSync(join(root, 'npx.log'), 'utf8').trim()).toBe('playwright install chromium');
    expect(said.join('\n')).toMatch(/No Chromium on this machine/);
    expect(said.join('\n')).toMatch(/"npx playwright install chromium" failed/);
  });
});
