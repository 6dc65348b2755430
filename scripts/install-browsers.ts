import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type BrowserName, findBrowser } from './browsers.ts';
import { RunError, run } from './run.ts';

const BROWSERS: BrowserName[] = ['chromium', 'firefox'];
const PLAYWRIGHT = { chromium: 'Chromium', firefox: 'Firefox' } as const;

/** Debian's packages of what must be there, and of what a few more tests use. */
const DEBIAN_PACKAGES = { chromium: 'chromium', firefox: 'firefox-esr' } as const;
const DEBIAN_VULKAN = 'mesa-vulkan-drivers';
const EXTRAS: { command: string; package: string; use: string }[] = [
  { command: 'WebKitWebDriver', package: 'webkit2gtk-driver', use: 'the tests with a browser that has no WebRTC' },
  { command: 'xvfb-run', package: 'xvfb', use: 'the tests with a browser that has no WebRTC' },
  { command: 'redis-server', package: 'redis-server', use: 'the test of several servers that share rooms' },
];

/**
 * Makes sure of the browsers that the tests drive: the system's, else Debian's packages where this user may install them,
 * else Playwright's own. `log` gets sentences for a person. Gives the names of the browsers that are there in the end.
 */
export async function ensureBrowsers(log: (line: string) => void): Promise<BrowserName[]> {
  if (mayInstallPackages()) await installPackages(log);
  const missing = BROWSERS.filter((name) => !findBrowser(name));
  for (const name of missing) {
    log(`No ${PLAYWRIGHT[name]} on this machine; asking Playwright for its own …`);
    await attempt(() => run('npx', ['playwright', 'install', name]), log);
  }
  const found = BROWSERS.filter((name) => findBrowser(name));
  for (const name of found) log(`${PLAYWRIGHT[name]}: ${findBrowser(name)?.path}`);
  for (const extra of EXTRAS)
    if (process.platform === 'linux' && !hasCommand(extra.command))
      log(`Without ${extra.command} (package ${extra.package}), ${extra.use} will be skipped.`);
  return found;
}

const mayInstallPackages = () => process.platform === 'linux' && process.getuid?.() === 0 && hasCommand('apt-get');

async function installPackages(log: (line: string) => void): Promise<void> {
  const needed: string[] = BROWSERS.filter((name) => !findBrowser(name)).map((name) => DEBIAN_PACKAGES[name]);
  if (!hasVulkanDriver()) needed.push(DEBIAN_VULKAN);
  const extras = EXTRAS.filter(({ command }) => !hasCommand(command)).map((extra) => extra.package);
  if (needed.length + extras.length === 0) return;
  log(`Installing with apt-get: ${[...needed, ...extras].join(' ')} …`);
  await attempt(() => aptGet('update'), log);
  if (needed.length > 0) await attempt(() => aptGet('install', ...needed), log);
  for (const extra of extras) await attempt(() => aptGet('install', extra), log);
}

function aptGet(verb: string, ...packages: string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return run('apt-get', [verb, '-qq', '-y', '--no-install-recommends', ...packages], { env, output: 'quiet' });
}

/** What cannot be installed is not the end: the caller looks at what is there afterwards. */
async function attempt(action: () => Promise<void>, log: (line: string) => void): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof RunError)) throw error;
    log(error.message);
  }
}

/** Firefox computes WebGPU on the processor through Mesa's Vulkan driver. */
function hasVulkanDriver(): boolean {
  const folder = '/usr/share/vulkan/icd.d';
  return existsSync(folder) && readdirSync(folder).length > 0;
}

function hasCommand(command: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, command)));
}
