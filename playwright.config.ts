import { defineConfig, type PlaywrightTestConfig } from '@playwright/test';
import { findBrowser } from './scripts/browsers.ts';
import { chromiumOptions } from './tests/support/chromium.ts';

type Project = NonNullable<PlaywrightTestConfig['projects']>[number];

const FIREFOX_PREFERENCES = {
  'dom.webgpu.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
};

/**
 * Played by one engine alone, since what they test is ours and not the engine's, and the whole must stay within half an
 * hour on two cores. Engines are mixed, and Firefox is the host, in mesh.spec.ts and mesh-links.spec.ts.
 */
const CHROMIUM_ONLY = [
  /acceptance\.spec/,
  /contribute-page/,
  /mesh-panel/,
  /mesh-loss/,
  /mesh-shards/,
  /mesh-webkit/,
  /migration/,
];

/** Emulation that WebDriver BiDi, by which a system Firefox is driven, does not know. */
const NO_MEDIA_EMULATION = { colorScheme: null, reducedMotion: null, forcedColors: null, contrast: null } as const;

function chromiumProject(): Project[] {
  const launchOptions = chromiumOptions();
  return launchOptions ? [{ name: 'chromium', use: { browserName: 'chromium', launchOptions } }] : [];
}

function firefoxProject(): Project[] {
  const found = findBrowser('firefox');
  if (!found) return [];
  const launchOptions = { executablePath: found.path, firefoxUserPrefs: FIREFOX_PREFERENCES };
  if (found.own)
    return [{ name: 'firefox', testIgnore: CHROMIUM_ONLY, use: { browserName: 'firefox', launchOptions } }];
  return [
    {
      name: 'firefox',
      testIgnore: CHROMIUM_ONLY,
      use: {
        browserName: 'firefox',
        channel: 'moz-firefox',
        launchOptions,
        colorScheme: null,
        contextOptions: NO_MEDIA_EMULATION,
      },
    },
  ];
}

export default defineConfig({
  testDir: 'tests/browser',
  testMatch: '**/*.spec.ts',
  globalSetup: './tests/browser/support/global-setup.ts',
  // One test at a time: each may use every core of the machine.
  workers: 1,
  fullyParallel: false,
  forbidOnly: Boolean(process.env.CI),
  // Machines that are shared stall at times; a test that fails twice is no such accident.
  retries: process.env.CI ? 1 : 0,
  timeout: 180_000,
  expect: { timeout: 30_000 },
  reporter: [['list']],
  use: { ignoreHTTPSErrors: true, trace: 'off', screenshot: 'only-on-failure' },
  projects: [...chromiumProject(), ...firefoxProject()],
});
