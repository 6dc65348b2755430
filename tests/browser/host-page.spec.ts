import type { Page } from '@playwright/test';
import type { FakeOptions } from './pages/fake-handle.ts';
import { namelessControls } from './support/page-checks.ts';
import { DEFAULT_MODEL, expect, hasDefaultModel, ONE_ENGINE, openHost, test } from './support/test.ts';

/** The host page on Vite's server, with the fake of `pages/fake-handle.ts` in the place of the engine. */
class HostPage {
  constructor(
    readonly page: Page,
    readonly url: string,
  ) {}

  /** Before `open`: what the fake does. Holds for reloads too. */
  async fake(options: FakeOptions): Promise<void> {
    await this.page.addInitScript((given) => {
      window.fakeOptions = given;
    }, options);
  }

  /** What the fake does from now on. */
  async change(options: FakeOptions): Promise<void> {
    await this.page.evaluate((given) => {
      window.fakeOptions = given;
    }, options);
  }

  async open(query = ''): Promise<void> {
    await this.page.route(/\/web\/host\/handle\.ts/, (route) =>
      route.fulfill({
        contentType: 'text/javascript',
        body: "export * from '/tests/browser/pages/fake-handle.ts';",
      }),
    );
    await this.page.goto(`${this.url}/web/host.html${query}`);
  }

  /** With a model loaded, ready to chat. */
  async openReady(): Promise<void> {
    await this.open('?model=SmolLM2-135M-Instruct.Q4_1');
    await expect(this.message).toBeFocused();
  }

  get message() {
    return this.page.getByRole('textbox', { name: 'Message', exact: true });
  }

  get answer() {
    return this.page.getByRole('article', { name: /Answer/ }).last();
  }

  async say(text: string): Promise<void> {
    await this.message.fill(text);
    await this.message.press('Enter');
  }

  /** Opens the settings, and in them the tab of this device if asked. */
  async openPanel(tab?: string): Promise<void> {
    await this.page.getByRole('button', { name: 'Settings and device' }).click();
    if (tab) await this.page.getByRole('tab', { name: tab }).click();
  }
}

const host = test.extend<{ host: HostPage }>({
  host: async ({ page, viteUrl }, use) => {
    await use(new HostPage(page, viteUrl));
  },
});

const slow: FakeOptions = { answer: 'word '.repeat(2000), tokenMs: 20 };

/** What our components do with what a fake engine tells them is the same in every browser. */
const ONCE = { tag: ONE_ENGINE };

host.describe('choosing a model', () => {
  host(
    'lists the server’s models, says why one cannot run, and shows the progress of a load',
    ONCE,
    async ({ host }) => {
      await host.fake({
        holdLoadAt: 0,
        models: [
          { name: 'good', bytes: 98_362_432, supported: true },
          { name: 'bad', bytes: 26e9, supported: false, why: 'mixtures of experts are not supported.' },
        ],
      });
      await host.open();
      const { page } = host;
      await expect(page.getByText('26.0 GB')).toBeVisible();
      await expect(page.getByText('Cannot be run: mixtures of experts are not supported.')).toBeVisible();
      await expect(page.getByRole('button', { name: 'Load bad' })).toHaveCount(0);
      await page.getByRole('button', { name: 'Load good' }).click();
      await expect(page.getByText('Reading what kind of model this is.')).toBeVisible();
      await host.change({ holdLoadAt: 4 });
      await expect(page.getByText(/39\.3 MB of 98\.4 MB · 40 %/)).toBeVisible();
      await expect(page.getByRole('progressbar', { name: 'Loading good' })).toBeVisible();
      await host.change({});
      await expect(host.message).toBeFocused();
      await expect(page.getByRole('button', { name: /^good/ })).toContainText('WASM, 2 threads');
    },
  );

  host('the address loads a model at once, with backend, threads and context', ONCE, async ({ host }) => {
    await host.open('?model=SmolLM2-135M-Instruct.Q4_1&backend=webgpu&threads=1&context=256');
    await expect(host.message).toBeVisible();
    expect(await host.page.evaluate(() => window.fakeCalls.loads)).toEqual([
      { model: 'SmolLM2-135M-Instruct.Q4_1', backend: 'webgpu', threads: 1, context: 256 },
    ]);
  });

  host('remembers the last choice', async ({ host }) => {
    const names = ['a', 'b', 'c'];
    await host.fake({ models: names.map((name) => ({ name, bytes: 5, supported: true })) });
    await host.open();
    await host.page.getByRole('button', { name: 'Load b' }).click();
    await expect(host.message).toBeVisible();
    await host.page.reload();
    const first = host.page.getByRole('listitem').filter({ hasText: 'used last' });
    await expect(first).toContainText('b');
  });

  host('takes an address, and says what is wrong with another', ONCE, async ({ host }) => {
    await host.open();
    const { page } = host;
    const address = page.getByRole('textbox', { name: 'From an address' });
    await address.fill('models/x.gguf');
    await address.press('Enter');
    await expect(page.getByText('beginning with https://')).toBeVisible();
    await address.fill('https://models.example/x.gguf');
    await address.press('Enter');
    await expect(host.message).toBeVisible();
    expect(await page.evaluate(() => window.fakeCalls.loads[0]?.model)).toBe('https://models.example/x.gguf');
  });

  host('takes a file that is picked', async ({ host }) => {
    await host.open();
    const chooser = host.page.waitForEvent('filechooser');
    await host.page.getByRole('button', { name: 'Open a model file' }).click();
    await (await chooser).setFiles({ name: 'mine.gguf', mimeType: '', buffer: Buffer.from('GGUF') });
    await expect(host.message).toBeVisible();
    expect(await host.page.evaluate(() => window.fakeCalls.loads[0]?.model)).toBe('mine.gguf');
  });

  host('takes a file that is dropped anywhere, and refuses two', async ({ host }) => {
    await host.open();
    await expect(host.page.getByRole('heading', { name: 'Choose a model' })).toBeVisible();
    const drop = (names: string[]) =>
      host.page.evaluate((files) => {
        const dataTransfer = new DataTransfer();
        for (const name of files) dataTransfer.items.add(new File(['GGUF'], name));
        const at = document.querySelector('host-app')!;
        for (const type of ['dragover', 'drop']) {
          at.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, composed: true, cancelable: true }));
        }
      }, names);
    await drop(['a.gguf', 'b.gguf']);
    await expect(host.page.getByText('not the parts of one model')).toBeVisible();
    await drop(['dropped.gguf']);
    await expect(host.message).toBeVisible();
    expect(await host.page.evaluate(() => window.fakeCalls.loads.map(({ model }) => model))).toEqual(['dropped.gguf']);
  });

  host('a load that fails says why and can be tried again', ONCE, async ({ host }) => {
    const message = 'The file ends after 12 bytes. Download it again.';
    await host.fake({ failLoad: { code: 'truncated', message } });
    await host.open();
    const { page } = host;
    await page.getByRole('button', { name: 'Load SmolLM2' }).click();
    const failure = page.getByRole('alert').filter({ hasText: 'could not be loaded' });
    await expect(failure).toContainText(message);
    await expect(failure).toContainText('truncated');
    await host.change({});
    await failure.getByRole('button', { name: 'Try again' }).click();
    await expect(host.message).toBeVisible();
  });

  host('a load can be cancelled', ONCE, async ({ host }) => {
    await host.fake({ holdLoadAt: 4 });
    await host.open('?model=SmolLM2-135M-Instruct.Q4_1');
    await host.page.getByRole('button', { name: 'Cancel' }).click();
    await expect(host.page.getByRole('heading', { name: /^Loading/ })).toHaveCount(0);
    await expect(host.page.getByRole('button', { name: 'Load SmolLM2' })).toBeEnabled();
  });

  host('a server that does not answer is named, with a way to try again', ONCE, async ({ host }) => {
    await host.fake({ failModels: 'The server did not answer.' });
    await host.open();
    await expect(host.page.getByText('The server did not answer.')).toBeVisible();
    await host.change({});
    await host.page.getByRole('button', { name: 'Try again' }).click();
    await expect(host.page.getByRole('button', { name: 'Load SmolLM2' })).toBeVisible();
  });
});

host.describe('a chat', ONCE, () => {
  host('streams, and leaves finished blocks alone', async ({ host }) => {
    await host.fake({ answer: `**First** block.\n\n${'word '.repeat(60)}\n\nLast block.`, holdAnswerAt: 30 });
    await host.openReady();
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Stop', exact: true })).toBeVisible();
    const first = host.answer.locator('strong');
    await expect(first).toHaveText('First');
    await expect(host.answer.getByText('word word')).toBeVisible();
    const element = await first.elementHandle();
    await host.change({});
    await expect(host.answer.getByText('Last block.')).toBeVisible();
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    expect(await element?.evaluate((node) => node.isConnected)).toBe(true);
    await expect(host.answer).toContainText(/prompt 140 tok\/s · answer \d+ tok\/s/);
  });

  host('hands the settings to the model and keeps them', async ({ host }) => {
    await host.openReady();
    await host.openPanel();
    const { page } = host;
    // Typed, since `fill` makes no change event in a system Firefox.
    const type = async (label: string, text: string): Promise<void> => {
      await page.getByLabel(label).selectText();
      await page.keyboard.type(text);
      await page.keyboard.press('Tab');
    };
    await type('System prompt', 'Be brief.');
    await type('Temperature', '0');
    await type('Seed', '42');
    await type('Longest answer', '-3');
    await expect(page.getByLabel('Longest answer')).toHaveValue('1');
    await host.say('Hello');
    await expect(page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    expect(await page.evaluate(() => window.fakeCalls.generations[0])).toMatchObject({
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hello' },
      ],
      ...{ temperature: 0, seed: 42, maxTokens: 1, topK: 40 },
    });
    await page.reload();
    await host.openPanel();
    await expect(page.getByLabel('Seed')).toHaveValue('42');
  });

  host('stops by button and by Escape, and goes on where it stopped', async ({ host }) => {
    await host.fake(slow);
    await host.openReady();
    const { page } = host;
    await host.say('Hello');
    await expect(host.answer.getByText('word word')).toBeVisible();
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await expect(host.answer.getByText('Stopped.')).toBeVisible();
    await page.getByRole('button', { name: 'Continue' }).click();
    await expect(page.getByRole('button', { name: 'Stop', exact: true })).toBeVisible();
    await page.keyboard.press('Escape');
    await expect(host.answer.getByText('Stopped.')).toBeVisible();
    const prompts = await page.evaluate(() => window.fakeCalls.generations.map(({ prompt }) => prompt));
    expect(prompts[1]).toMatch(/^<user>Hello<assistant>word word/);
  });

  host('stops before the first word', async ({ host }) => {
    await host.fake({ prefillMs: 600_000 });
    await host.openReady();
    await host.say('Hello');
    await expect(host.page.getByText('Reading the prompt…')).toBeVisible();
    await host.message.press('Escape');
    await expect(host.page.getByText('Stopped before the first word.')).toBeVisible();
  });

  host('regenerates, and edits what was asked', async ({ host }) => {
    await host.openReady();
    const { page } = host;
    await host.say('Question one');
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await expect.poll(() => page.evaluate(() => window.fakeCalls.generations.length)).toBe(2);
    await page.getByRole('button', { name: 'Edit' }).click();
    const field = page.getByLabel('Edit your message');
    await expect(field).toBeFocused();
    await field.fill('Question two');
    await field.press('Enter');
    await expect
      .poll(() => page.evaluate(() => window.fakeCalls.generations.at(-1)?.messages))
      .toEqual([{ role: 'user', content: 'Question two' }]);
    await expect(page.getByRole('article')).toHaveCount(2);
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.keyboard.press('Escape');
    await expect(page.getByRole('button', { name: 'Edit' })).toBeFocused();
  });

  host('an answer that breaks off keeps its text and says why', async ({ host }) => {
    await host.fake({
      answer: 'one two three',
      failGenerate: { code: 'lost', message: 'The graphics device was lost. Ask again.' },
    });
    await host.openReady();
    await host.say('Hello');
    await expect(host.answer).toContainText('one two');
    await expect(host.answer).toContainText('The graphics device was lost. Ask again.');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeEnabled();
  });
});

host.describe('Markdown of a stranger', () => {
  host('does nothing: scripts, handlers, addresses, images', async ({ host }) => {
    const answer = [
      '<script>window.hacked = 1</script>',
      '<img src=x onerror="window.hacked = 2">',
      '[run](javascript:window.hacked=3) [data](data:text/html,hi) [near](host.html)',
      '![pixel](https://tracker.example/p.png)',
      '<svg onload="window.hacked = 4"></svg><iframe src="https://e.example"></iframe>',
      '<a href="javascript:window.hacked=5" onclick="window.hacked=6">press</a>',
      '[good](https://good.example/)',
      '```html"><script>window.hacked=7</script>',
      '<b>code</b>',
      '```',
    ].join('\n\n');
    await host.fake({ answer });
    await host.openReady();
    const requests: string[] = [];
    host.page.on('request', (request) => requests.push(request.url()));
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    const prose = host.answer.locator('.prose');
    await expect(prose).toContainText('<script>window.hacked = 1</script>');
    await expect(prose).toContainText('<b>code</b>');
    for (const name of ['run', 'data', 'near']) {
      const link = prose.locator('a', { hasText: name });
      expect(await link.evaluateAll((all) => all.map((element) => element.getAttribute('href')))).toEqual([null]);
    }
    await prose.getByText('run', { exact: true }).click();
    await prose.getByText('press').click();
    await expect(prose.locator('script, img, svg, iframe, b')).toHaveCount(0);
    const good = prose.getByRole('link', { name: 'good' });
    await expect(good).toHaveAttribute('href', 'https://good.example/');
    await expect(good).toHaveAttribute('rel', 'noopener noreferrer');
    expect(await host.page.evaluate(() => 'hacked' in window)).toBe(false);
    expect(requests.filter((url) => url.includes('tracker.example'))).toEqual([]);
  });

  host('of growing text ends as that of the whole text', async ({ modulePage }) => {
    const text = [
      '# Title',
      'A paragraph with **bold** and `code`,\r\nover two lines.',
      '- a\n- b\n\n  c\n  1. d',
      '| x | y |\n|---|--:|\n| 1 | 2 |',
      '```js\nconst a = 1;\n\nconst b = 2;\n```',
      '> quote\n> more',
      'Setext\n===',
      '    indented\n\n    code',
      '<div>raw</div>',
      '***',
      'End.',
    ].join('\n\n');
    const [grown, whole] = await modulePage.evaluate(async (source) => {
      const path = '/web/components/markdown.ts';
      const { GrowingMarkdown, renderMarkdown } = await import(path);
      const growing = new GrowingMarkdown();
      for (let length = 1; length < source.length; length += 1) growing.render(source.slice(0, length));
      return [growing.render(source), renderMarkdown(source)];
    }, text);
    expect(whole).toHaveLength(11);
    expect(whole[3]).toContain('<td align="right">2</td>');
    expect(grown).toEqual(whole);
  });

  host('keeps the lines of a poem', async ({ modulePage }) => {
    const blocks = await modulePage.evaluate(async () => {
      const path = '/web/components/markdown.ts';
      const { renderMarkdown } = await import(path);
      return renderMarkdown('The sea,\nthe sea.');
    });
    expect(blocks).toEqual(['<p>The sea,<br>the sea.</p>\n']);
  });

  host('of growing text costs in proportion to its length', async ({ modulePage }) => {
    const cost = (paragraphs: number) =>
      modulePage.evaluate(async (count) => {
        const path = '/web/components/markdown.ts';
        const { GrowingMarkdown } = await import(path);
        const parse = DOMParser.prototype.parseFromString;
        let characters = 0;
        DOMParser.prototype.parseFromString = function (text, type) {
          characters += String(text).length;
          return parse.call(this, text, type);
        };
        try {
          const growing = new GrowingMarkdown();
          let text = '';
          for (let index = 0; index < count * 20; index += 1) {
            text += index % 20 === 19 ? '\n\n' : 'word ';
            growing.render(text);
          }
        } finally {
          DOMParser.prototype.parseFromString = parse;
        }
        return characters;
      }, paragraphs);
    const short = await cost(20);
    expect(short).toBeGreaterThan(0);
    expect(await cost(80)).toBeLessThan(short * 5);
  });

  host('code can be copied', async ({ host, context, browserName }) => {
    test.skip(browserName !== 'chromium', 'Only Chromium lets a test read the clipboard.');
    await context.grantPermissions(['clipboard-read', 'clipboard-write']);
    await host.fake({ answer: '```js\nlet a = "<1>";\n```' });
    await host.openReady();
    await host.say('Hello');
    const copy = host.answer.getByRole('button', { name: 'Copy', exact: true });
    await copy.click();
    await expect(host.answer.getByRole('button', { name: 'Copied' })).toBeVisible();
    expect(await host.page.evaluate(() => navigator.clipboard.readText())).toBe('let a = "<1>";');
  });
});

host.describe('saved chats', () => {
  host('survive a reload, half an answer too, which then goes on', async ({ host }) => {
    await host.fake(slow);
    await host.openReady();
    const { page } = host;
    const prose = host.answer.locator('.prose');
    await host.say('Tell me');
    await expect(host.answer.getByText('word word word word')).toBeVisible();
    // Twice the time between two saves: what is on the page now is in the database then.
    const shown = ((await prose.textContent()) ?? '').trim();
    await page.waitForTimeout(1000);
    await page.reload();
    await expect(host.message).toBeVisible();
    await expect(host.answer.getByText('The page was closed while this was being written.')).toBeVisible();
    expect(((await prose.textContent()) ?? '').trim()).toContain(shown);
    await page.getByRole('button', { name: 'Continue' }).click();
    await expect(page.getByRole('button', { name: 'Stop', exact: true })).toBeVisible();
    const prompt = await page.evaluate(() => window.fakeCalls.generations[0]?.prompt);
    expect(prompt).toContain(`<user>Tell me<assistant>${shown}`);
  });

  host('can be read without a model, opened, renamed and deleted', async ({ host }) => {
    await host.openReady();
    const { page } = host;
    const chats = page.getByRole('navigation', { name: 'Saved chats' });
    await host.say('First chat');
    await expect(page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    await page.getByRole('button', { name: 'New chat' }).click();
    await expect(host.message).toBeFocused();
    await expect(page.getByRole('article')).toHaveCount(0);
    await host.say('Second chat');
    await expect(page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    await expect(chats.getByRole('listitem')).toHaveText([/Second chat/, /First chat/]);

    await host.open();
    await expect(page.getByText('No model is loaded. Load one to go on with this chat.')).toBeVisible();
    await chats.getByRole('button', { name: 'First chat', exact: true }).click();
    await expect(page.getByRole('article', { name: 'You' })).toContainText('First chat');

    await chats.getByRole('button', { name: 'Rename First chat' }).click();
    await page.getByLabel('Name of the chat').fill('Better name');
    await page.keyboard.press('Enter');
    await expect(chats.getByRole('button', { name: 'Better name', exact: true })).toBeVisible();

    await chats.getByRole('button', { name: 'Delete Second chat' }).click();
    await expect(page.getByRole('button', { name: 'Keep' })).toBeFocused();
    await page.keyboard.press('Escape');
    await chats.getByRole('button', { name: 'Delete Second chat' }).click();
    await page.getByRole('button', { name: 'Delete', exact: true }).click();
    await expect(chats.getByRole('listitem')).toHaveText([/Better name/]);

    await page.reload();
    await expect(chats.getByRole('listitem')).toHaveText([/Better name/]);
    await page.getByRole('button', { name: 'Load SmolLM2' }).click();
    await expect(host.message).toBeFocused();
  });
});

host.describe('keyboard and screen reader', () => {
  host('Shift+Enter starts a line, Enter sends, nothing empty is sent', async ({ host }) => {
    await host.openReady();
    await host.message.press('Enter');
    await host.message.pressSequentially('one');
    await host.message.press('Shift+Enter');
    await host.message.pressSequentially('two');
    await host.message.press('Enter');
    await expect(host.page.getByRole('article', { name: 'You' })).toContainText('one\ntwo');
    expect(await host.page.evaluate(() => window.fakeCalls.generations.length)).toBe(1);
  });

  host('a screen reader hears start and end of an answer, not its tokens', async ({ host }) => {
    await host.fake({ answer: 'word '.repeat(40), tokenMs: 10 });
    await host.openReady();
    await host.page.evaluate(() => {
      const heard: string[] = [];
      Object.assign(window, { heard });
      const status = document.querySelector('host-app')!.shadowRoot!.querySelector('[role=status]')!;
      new MutationObserver(() => heard.push(status.textContent ?? '')).observe(status, {
        ...{ subtree: true, childList: true, characterData: true },
      });
    });
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    await expect
      .poll(() => host.page.evaluate(() => (window as unknown as { heard: string[] }).heard))
      .toEqual(['Answering.', expect.stringMatching(/^Answer: word word/)]);
    await expect(host.page.locator('[aria-live]')).toHaveCount(0);
  });

  host('every control has a name, every field a label, and the focus order is that of the page', async ({ host }) => {
    await host.openReady();
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    await host.openPanel();
    expect(await namelessControls(host.page)).toEqual([]);
    const ids = await host.page.evaluate(
      () => document.querySelectorAll('[tabindex]:not([tabindex="0"], [tabindex="-1"])').length,
    );
    expect(ids).toBe(0);
  });

  host('tabs move by arrow keys', async ({ host }) => {
    await host.openReady();
    await host.openPanel();
    await host.page.getByRole('tab', { name: 'Settings' }).focus();
    await host.page.keyboard.press('ArrowRight');
    await expect(host.page.getByRole('tab', { name: 'This device' })).toBeFocused();
    await expect(host.page.getByRole('tabpanel', { name: 'This device' })).toHaveCount(1);
    await expect(host.page.getByRole('tabpanel', { name: 'Settings' })).toBeHidden();
  });
});

host.describe('this device', ONCE, () => {
  host('shows what runs, notes, memory and speed; stored models can be deleted', async ({ host }) => {
    await host.fake({ notes: ['The context was capped to 2048 tokens, because memory allows no more.'] });
    await host.openReady();
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    await host.openPanel('This device');
    const panel = host.page.locator('device-panel');
    await expect(panel).toContainText('Processor (WASM), 2 threads');
    await expect(panel).toContainText('The context was capped to 2048 tokens');
    await expect(panel).toContainText('152 MB of 2.00 GB');
    await expect(panel).toContainText('140 tok/s');
    await expect(panel).toContainText('96.6 MB of a file of 98.4 MB');
    await panel.getByRole('button', { name: /^Delete SmolLM2.* from this browser/ }).click();
    await panel.getByRole('button', { name: 'Delete', exact: true }).click();
    await expect(panel).toContainText('Nothing is stored.');
    expect(await host.page.evaluate(() => window.fakeCalls.deleted)).toEqual(['d1']);
    await panel.getByRole('button', { name: 'Unload the model' }).click();
    await expect(panel).toContainText('No model is loaded.');
  });

  host('what a script loads is shown', async ({ host }) => {
    await host.open();
    await host.page.evaluate(() => window.edgevisor.load({ model: 'by-script' }));
    await expect(host.page.getByRole('button', { name: /by-script/ })).toContainText('WASM');
    await expect(host.message).toBeVisible();
  });
});

host.describe('never a blank page', () => {
  host('an error at the start is shown, with what to do', async ({ host }) => {
    await host.fake({ failInstall: 'The engine could not be made.' });
    await host.open();
    await expect(host.page.getByText(/The engine could not be made\..*Reload the page/)).toBeVisible();
    await expect(host.page.getByText('The page could not start.')).toBeVisible();
  });

  host('a part that does not load is named', async ({ host }) => {
    await host.page.route('**/web/host-page.ts*', (route) => route.abort());
    await host.open();
    await expect(host.page.getByText(/could not be loaded: .*host-page\.ts/)).toBeVisible();
  });

  host('an application that does not load is explained', async ({ host }) => {
    await host.page.route('**/web/components/host-app.ts*', (route) => route.abort());
    await host.open();
    await expect(host.page.getByText('Reload the page to try again.')).toBeVisible();
  });

  host('without scripts the page says what it needs', async ({ browser, browserName, viteUrl }) => {
    test.skip(browserName !== 'chromium', 'A system Firefox cannot be told to run without scripts.');
    const context = await browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(`${viteUrl}/web/host.html`);
    // Playwright's text selectors pass noscript elements by.
    const text = page.locator('noscript p');
    await expect(text).toBeVisible();
    expect(await text.evaluate((element) => element.textContent)).toContain('that takes JavaScript');
    await context.close();
  });

  host('without IndexedDB chats work and the loss is told', async ({ host }) => {
    await host.page.addInitScript(() => {
      Object.defineProperty(window, 'indexedDB', { value: undefined });
    });
    await host.openReady();
    await expect(host.page.getByText('This browser has no IndexedDB, so chats are forgotten')).toBeVisible();
    await host.say('Hello');
    await expect(host.page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
  });

  host('a database that refuses is told with its reason', async ({ host }) => {
    await host.page.addInitScript(() => {
      indexedDB.open = () => {
        throw new DOMException('A mutation operation was attempted', 'InvalidStateError');
      };
    });
    await host.openReady();
    await expect(host.page.getByText(/refused to store them \(A mutation operation/)).toBeVisible();
    await host.page.getByRole('button', { name: 'Close this notice' }).click();
    await expect(host.page.getByText('refused to store them')).toHaveCount(0);
  });

  host('without WebAssembly, isolation and WebGPU the page says so', async ({ host }) => {
    await host.page.addInitScript(() => {
      Object.defineProperty(window, 'WebAssembly', { value: undefined });
      Object.defineProperty(window, 'crossOriginIsolated', { value: false });
      Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined });
    });
    await host.open();
    await expect(host.page.getByText('models cannot run without it')).toBeVisible();
    await expect(host.page.getByText('One thread only, because the server did not isolate')).toBeVisible();
    await expect(host.page.getByText('No WebGPU in this browser')).toBeVisible();
  });

  host('a fault after the start is shown as a notice', async ({ host }) => {
    await host.openReady();
    await host.page.evaluate(() => void Promise.reject(new Error('A late fault')));
    await expect(host.page.getByRole('alert').filter({ hasText: 'A late fault' })).toBeVisible();
  });

  host('no script of the page is inline, and none could run', async ({ host }) => {
    await host.openReady();
    const ran = await host.page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.inlineRan = true';
      document.body.append(script);
      return 'inlineRan' in window;
    });
    expect(ran).toBe(false);
  });
});

test.describe('with the real engine', () => {
  test('a model is loaded, answers, is stored, and the chat is there after a reload', async ({ page, server }) => {
    test.skip(!hasDefaultModel(), 'models/ lacks the default model: npm start fetches it.');
    const faults: string[] = [];
    page.on('pageerror', ({ message }) => faults.push(message));
    page.on('console', (line) => {
      if (line.type() === 'error') faults.push(line.text());
    });
    await openHost(page, server, 'backend=wasm&context=512');
    await page.getByRole('button', { name: `Load ${DEFAULT_MODEL}` }).click();
    const message = page.getByRole('textbox', { name: 'Message', exact: true });
    await expect(message).toBeFocused({ timeout: 120_000 });
    await page.getByRole('button', { name: 'Settings and device' }).click();
    await page.getByLabel('Temperature').selectText();
    await page.keyboard.type('0');
    await page.keyboard.press('Tab');
    await message.fill('What is the capital of France?');
    await message.press('Enter');
    const answer = page.getByRole('article', { name: /Answer/ });
    await expect(answer).toContainText('Paris', { timeout: 120_000 });
    await expect(page.getByRole('button', { name: 'Regenerate' })).toBeVisible({ timeout: 120_000 });
    await expect(answer).toContainText(/prompt \S+ tok\/s · answer \S+ tok\/s/);
    await page.getByRole('tab', { name: 'This device' }).click();
    await expect(page.locator('device-panel')).toContainText('Processor (WASM)');
    await expect(page.locator('stored-models')).toContainText(DEFAULT_MODEL);
    await page.reload();
    await expect(answer).toContainText('Paris');
    expect(faults).toEqual([]);
  });
});

host.describe('looks', () => {
  host('at 360 pixels nothing is wider than the page, and chats and settings are drawers', async ({ host }) => {
    const { page } = host;
    await page.setViewportSize({ width: 360, height: 640 });
    const unbroken = 'x'.repeat(200);
    await host.fake({
      answer: `${unbroken}\n\n\`\`\`\n${'y '.repeat(200)}\n\`\`\`\n\n|a|b|\n|-|-|\n|${'z '.repeat(50)}|${unbroken}|`,
      models: [{ name: `long-${unbroken}`, bytes: 5, supported: true }],
    });
    const overflow = () =>
      page.evaluate(() => {
        const found: string[] = [];
        const look = (root: Document | ShadowRoot): void => {
          for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) look(element.shadowRoot);
            if (element.closest('pre, table, .visually-hidden, [hidden]')) continue;
            const { right, width } = element.getBoundingClientRect();
            if (width > 0 && right > innerWidth + 1) found.push(`${element.tagName}.${element.className} ${right}`);
          }
        };
        look(document);
        if (document.documentElement.scrollWidth > innerWidth) found.push('page');
        return found;
      });
    await host.open();
    await expect(page.getByRole('heading', { name: 'Choose a model' })).toBeVisible();
    expect(await overflow()).toEqual([]);
    await page.getByRole('button', { name: /^Load long/ }).click();
    await expect(host.message).toBeVisible();
    await host.say(unbroken);
    await expect(page.getByRole('button', { name: 'Regenerate' })).toBeVisible();
    expect(await overflow()).toEqual([]);

    await page.getByRole('button', { name: 'Chats', exact: true }).click();
    await expect(page.getByRole('button', { name: 'Close the chats' })).toBeFocused();
    expect(await overflow()).toEqual([]);
    await page.keyboard.press('Escape');
    await expect(page.getByRole('button', { name: 'Chats', exact: true })).toBeFocused();
    for (const tab of ['Settings', 'This device']) {
      await host.openPanel(tab);
      expect(await overflow()).toEqual([]);
      await page.keyboard.press('Escape');
    }
    await expect(page.getByRole('button', { name: 'Close the panel' })).toBeHidden();
  });

  host('light and dark follow the switch and are kept', async ({ host }) => {
    await host.open();
    const background = () => host.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await host.page.getByLabel('Appearance').selectOption('Dark');
    await expect.poll(background).toBe('rgb(23, 25, 26)');
    await host.page.reload();
    expect(await background()).toBe('rgb(23, 25, 26)');
    await host.page.getByLabel('Appearance').selectOption('Light');
    await expect.poll(background).toBe('rgb(248, 247, 244)');
  });
});
