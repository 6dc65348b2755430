import type { Locator, Page } from '@playwright/test';
import type { FakeMeshOptions } from './pages/fake-mesh.ts';
import { type MeshPages, openMesh } from './support/mesh-pages.ts';
import { namelessControls, overflow, watchFaults } from './support/page-checks.ts';
import { expect, test } from './support/test.ts';

const LAN = {
  http: ['http://192.168.1.7:8080', 'http://localhost:8080'],
  https: ['https://192.168.1.7:8081', 'https://localhost:8081'],
};

/** The host page's panel of devices on Vite's server, with the fake of `pages/fake-mesh.ts` in the engine's place. */
class MeshPage {
  faults: () => Promise<string[]> = async () => [];

  constructor(
    readonly page: Page,
    readonly url: string,
  ) {}

  /** With a model loaded, and the panel open. */
  async open(options: FakeMeshOptions = {}, { addresses = LAN, fragment = '', panel = true } = {}): Promise<void> {
    const { page } = this;
    this.faults = await watchFaults(page);
    await page.addInitScript((given) => {
      window.fakeMeshOptions = given;
    }, options);
    await page.route(/\/web\/host\/handle\.ts/, (route) =>
      route.fulfill({
        contentType: 'text/javascript',
        body: "export * from '/tests/browser/pages/fake-mesh.ts';",
      }),
    );
    await page.route('**/addresses.json', (route) => route.fulfill({ json: addresses }));
    await page.goto(`${this.url}/web/host.html?model=SmolLM2-135M-Instruct.Q4_1${fragment}`);
    await expect(page.getByRole('textbox', { name: 'Message', exact: true })).toBeVisible();
    if (panel) await this.openPanel();
  }

  async openPanel(): Promise<void> {
    await this.page.getByRole('button', { name: /^Devices/ }).click();
    await expect(this.page.getByRole('heading', { name: 'Invite' })).toBeVisible();
  }

  async invite(): Promise<void> {
    await this.page.getByRole('button', { name: 'Invite devices' }).click();
    await expect(this.link).toBeVisible();
  }

  get link(): Locator {
    return this.page.getByRole('textbox', { name: 'Link that invites devices' });
  }

  get ratios(): Locator {
    return this.page.getByRole('textbox', { name: 'Shares' });
  }

  device(name: string): Locator {
    return this.page.getByRole('listitem', { name: new RegExp(`, ${name}$`) });
  }

  slider(name: string): Locator {
    return this.page.getByRole('slider', { name });
  }

  /** Arguments of all calls of a method, oldest first. */
  calls(method: string): Promise<unknown[][]> {
    return this.page.evaluate(
      (wanted) => window.fakeMesh.calls.filter(([name]) => name === wanted).map(([, ...args]) => args),
      method,
    );
  }

  change(options: FakeMeshOptions): Promise<void> {
    return this.page.evaluate((given) => void Object.assign(window.fakeMesh.options, given), options);
  }

  knock(id: string, name: string): Promise<void> {
    return this.page.evaluate((knock) => window.fakeMesh.knock(knock), { id, name, browser: 'Chrome 140' });
  }

  /** Takes hold of a border and drags it by a part of its track's width. */
  async grab(slider: Locator): Promise<{ to(fraction: number): Promise<void>; release(): Promise<void> }> {
    const { mouse } = this.page;
    await slider.scrollIntoViewIfNeeded();
    const width = await slider.evaluate((grip) => grip.closest('.track')!.getBoundingClientRect().width);
    const box = (await slider.locator('.bar').boundingBox())!;
    const x = box.x + box.width / 2;
    const y = box.y + box.height / 2;
    await mouse.move(x, y);
    await mouse.down();
    return {
      to: (fraction) => mouse.move(x + fraction * width, y, { steps: 4 }),
      release: () => mouse.up(),
    };
  }
}

const mesh = test.extend<{ mesh: MeshPage }>({
  mesh: async ({ page, viteUrl }, use) => {
    const opened = new MeshPage(page, viteUrl);
    await use(opened);
    expect(await opened.faults()).toEqual([]);
  },
});

mesh.describe('inviting', () => {
  mesh('opens a room when asked, with a link that a phone can open, as text and as a code', async ({ mesh }) => {
    await mesh.open();
    expect(await mesh.calls('room')).toEqual([]);
    await mesh.invite();
    await expect(mesh.link).toHaveValue('https://192.168.1.7:8081/#room=abcdefghijklmnopqrstuv');
    await expect(mesh.page.getByRole('img', { name: /QR code/ })).toBeVisible();
    await expect(mesh.page.getByText('a browser warns once')).toBeVisible();
    const here = mesh.page.getByRole('link', { name: 'open the page that lends' });
    await expect(here).toHaveAttribute('href', `${mesh.url}/#room=abcdefghijklmnopqrstuv`);
  });

  mesh('the code holds the link', async ({ mesh }) => {
    await mesh.open();
    await mesh.invite();
    const path = await mesh.page.evaluate(() => {
      const find = (root: Document | ShadowRoot): SVGPathElement | undefined => {
        for (const element of root.querySelectorAll('*')) {
          if (element.localName === 'qr-code') return element.shadowRoot?.querySelector('path') ?? undefined;
          const found = element.shadowRoot && find(element.shadowRoot);
          if (found) return found;
        }
        return undefined;
      };
      return find(document)?.getAttribute('d');
    });
    const { default: QRCode } = await import('qrcode');
    const { size, data } = QRCode.create('https://192.168.1.7:8081/#room=abcdefghijklmnopqrstuv', {
      errorCorrectionLevel: 'M',
    }).modules;
    const drawn = new Set<number>();
    for (const [, x, y, length] of (path ?? '').matchAll(/M(\d+) (\d+)h(\d+)/g)) {
      for (let i = 0; i < Number(length); i += 1) drawn.add(Number(y) * size + Number(x) + i);
    }
    expect([...drawn].sort((a, b) => a - b)).toEqual([...data.keys()].filter((i) => data[i]));
  });

  mesh('says whom the link reaches where there is no https, and no network', async ({ mesh }) => {
    await mesh.open({}, { addresses: { http: LAN.http, https: [] } });
    await mesh.invite();
    await expect(mesh.link).toHaveValue(/^http:\/\/192\.168\.1\.7:8080\/#room=/);
    await expect(mesh.page.getByText('one slow thread')).toBeVisible();
    await mesh.open({}, { addresses: { http: ['http://localhost:8080'], https: ['https://localhost:8081'] } });
    await mesh.invite();
    await expect(mesh.page.getByText('only its own browsers can open this link')).toBeVisible();
  });

  mesh('a page that was opened with a room is in it at once', async ({ mesh }) => {
    await mesh.open({}, { fragment: '#room=abcdefghijklmnopqrstuv' });
    await expect(mesh.link).toBeVisible();
  });

  mesh('a room that cannot be opened says why, and can be tried again', async ({ mesh }) => {
    await mesh.open({ failRoom: 'The server has too many rooms.' });
    await mesh.page.getByRole('button', { name: 'Invite devices' }).click();
    await expect(mesh.page.getByText('The server has too many rooms.')).toBeVisible();
    await mesh.change({ failRoom: undefined });
    await mesh.invite();
    await mesh.page.evaluate(() => window.fakeMesh.roomState('closed'));
    await expect(mesh.page.getByText('nobody can join by this link now')).toBeVisible();
    await expect(mesh.page.getByRole('button', { name: 'Open it again' })).toBeVisible();
  });

  mesh('the link is copied', async ({ mesh, context, browserName }) => {
    test.skip(browserName !== 'chromium', 'Only Chromium lets a test read the clipboard.');
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await mesh.open();
    await mesh.invite();
    await mesh.page.getByRole('button', { name: 'Copy link' }).click();
    await expect(mesh.page.getByRole('button', { name: 'Copied' })).toBeVisible();
    expect(await mesh.page.evaluate(() => navigator.clipboard.readText())).toMatch(/^https:\/\/192\.168\.1\.7:8081/);
  });

  mesh('asks before a device joins, if so set, and lets it in or not wherever the page is', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    await mesh.invite();
    const ask = page.getByRole('switch', { name: 'Ask me before a device joins' });
    await expect(ask).not.toBeChecked();
    await ask.check();
    expect(await mesh.calls('setAsk')).toEqual([[true]]);
    await mesh.knock('k1', 'Tablet');
    await page.getByRole('button', { name: 'Admit Tablet' }).click();
    await expect(page.getByRole('button', { name: 'Admit Tablet' })).toHaveCount(0);
    await page.getByRole('button', { name: 'Close the panel' }).click();
    await mesh.knock('k2', 'Stranger');
    await expect(page.getByRole('alert').filter({ hasText: 'asks to join' })).toContainText('Stranger (Chrome 140)');
    await page.getByRole('button', { name: 'Refuse Stranger' }).click();
    await expect(page.getByText('asks to join')).toHaveCount(0);
    expect([await mesh.calls('admit'), await mesh.calls('refuse')]).toEqual([[['k1']], [['k2']]]);
  });
});

mesh.describe('devices', () => {
  mesh('are listed with what they are and do', async ({ mesh }) => {
    await mesh.open();
    await expect(mesh.device('Desk')).toContainText(/0\s*Desk/);
    await expect(mesh.device('Desk')).toContainText('this device');
    const phone = mesh.device('Anna’s phone');
    for (const fact of ['ready', 'relayed, 18 ms', 'Firefox 141', 'WASM, 4 threads', '13.9 GMAC/s', 'of 1.00 GB']) {
      await expect(phone).toContainText(fact);
    }
    await expect(mesh.device('Laptop')).toContainText('direct, 3.2 ms');
    await expect(mesh.device('Laptop').getByRole('progressbar', { name: 'Memory of Laptop' })).toBeVisible();
    await expect(mesh.device('Laptop')).toContainText(/Memory .+, 12.0 MB of it kept in case it comes back/);
    await expect(mesh.device('Desk')).not.toContainText('kept in case');
    await mesh.page.evaluate(() => window.fakeMesh.device(2, { state: 'loading', loaded: 12e6, total: 40e6 }));
    await expect(phone).toContainText('Loading its share: 12.0 MB of 40.0 MB · 30 %');
    await expect(phone.getByRole('progressbar', { name: 'Loading the share of Anna’s phone' })).toBeVisible();
    await mesh.page.evaluate(() => window.fakeMesh.device(2, { state: 'lost' }));
    await expect(phone).toContainText('connection lost');
    await expect(mesh.page.getByRole('button', { name: 'Devices (3)' })).toBeVisible();
  });

  mesh('can be renamed in place', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    await page.getByRole('button', { name: 'Rename Laptop' }).click();
    const field = page.getByRole('textbox', { name: 'Name of device 1' });
    await expect(field).toBeFocused();
    await field.press('Escape');
    await expect(field).toHaveCount(0);
    await page.getByRole('button', { name: 'Rename Laptop' }).click();
    await field.fill('Kitchen');
    await field.press('Enter');
    await expect(mesh.device('Kitchen')).toBeVisible();
    expect(await mesh.calls('renameDevice')).toEqual([[1, 'Kitchen']]);
    await mesh.change({ failRename: 'The server is away.' });
    await page.getByRole('button', { name: 'Rename Kitchen' }).click();
    await field.fill('Hall');
    await field.press('Enter');
    await expect(page.getByText('The device could not be renamed: The server is away.')).toBeVisible();
  });

  mesh('are paused and taken in again, the host never', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    await expect(page.getByRole('button', { name: 'Pause Desk' })).toHaveCount(0);
    await page.getByRole('button', { name: 'Pause Laptop' }).click();
    await page.getByRole('button', { name: 'Let Laptop compute again' }).click();
    await expect(page.getByRole('button', { name: 'Pause Laptop' })).toBeVisible();
    expect(await mesh.calls('pauseDevice')).toEqual([
      [1, true],
      [1, false],
    ]);
  });

  mesh('are removed after a second look, the host never', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    await expect(page.getByRole('button', { name: 'Remove Desk' })).toHaveCount(0);
    await page.getByRole('button', { name: 'Remove Laptop' }).click();
    await expect(page.getByRole('button', { name: 'Keep' })).toBeFocused();
    await page.keyboard.press('Escape');
    await expect(page.getByRole('button', { name: 'Keep' })).toHaveCount(0);
    expect(await mesh.calls('removeDevice')).toEqual([]);
    await page.getByRole('button', { name: 'Remove Laptop' }).click();
    await page.getByRole('button', { name: 'Remove', exact: true }).click();
    await expect(mesh.device('Laptop')).toHaveCount(0);
    expect(await mesh.calls('removeDevice')).toEqual([[1]]);
  });
});

mesh.describe('the plan picture', () => {
  mesh('draws shares in proportion, and says the same in a table', async ({ mesh }) => {
    await mesh.open({ ratios: '1@14*1:3@16' });
    const { page } = mesh;
    const picture = page.getByRole('group', { name: 'Present plan' });
    await expect(picture.getByRole('region', { name: 'Stage 0' })).toContainText('layers 0–13 (14)');
    await expect(picture.getByRole('region', { name: 'Stage 1' })).toContainText('layers 14–29 (16)');
    const second = picture.getByRole('region', { name: 'Stage 1' });
    const bars = (kind: string) =>
      second
        .locator(`rect.${kind}`)
        .evaluateAll((all) => all.map((bar) => [bar.getAttribute('x'), bar.getAttribute('width')]));
    expect(await bars('ffn')).toEqual([
      ['0%', '25%'],
      ['25%', '75%'],
    ]);
    expect(await bars('vocab')).toHaveLength(2);
    await expect(picture.getByRole('region', { name: 'Stage 0' }).locator('rect.vocab')).toHaveCount(0);
    await page.getByText('As a table').click();
    const row = page
      .getByRole('region', { name: 'Present plan as a table' })
      .getByRole('row', { name: /Anna’s phone/ });
    await expect(row).toContainText(/1\s*14–29\s*2\s*Anna’s phone\s*6\s*2\s*1,152\s*36,864/);
  });

  mesh('a border is dragged in legal steps, shows what would move, and asks for it on release', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1' });
    const { page } = mesh;
    const heads = await mesh.grab(mesh.slider('Heads of Desk'));
    await heads.to(0.3);
    await expect(page.getByText('1 KV head from Laptop to Desk.')).toBeVisible();
    await expect(page.getByText(/MB of weights and up to .* of KV would travel; Desk then holds/)).toBeVisible();
    expect(await mesh.calls('migrate')).toEqual([]);
    await heads.release();
    await expect.poll(() => mesh.calls('migrate')).toEqual([[{ stage: 0, from: 1, to: 0, kind: 1, heads: 1 }]]);
    await expect(mesh.slider('Heads of Desk')).toHaveAttribute('aria-valuenow', '6');

    const ffn = await mesh.grab(mesh.slider('FFN of Laptop'));
    await ffn.to(-0.125);
    await expect(page.getByText('192 FFN columns from Laptop to Anna’s phone.')).toBeVisible();
    await ffn.release();
    await expect
      .poll(async () => (await mesh.calls('migrate')).at(-1))
      .toEqual([{ stage: 0, from: 1, to: 2, kind: 2, ffn: 192 }]);
  });

  mesh('a border that is let go where it was, or left by Escape, moves nothing', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    const border = mesh.slider('FFN of Desk');
    let held = await mesh.grab(border);
    await held.to(-0.1);
    await expect(page.getByText(/FFN columns from Desk to Laptop/)).toBeVisible();
    await held.to(0);
    await held.release();
    held = await mesh.grab(border);
    await held.to(-0.1);
    await page.keyboard.press('Escape');
    await held.release();
    await expect(page.getByText('Drag the end of a bar')).toBeVisible();
    expect(await mesh.calls('migrate')).toEqual([]);
  });

  mesh('the lower bar’s start can be held too', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1' });
    const { mouse } = mesh.page;
    const grip = mesh.page.locator('plan-picture .member').nth(1).locator('.grip').first();
    await grip.scrollIntoViewIfNeeded();
    const box = (await grip.locator('.bar').boundingBox())!;
    await mouse.move(box.x + 2, box.y + 5);
    await mouse.down();
    await mouse.move(box.x - 200, box.y + 5, { steps: 4 });
    await expect(mesh.page.getByText('1 KV head from Desk to Laptop.')).toBeVisible();
    await mouse.up();
    await expect.poll(() => mesh.calls('migrate')).toEqual([[{ stage: 0, from: 0, to: 1, kind: 1, heads: 1 }]]);
  });

  mesh('a border is moved by keys', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1' });
    const border = mesh.slider('FFN of Desk');
    await border.focus();
    await expect(border).toHaveAttribute('aria-valuetext', 'Desk has 512 FFN columns; nothing moves');
    await mesh.page.keyboard.press('ArrowLeft');
    await mesh.page.keyboard.press('PageDown');
    await expect(border).toHaveAttribute('aria-valuetext', '288 FFN columns from Desk to Laptop');
    await expect(border).toHaveAttribute('aria-valuenow', '224');
    await mesh.page.keyboard.press('Enter');
    await expect.poll(() => mesh.calls('migrate')).toEqual([[{ stage: 0, from: 0, to: 1, kind: 2, ffn: 288 }]]);
    await expect(border).toHaveAttribute('aria-valuenow', '224');
    await border.focus();
    await mesh.page.keyboard.press('End');
    await expect(border).toHaveAttribute('aria-valuenow', '1024');
    await mesh.page.keyboard.press('Escape');
    await expect(border).toHaveAttribute('aria-valuenow', '224');
  });
});

mesh.describe('ratios', () => {
  mesh('are previewed beside the present plan, then applied', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    const apply = page.getByRole('button', { name: 'Apply' });
    await expect(apply).toBeDisabled();
    await mesh.ratios.fill('1@14*1:1@16');
    const preview = page.getByRole('group', { name: 'Previewed plan' });
    await expect(preview.getByRole('region', { name: 'Stage 1' })).toContainText('layers 14–29 (16)');
    await expect(preview).toContainText(/Desk\s*[\d.]+ MB/);
    await expect(preview.getByRole('slider')).toHaveCount(0);
    await expect(page.getByRole('group', { name: 'Present plan' }).getByRole('region')).toHaveCount(1);
    expect(await mesh.calls('setRatios')).toEqual([]);
    await apply.click();
    await expect(
      page.getByRole('group', { name: 'Present plan' }).getByRole('region', { name: 'Stage 1' }),
    ).toBeVisible();
    expect(await mesh.calls('setRatios')).toEqual([['1@14*1:1@16']]);
    await expect(preview).toHaveCount(0);
    await expect(mesh.ratios).toHaveValue('');
  });

  mesh('that are wrong show where', async ({ mesh }) => {
    await mesh.open();
    const { page } = mesh;
    await mesh.ratios.fill('2:x:3');
    await expect(page.getByRole('alert').filter({ hasText: '"x" is no weight' })).toBeVisible();
    await expect(page.locator('ratios-field mark')).toHaveText('x');
    await expect(mesh.ratios).toHaveAttribute('aria-invalid', 'true');
    await expect(page.getByRole('button', { name: 'Apply' })).toBeDisabled();
    await mesh.ratios.fill('2::3');
    await expect(page.getByText('A weight is missing here.')).toBeVisible();
    await expect(page.locator('ratios-field .echo')).toHaveText(/^2:\s:3$/);
    await mesh.ratios.fill('1:1:1:1');
    await expect(page.getByText('for 4 devices, but 3 devices would compute')).toBeVisible();
    await mesh.ratios.fill('1:1:1');
    await expect(page.locator('ratios-field .echo')).toHaveCount(0);
    await mesh.change({ failRatios: 'Anna’s phone lacks 12 MB.' });
    await page.getByRole('button', { name: 'Apply' }).click();
    await expect(page.getByText('Anna’s phone lacks 12 MB.')).toBeVisible();
  });

  mesh('are suggested from what the devices can do', async ({ mesh }) => {
    await mesh.open();
    const chips = mesh.page.getByRole('group', { name: 'Suggested shares' });
    await expect(chips.getByRole('button')).toHaveText([
      /Equal shares 1:1:1/,
      /By speed 2:3:3/,
      /Pipeline 2\*3\*3/,
      /All on this device 1$/,
    ]);
    await chips.getByRole('button', { name: /By speed/ }).click();
    await expect(mesh.ratios).toHaveValue('2:3:3');
    await expect(mesh.page.getByRole('group', { name: 'Previewed plan' })).toBeVisible();
  });
});

mesh.describe('moves', () => {
  const choose = async (mesh: MeshPage, from: string, to: string): Promise<void> => {
    await mesh.page.getByLabel('From', { exact: true }).selectOption(from);
    await mesh.page.getByLabel('To', { exact: true }).selectOption(to);
  };

  /** Typed, since `fill` adds to what a number field has in a system Firefox. */
  const type = async (mesh: MeshPage, label: string, text: string): Promise<void> => {
    await mesh.page.getByRole('spinbutton', { name: label }).selectText();
    await mesh.page.keyboard.type(text);
  };

  mesh('are asked for by buttons, between any two devices', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1' });
    const { page } = mesh;
    const button = (text: string) => page.locator('move-form').getByRole('button').filter({ hasText: text });
    await choose(mesh, '2', '0');
    await type(mesh, 'FFN columns', '64');
    await button('Heads →').hover();
    await expect(page.locator('move-form')).toContainText('would travel; Desk then holds');
    await button('Heads →').click();
    await button('FFN →').click();
    await expect.poll(async () => (await mesh.calls('migrate')).length).toBe(2);
    await choose(mesh, '0', '2');
    await button('Both →').click();
    await expect
      .poll(() => mesh.calls('migrate'))
      .toEqual([
        [{ from: 2, to: 0, kind: 1, heads: 1 }],
        [{ from: 2, to: 0, kind: 2, ffn: 64 }],
        [{ from: 0, to: 2, kind: 3, heads: 1, ffn: 64 }],
      ]);
    await expect(button('Layers →')).toBeDisabled();
    await expect(page.getByText(/Layers: Nodes 0 and 2 are both in stage 0/)).toBeVisible();
  });

  mesh('of layers go between stages', async ({ mesh }) => {
    await mesh.open({ ratios: '1*1*1' });
    const { page } = mesh;
    await type(mesh, 'Layers', '3');
    await page.getByRole('button', { name: 'Move 3 layers to Laptop' }).click();
    await expect.poll(() => mesh.calls('migrate')).toEqual([[{ from: 0, to: 1, layers: 3 }]]);
    await expect(page.getByRole('region', { name: 'Stage 0' })).toContainText('layers 0–6 (7)');
    await expect(page.getByRole('button', { name: 'Move 1 KV head to Laptop' })).toBeDisabled();
  });

  mesh('show their phases, and then what they took', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1', holdMoveAt: 'preparing' });
    const { page } = mesh;
    await page.getByRole('button', { name: 'Move 1 KV head to Laptop' }).click();
    const running = page.getByRole('group', { name: 'Moves under way' });
    await expect(running).toContainText('#1 1 KV head from Desk to Laptop');
    await expect(running.locator('[aria-current=step]')).toContainText(/Preparing 5\.\d+ MB/);
    await mesh.change({ holdMoveAt: 'copying' });
    await expect(running.locator('[aria-current=step]')).toContainText(/Copying .*MB/);
    await mesh.change({ holdMoveAt: undefined });
    const row = page.getByRole('region', { name: 'History of moves' }).getByRole('row').nth(1);
    await expect(row).toContainText('1 KV head from Desk to Laptop');
    for (const figure of ['done', '132 ms', '41 ms', '3.4 ms', '38 ms']) await expect(row).toContainText(figure);
    await expect(running).toBeHidden();
  });

  mesh('that wait in line can each be cancelled', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1', holdMoveAt: 'copying' });
    const { page } = mesh;
    await page.getByRole('button', { name: 'Move 1 KV head to Laptop' }).click();
    await page.getByRole('button', { name: 'Move 256 FFN columns to Laptop' }).click();
    await page.getByRole('button', { name: 'Cancel move 2' }).click();
    const history = page.getByRole('region', { name: 'History of moves' });
    await expect(history.getByRole('row').nth(1)).toContainText(/256 FFN columns[\s\S]*cancelled/);
    await expect(page.getByRole('button', { name: 'Cancel move 1' })).toBeVisible();
    await expect(page.getByText('not moved')).toHaveCount(0);
    await mesh.change({ holdMoveAt: undefined });
    await expect(history.getByRole('row')).toHaveCount(3);
  });

  mesh('of a script are shown, and are the script’s to cancel', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1', holdMoveAt: 'copying' });
    await mesh.page.evaluate(() => void window.edgevisor.migrate({ from: 1, to: 2, kind: 2, ffn: 32 }));
    await expect(mesh.page.getByRole('group', { name: 'Moves under way' })).toContainText('32 FFN columns from Laptop');
    await expect(mesh.page.getByRole('button', { name: /Cancel move/ })).toHaveCount(0);
    await mesh.change({ holdMoveAt: undefined });
  });

  mesh('that fail say why', async ({ mesh }) => {
    await mesh.open({ ratios: '1:1:1', failMove: 'Laptop was lost while it copied.' });
    const { page } = mesh;
    await page.getByRole('button', { name: 'Move 1 KV head to Laptop' }).click();
    const alert = page.getByRole('alert').filter({ hasText: 'not moved' });
    await expect(alert).toContainText('Laptop was lost while it copied.');
    await expect(page.getByRole('region', { name: 'History of moves' })).toContainText('failed');
    await alert.getByRole('button', { name: 'Dismiss' }).click();
    await expect(alert).toHaveCount(0);
  });

  mesh('wait for a second device', async ({ mesh }) => {
    await mesh.open({ others: [] });
    await expect(mesh.page.getByText('With a second device in the plan')).toBeVisible();
    await expect(mesh.page.getByRole('group', { name: 'Suggested shares' })).toHaveCount(0);
  });
});

mesh.describe('the panel', () => {
  mesh('names every control, and fits a phone', async ({ mesh }) => {
    await mesh.page.setViewportSize({ width: 320, height: 640 });
    await mesh.open();
    await mesh.invite();
    await mesh.knock('k1', 'Tablet');
    await mesh.page.getByRole('button', { name: 'Rename Laptop' }).click();
    await mesh.ratios.fill('1*1*1');
    await expect(mesh.page.getByRole('group', { name: 'Previewed plan' })).toBeVisible();
    expect(await namelessControls(mesh.page)).toEqual([]);
    expect(await overflow(mesh.page)).toBe(0);
    const sideways = await mesh.page
      .locator('side-panel [role=tabpanel]:not([hidden])')
      .evaluate((panel) => panel.scrollWidth - panel.clientWidth);
    expect(sideways).toBe(0);
  });

  mesh('is turned to by one button, and from it by the other', async ({ mesh }) => {
    await mesh.open({}, { panel: false });
    const { page } = mesh;
    const tab = (name: string) => page.getByRole('tab', { name, exact: true });
    await page.getByRole('button', { name: 'Settings and device' }).click();
    await expect(tab('Settings')).toHaveAttribute('aria-selected', 'true');
    await mesh.openPanel();
    await expect(tab('Devices')).toHaveAttribute('aria-selected', 'true');
    await page.getByRole('button', { name: /^Devices/ }).click();
    await expect(tab('Devices')).toHaveCount(0);
  });
});

mesh.describe('with real devices', () => {
  let pages: MeshPages | undefined;
  test.afterEach(async () => {
    await pages?.close();
    pages = undefined;
  });

  test('shares are typed, dragged and moved, and a device is asked for, let in and removed', async ({
    browser,
    browserName,
    server,
  }) => {
    test.skip(browserName !== 'chromium', 'Once: what differs between browsers has its tests above.');
    const lender = { query: 'threads=1&backend=wasm' };
    pages = await openMesh(browser, server, { devices: [lender, lender] });
    const { host, devices } = pages;
    await host.evaluate(() =>
      window.edgevisor.load({ model: 'tiny-llama.Q4_0', backend: 'wasm', threads: 1, context: 256, ratios: '1' }),
    );
    await host.getByRole('button', { name: /^Devices/ }).click();
    await expect(host.getByRole('list', { name: 'Devices' }).getByRole('listitem')).toHaveCount(3);
    await expect(host.getByRole('textbox', { name: 'Link that invites devices' })).toHaveValue(/#room=/);
    await expect(devices[0].getByRole('heading', { name: 'Ready' })).toBeVisible();

    const ratios = host.getByRole('textbox', { name: 'Shares' });
    await ratios.fill('2:x:3');
    await expect(host.locator('ratios-field mark')).toHaveText('x');
    await ratios.fill('1:2:1');
    await expect(host.getByRole('group', { name: 'Previewed plan' })).toBeVisible();
    await host.getByRole('button', { name: 'Apply' }).click();
    const border = host.getByRole('slider', { name: /^FFN of .* Host|^FFN of Host/ });
    await expect(border).toBeVisible();
    for (const device of devices) await expect(device.getByRole('heading', { name: 'Lending' })).toBeVisible();

    const before = Number(await border.getAttribute('aria-valuenow'));
    await border.focus();
    await host.keyboard.press('ArrowLeft');
    await expect(host.getByText(/of weights would travel/)).toBeVisible();
    await host.keyboard.press('Enter');
    await expect(border).toHaveAttribute('aria-valuenow', String(before - 32));
    const history = host.getByRole('region', { name: 'History of moves' });
    await expect(history.getByRole('row').nth(1)).toContainText(/32 FFN columns from Host[\s\S]*done/);

    await host.getByRole('switch', { name: 'Ask me before a device joins' }).check();
    const third = await devices[0].context().newPage();
    await third.goto(`${server.url}/?name=Third&threads=1&backend=wasm#room=${pages.secret}`);
    await expect(third.getByRole('heading', { name: 'Waiting to be let in' })).toBeVisible();
    await host.getByRole('button', { name: 'Admit Third' }).click();
    await expect(third.getByRole('heading', { name: 'Ready' })).toBeVisible();
    await host.getByRole('button', { name: 'Remove Third' }).click();
    await host.getByRole('button', { name: 'Remove', exact: true }).click();
    await expect(third.getByRole('heading', { name: 'Removed' })).toBeVisible();
  });
});
