import type { Browser, Page } from '@playwright/test';
import { type BrowserName, hasBrowser, launch, linked, mesh, openPage } from './mesh/browsers.ts';
import { expect, test } from './support/test.ts';

const PAIRS: [BrowserName, BrowserName][] = [
  ['chromium', 'chromium'],
  ['chromium', 'firefox'],
  ['firefox', 'chromium'],
];

const browsers = new Map<BrowserName, Browser>();
async function browser(name: BrowserName): Promise<Browser> {
  const known = browsers.get(name);
  if (known?.isConnected()) return known;
  const started = await launch(name);
  browsers.set(name, started);
  return started;
}
test.afterEach(async () => {
  for (const started of browsers.values()) for (const context of started.contexts()) await context.close();
});
test.afterAll(async () => {
  for (const started of browsers.values()) await started.close();
});

async function pagesOf(names: BrowserName[], url: string): Promise<Page[]> {
  for (const name of names) test.skip(!hasBrowser(name), `there is no ${name} here`);
  const pages = [];
  for (const name of names) pages.push(await openPage(await browser(name), url));
  return pages;
}
const relayBytes = async (url: string) =>
  ((await (await fetch(`${url}/stats`)).json()) as { relay: { bytes: number } }).relay.bytes;
const median = (times: number[]) => times.toSorted((a, b) => a - b)[times.length >> 1];
const arrivals = (page: Page) => page.evaluate(() => window.meshPage.engine.frames());

for (const names of PAIRS) {
  test.describe(names.join(' and '), () => {
    test('tensors go from Worker to Worker over data channels, and nothing over the relay', async ({ viteUrl }) => {
      const [host, device] = await pagesOf(names, viteUrl);
      const relayed = await relayBytes(viteUrl);
      await mesh([host, device]);
      expect(await host.evaluate(() => window.meshPage.engine.peers())).toEqual([{ peer: 1, kind: 'webrtc' }]);
      expect(await host.evaluate(() => window.meshPage.engine.isWorker())).toBe(true);

      const members = [0, 1];
      const reduce = (page: Page, self: number) =>
        page.evaluate(([all, me]) => window.meshPage.engine.allReduce(all, me, 'q15', 200, 2), [
          members,
          self,
        ] as const);
      const [here, there] = await Promise.all([reduce(host, 0), reduce(device, 1)]);
      expect(here.digests).toEqual(there.digests);
      expect(new Set(here.digests).size).toBe(200);
      console.log(`${names.join('-')}: all-reduce of 576 numbers as q15: ${(here.ms / 200).toFixed(2)} ms each`);

      const channels = await host.evaluate(() => window.meshPage.mesh.channelBytes(1));
      const tensors = channels.find(({ label }) => label === 'tensors');
      expect(tensors?.bytesSent).toBeGreaterThan(200 * (1116 + 16));
      expect(tensors?.bytesReceived).toBeGreaterThan(200 * (1116 + 16));
      expect(await relayBytes(viteUrl)).toBe(relayed);
    });

    test('frames of every size arrive, also around the largest message', async ({ viteUrl }) => {
      const [host, device] = await pagesOf(names, viteUrl);
      await mesh([host, device]);
      const sizes = [0, 1, 16384, 65519, 65520, 65521, 65536, 131_073, 262_144, 5_000_001];
      const sums: number[] = [];
      for (const [position, bytes] of sizes.entries())
        sums.push(
          await host.evaluate(([size, at]) => window.meshPage.engine.sendFrame(1, size, at), [
            bytes,
            position,
          ] as const),
        );
      await expect
        .poll(() => arrivals(device))
        .toEqual(sizes.map((bytes, position) => ({ peer: 0, position, bytes, sum: sums[position] })));
    });

    test(`${names === PAIRS[0] ? 50 : 10} MB go to a slow reader, with little on the way, while tensors overtake them`, async ({
      viteUrl,
    }) => {
      test.skip(names === PAIRS[2], 'one direction between two browsers is enough');
      const [host, device] = await pagesOf(names, viteUrl);
      await mesh([host, device]);
      const megabytes = names === PAIRS[0] ? 50 : 10;
      const total = megabytes * 1024 * 1024;
      await device.evaluate(() => window.meshPage.engine.slowReader(1));
      const sending = host.evaluate((bytes) => window.meshPage.engine.sendBulk(1, bytes), total);
      let most = 0;
      let done = false;
      void sending.finally(() => {
        done = true;
      });
      const pings: number[] = [];
      while (!done) {
        const sent = (await host.evaluate(() => window.meshPage.engine.stats(1))).bytesSent;
        const { bytes } = await device.evaluate(() => window.meshPage.engine.bulk());
        // What the reader took after the sender was looked at makes this smaller, never larger.
        most = Math.max(most, sent - bytes);
        pings.push(...(await host.evaluate(() => window.meshPage.engine.pings(1, 1170, 3))));
      }
      const { sum, ms } = await sending;
      await expect.poll(() => device.evaluate(() => window.meshPage.engine.bulk())).toEqual({ bytes: total, sum });
      // A window of 1 MiB, the headers of all pieces, the pings.
      expect(most).toBeLessThan(1024 * 1024 + total / 1000 + 200_000 + pings.length * 1200);
      console.log(
        `${names.join('-')}: ${megabytes} MB in ${(ms / 1000).toFixed(1)} s, 1170-byte ping meanwhile ${median(pings).toFixed(1)} ms`,
      );
    });
  });
}

// For docs/mesh.md; it proves nothing.
test('measures pings and bulk', async ({ viteUrl }) => {
  test.skip(!process.env.MESH_MEASURE, 'only with MESH_MEASURE=1');
  for (const relay of [false, true])
    for (const names of PAIRS.slice(0, 2)) {
      const pages = await pagesOf(names, viteUrl);
      await mesh(pages, { relay: [relay, false] });
      const line = [];
      for (const payload of [16, 612, 1170, 2340, 4608, 65536]) {
        const times = await pages[0].evaluate((bytes) => window.meshPage.engine.pings(1, bytes, 200), payload);
        expect(times).toHaveLength(200);
        const sorted = times.toSorted((a, b) => a - b);
        line.push(`${payload} B ${sorted[100].toFixed(2)} (${sorted[190].toFixed(2)})`);
      }
      const { ms } = await pages[0].evaluate(() => window.meshPage.engine.sendBulk(1, 20_000_000));
      console.log(
        `${names.join('-')} ${relay ? 'relay' : 'webrtc'}: ${line.join(' · ')} ms p50 (p95); bulk ${(20_000 / ms).toFixed(1)} MB/s`,
      );
      for (const page of pages) await page.context().close();
    }
});

test('three pages in two browsers are linked pairwise, and add up to the same bits', async ({ viteUrl }) => {
  const pages = await pagesOf(['chromium', 'chromium', 'firefox'], viteUrl);
  await mesh(pages);
  for (const [epoch, wire] of (['f32', 'f16', 'q80', 'q15'] as const).entries()) {
    const sums = await Promise.all(
      pages.map((page, self) =>
        page.evaluate(([type, me, number]) => window.meshPage.engine.allReduce([0, 1, 2], me, type, 20, number), [
          wire,
          self,
          epoch,
        ] as const),
      ),
    );
    expect(sums[1].digests).toEqual(sums[0].digests);
    expect(sums[2].digests).toEqual(sums[0].digests);
  }
});

for (const name of ['chromium', 'firefox'] as const)
  test(`a ${name} without RTCPeerConnection is linked over the relay`, async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', name], viteUrl);
    await device.evaluate(() => Reflect.deleteProperty(window, 'RTCPeerConnection'));
    const relayed = await relayBytes(viteUrl);
    await mesh([host, device]);
    expect(await host.evaluate(() => window.meshPage.engine.peers())).toEqual([{ peer: 1, kind: 'relay' }]);
    const sum = await device.evaluate(() => window.meshPage.engine.sendFrame(0, 1_000_000, 3));
    await expect.poll(() => arrivals(host)).toEqual([{ peer: 1, position: 3, bytes: 1_000_000, sum }]);
    expect(await relayBytes(viteUrl)).toBeGreaterThan(relayed + 1_000_000);
  });

for (const [what, answer] of [
  ['does not come up', 'never'],
  ['fails at once', 'fail'],
] as const)
  test(`WebRTC that ${what} gives way to the relay`, async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    await device.evaluate((how) => {
      RTCPeerConnection.prototype.setRemoteDescription = () =>
        how === 'never' ? new Promise(() => undefined) : Promise.reject(new Error('not here'));
    }, answer);
    await mesh([host, device]);
    expect(await host.evaluate(() => window.meshPage.engine.peers())).toEqual([{ peer: 1, kind: 'relay' }]);
    const attempts = await host.evaluate(() => window.meshPage.log.filter(({ what }) => what.includes('connecting')));
    expect(attempts).toHaveLength(answer === 'never' ? 2 : 3);
  });

test('where data channels cannot be transferred, the page pumps them', async ({ viteUrl }) => {
  const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
  for (const page of [host, device])
    await page.evaluate(() => {
      const refuse = (transfer: unknown) => {
        if (Array.isArray(transfer) && transfer.some((item) => item instanceof RTCDataChannel))
          throw new DOMException('An RTCDataChannel could not be cloned.', 'DataCloneError');
      };
      for (const { prototype } of [MessagePort, Worker]) {
        const post = prototype.postMessage as (message: unknown, transfer: Transferable[]) => void;
        prototype.postMessage = function (this: MessagePort | Worker, message: unknown, transfer: unknown) {
          refuse(transfer);
          post.call(this, message, transfer as Transferable[]);
        };
      }
    });
  await mesh([host, device]);
  expect(await host.evaluate(() => window.meshPage.engine.peers())).toEqual([{ peer: 1, kind: 'webrtc' }]);
  const { sum } = await host.evaluate(() => window.meshPage.engine.sendBulk(1, 5_000_000));
  await expect.poll(() => device.evaluate(() => window.meshPage.engine.bulk())).toEqual({ bytes: 5_000_000, sum });
  await device.close();
  await expect.poll(() => host.evaluate(() => window.meshPage.engine.ends())).toHaveLength(1);
});

test.describe('a device that is lost', () => {
  for (const relay of [false, true])
    test(`is noticed by heartbeats alone, ${relay ? 'over the relay' : 'over WebRTC'}`, async ({ viteUrl }) => {
      const [host] = await pagesOf(['chromium'], viteUrl);
      // In a browser of its own, so that it can be stopped without a word: no goodbye, no closed socket.
      const other = await launch('chromium');
      const device = await openPage(other, viteUrl);
      await mesh([host, device], { relay: [relay, false] });
      const cdp = await other.newBrowserCDPSession();
      const { processInfo } = (await cdp.send('SystemInfo.getProcessInfo')) as {
        processInfo: { id: number; type: string }[];
      };
      const processes = processInfo.filter(({ type }) => type === 'browser' || type === 'renderer').map(({ id }) => id);
      const at = await host.evaluate(() => performance.now());
      for (const id of processes) process.kill(id, 'SIGSTOP');
      try {
        await host.waitForFunction(() => window.meshPage.mesh.links.get(1)?.state !== 'up');
        const lost = await host.evaluate(() => window.meshPage.log.findLast(({ what }) => what.includes('lost')));
        expect(lost?.what).toContain('silent for too long');
        console.log(`loss over ${relay ? 'relay' : 'webrtc'} noticed after ${((lost?.at ?? 0) - at).toFixed(0)} ms`);
        await expect.poll(() => host.evaluate(() => window.meshPage.engine.ends())).toEqual(['1 lost']);
      } finally {
        for (const id of processes) process.kill(id, 'SIGCONT');
        await other.close();
      }
    });

  test('by a killed tab is noticed, and the room says so', async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    await mesh([host, device]);
    await device.goto('chrome://crash').catch(() => undefined);
    await host.waitForFunction(() => window.meshPage.mesh.links.get(1)?.state !== 'up');
    await expect.poll(() => host.evaluate(() => window.meshPage.room.members.get(1)?.online)).not.toBe(true);
  });

  test('is not one that only computes, nor one whose page is busy', async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    await mesh([host, device]);
    const busy = (page: Page) =>
      page.evaluate(async () => {
        const computing = window.meshPage.engine.block(4000);
        const end = performance.now() + 4000;
        while (performance.now() < end);
        await computing;
      });
    await busy(device);
    await host.evaluate(() => window.meshPage.engine.pings(1, 16, 5));
    expect(await host.evaluate(() => window.meshPage.engine.ends())).toEqual([]);
    expect(await device.evaluate(() => window.meshPage.engine.ends())).toEqual([]);
  });

  test('says goodbye when its page is closed', async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    await mesh([host, device]);
    await device.close({ runBeforeUnload: true });
    await expect.poll(() => host.evaluate(() => window.meshPage.engine.ends())).toEqual(['1 left']);
    expect(await host.evaluate(() => window.meshPage.room.members.size)).toBe(1);
  });
});

test.describe('coming back', () => {
  for (const names of PAIRS.slice(0, 2))
    for (const who of [0, 1])
      test(`${names.join(' and ')}: ${who === 0 ? 'the host' : 'the device'} is the same after a reload, and linked again`, async ({
        viteUrl,
      }) => {
        const pages = await pagesOf(names, viteUrl);
        const secret = await mesh(pages);
        const before = await pages[who].evaluate(() => ({
          id: window.meshPage.room.device,
          index: window.meshPage.room.self,
        }));
        await pages[who].reload();
        await pages[who].waitForFunction(() => window.meshPage);
        const role = who === 0 ? ('host' as const) : ('device' as const);
        await pages[who].evaluate((entry) => window.meshPage.enter(entry), { secret, role, name: 'again' });
        await Promise.all(pages.map((page) => linked(page, 1)));
        expect(
          await pages[who].evaluate(() => ({ id: window.meshPage.room.device, index: window.meshPage.room.self })),
        ).toEqual(before);
        const sum = await pages[0].evaluate(() => window.meshPage.engine.sendFrame(1, 1000, 1));
        await expect.poll(() => arrivals(pages[1])).toEqual([{ peer: 0, position: 1, bytes: 1000, sum }]);
      });

  test('a dropped link is made again', async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    await mesh([host, device]);
    // The transport dies under the link, at either end.
    for (const page of [host, device]) {
      await page.evaluate(() => window.meshPage.engine.dropChannels(1 - (window.meshPage.room.self ?? 0)));
      await expect
        .poll(() => host.evaluate(() => window.meshPage.engine.ends().then((ends) => ends.length)))
        .toBeGreaterThan(0);
      await Promise.all([linked(host, 1), linked(device, 1)]);
    }
    const sum = await host.evaluate(() => window.meshPage.engine.sendFrame(1, 1000, 1));
    await expect.poll(() => arrivals(device)).toEqual([{ peer: 0, position: 1, bytes: 1000, sum }]);
  });

  test('two tabs of one browser are two devices, also when one is a copy of the other', async ({ viteUrl }) => {
    const [host, device] = await pagesOf(['chromium', 'chromium'], viteUrl);
    const secret = await mesh([host, device]);
    const storage = await device.evaluate(() => JSON.stringify(sessionStorage));
    const copy = await device.context().newPage();
    await copy.goto(`${viteUrl}/tests/browser/support/blank.html`);
    await copy.evaluate((kept) => {
      for (const [name, value] of Object.entries(JSON.parse(kept) as Record<string, string>))
        sessionStorage.setItem(name, value);
    }, storage);
    await copy.goto(`${viteUrl}/tests/browser/mesh/page.html`);
    await copy.waitForFunction(() => window.meshPage);
    await copy.evaluate((entry) => window.meshPage.enter(entry), { secret, role: 'device' as const, name: 'copy' });
    await Promise.all([host, device, copy].map((page) => linked(page, 2)));
    expect(await copy.evaluate(() => window.meshPage.room.self)).toBe(2);
    expect(await device.evaluate(() => window.meshPage.room.state)).toBe('joined');
  });
});

test('a malformed frame closes its link and no other', async ({ viteUrl }) => {
  const pages = await pagesOf(['chromium', 'chromium', 'chromium'], viteUrl);
  await mesh(pages);
  await pages[2].evaluate(() => window.meshPage.engine.sendNonsense(0));
  await expect.poll(() => pages[0].evaluate(() => window.meshPage.mesh.links.get(2)?.state)).toBe('refused');
  expect(await pages[0].evaluate(() => window.meshPage.mesh.links.get(2)?.reason)).toContain('kind 99');
  expect(await pages[0].evaluate(() => window.meshPage.mesh.links.get(1)?.state)).toBe('up');
  expect(await pages[1].evaluate(() => [...window.meshPage.mesh.links.values()].map(({ state }) => state))).toEqual([
    'up',
    'up',
  ]);
});
