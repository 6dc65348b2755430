import { defineConfig, type PlaywrightTestConfig } from '@playwright/test';
import { findBrowser, findWebKit } from './scripts/browsers.ts';
import { chromiumOptions } from './tests/support/chromium.ts';

type Project = NonNullable<PlaywrightTestConfig['projects']>[number];

const FIREFOX_PREFERENCES = {
  'dom.webgpu.enabled': true,
  'gfx.webgpu.ignore-blocklist': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
};

/**
 * Played by one engine alone, since what they test is ours and not the engine's: Chromium, with Firefox as the other side in
 * mesh.spec.ts and mesh-links.spec.ts. regression.spec.ts has the same cases in every engine.
 */
const CHROMIUM_ONLY = [
  /acceptance\.spec/,
  /contribute-page/,
  /distributed-llama/,
  /mesh\.spec/,
  /mesh-panel/,
  /mesh-links/,
  /profile\.spec/,
  /mesh-loss/,
  /mesh-shards/,
  /migration/,
];
/** These start WebKitGTK by its own driver; where one has a Chromium on the other side, that is Playwright's. */
const WEBKIT = [/mesh-webkit/, /regression\.spec/];
const NOT_WEBKIT = [/mesh-webkit/];

/** Emulation that WebDriver BiDi, by which a system Firefox is driven, does not know. */
const NO_MEDIA_EMULATION = { colorScheme: null, reducedMotion: null, forcedColors: null, contrast: null } as const;

/** Tag of single tests of that kind in specs that both play (support/test.ts). */
const NOT_IN_FIREFOX = { testIgnore: [...CHROMIUM_ONLY, ...NOT_WEBKIT], grepInvert: /@one-engine/ };

function chromiumProject(): Project[] {
  const launchOptions = chromiumOptions();
  return launchOptions
    ? [{ name: 'chromium', testIgnore: NOT_WEBKIT, use: { browserName: 'chromium', launchOptions } }]
    : [];
}

function firefoxProject(): Project[] {
  const found = findBrowser('firefox');
  if (!found) return [];
  const launchOptions = { executablePath: found.path, firefoxUserPrefs: FIREFOX_PREFERENCES };
  if (found.own)
    return [
      {
        name: 'firefox',
        testIgnore: [...CHROMIUM_ONLY, ...NOT_WEBKIT],
        use: { browserName: 'firefox', launchOptions },
      },
    ];
  return [
    {
      name: 'firefox',
      ...NOT_IN_FIREFOX,
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

function webkitProject(): Project[] {
  if (!findWebKit()) return [];
  const launchOptions = chromiumOptions();
  return [
    { name: 'webkit', testMatch: WEBKIT, use: { browserName: 'chromium', ...(launchOptions && { launchOptions }) } },
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
  projects: [...chromiumProject(), ...firefoxProject(), ...webkitProject()],
});
