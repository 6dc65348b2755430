/** One room in one engine: a host with a model, and devices that lend themselves in many ways. */
import { expect } from '@playwright/test';
import type { ContributeHandle, ContributeStatus, DeviceStatus, Status } from '../../../web/api.ts';
import { newSecret } from '../../../web/mesh/secret.ts';
import type { Engine, Tab } from './tabs.ts';

/** A page that joins is measured first, which a busy machine takes its time for. */
const ARRIVAL = { timeout: 90_000 };

declare global {
  interface Window {
    /** The answer under way, and its tokens so far. */
    answer?: Promise<number[]>;
    seen?: number[];
    /** Devices that were lost, by index. */
    lost?: number[];
    /** What the page told its person. */
    logs?: string[];
  }
}

export interface Lender {
  tab: Tab;
  index: number;
}

export interface Household {
  host: Tab;
  lenders: Lender[];
  /** Opens a contributing page and waits until the host knows what it offers. */
  add(options?: { query?: string; origin?: string; hidden?: boolean }): Promise<Lender>;
  /** Waits until the host knows what this device offers, and gives it. */
  present(index: number): Promise<DeviceStatus>;
  /** Closes a contributing page and waits until no plan has it. */
  drop(lender: Lender): Promise<void>;
  close(): Promise<void>;
}

export const statusOf = (host: Tab): Promise<Status> => host.evaluate(() => window.edgevisor.status());
export const lenderStatus = ({ tab }: Lender): Promise<ContributeStatus | undefined> =>
  tab.evaluate(() => (window as unknown as { edgevisor?: ContributeHandle }).edgevisor?.status());
/** Devices that have a part in the present plan. */
export const computing = async (host: Tab): Promise<number[]> =>
  ((await statusOf(host)).plan?.stages ?? []).flatMap(({ members }) => members.map(({ device }) => device));

/** Opens the host page with a room, in an engine. */
export async function openHousehold(engine: Engine, url: string, query: string): Promise<Household> {
  const secret = newSecret();
  const host = await engine.open(`${url}/host.html?${query}#room=${secret}`);
  await expect.poll(() => host.evaluate(() => window.edgevisor !== undefined)).toBe(true);
  await host.evaluate(() => window.edgevisor.ready);
  const lenders: Lender[] = [];

  async function present(index: number): Promise<DeviceStatus> {
    const found = async () => (await statusOf(host)).devices.find((device) => device.index === index);
    await expect.poll(async () => (await found())?.backend ?? '', ARRIVAL).not.toBe('');
    return (await found()) as DeviceStatus;
  }

  return {
    host,
    lenders,
    present,
    async add({ query: more = '', origin = url, hidden = false } = {}) {
      const address = `${origin}/?threads=1&backend=wasm&${more}#room=${secret}`;
      const tab = await (hidden ? engine.openHidden(address) : engine.open(address));
      const lender: Lender = { tab, index: -1 };
      lenders.push(lender);
      await expect.poll(async () => (await lenderStatus(lender)) !== undefined).toBe(true);
      if (!(await tab.evaluate(() => isSecureContext)))
        await tab.evaluate(() => (window as unknown as { edgevisor: ContributeHandle }).edgevisor.join());
      await expect.poll(async () => (await lenderStatus(lender))?.index ?? -1, ARRIVAL).toBeGreaterThan(0);
      lender.index = (await lenderStatus(lender))?.index ?? -1;
      await present(lender.index);
      return lender;
    },
    async drop(lender) {
      lenders.splice(lenders.indexOf(lender), 1);
      await lender.tab.close();
      await expect.poll(() => computing(host)).not.toContain(lender.index);
    },
    async close() {
      for (const { tab } of lenders) await tab.close();
      await host.close();
    },
  };
}

/** Starts a greedy answer, and waits for some of its tokens. WebDriver does one thing at a time, so the page keeps it. */
export async function beginAnswer(host: Tab, ids: number[], maxTokens: number, after = 0): Promise<void> {
  await host.evaluate(
    (options) => {
      const seen: number[] = [];
      window.seen = seen;
      window.answer = window.edgevisor
        .generate({ ...options, onToken: ({ id }) => void seen.push(id) })
        .then((answer) => answer.ids);
      // Told by whoever asks for it.
      window.answer.catch(() => undefined);
    },
    { ids, maxTokens, temperature: 0, ignoreEos: true, reuse: false },
  );
  await expect.poll(() => host.evaluate(() => window.seen?.length ?? 0)).toBeGreaterThanOrEqual(after);
}

export const endAnswer = (host: Tab): Promise<number[]> => host.evaluate(async () => (await window.answer) ?? []);

export async function answerOf(host: Tab, ids: number[], maxTokens: number): Promise<number[]> {
  await beginAnswer(host, ids, maxTokens);
  return endAnswer(host);
}

/** The last element of a page, in any shadow root, that a selector fits and whose label or text has a piece. */
interface Wanted {
  selector: string;
  having?: string;
}

/** Text of an element that a person sees; undefined where there is none. */
export const textOf = (tab: Tab, wanted: Wanted): Promise<string | undefined> => touch(tab, wanted, 'read', '');
export const press = (tab: Tab, wanted: Wanted): Promise<string | undefined> => touch(tab, wanted, 'press', '');
/** Writes into a field and presses Enter. */
export const enter = (tab: Tab, wanted: Wanted, text: string): Promise<string | undefined> =>
  touch(tab, wanted, 'enter', text);

function touch(tab: Tab, wanted: Wanted, how: 'read' | 'press' | 'enter', text: string): Promise<string | undefined> {
  return tab.evaluate(
    ({ wanted: { selector, having = '' }, how, text }) => {
      const below = (root: ParentNode): Element[] =>
        [...root.querySelectorAll('*')].flatMap((element) =>
          element.shadowRoot ? [element, ...below(element.shadowRoot)] : [element],
        );
      // What Lit draws of a child lies in the child's own root.
      const said = (element: Element): string =>
        [element, ...below(element)].map((part) => (part.shadowRoot ?? part).textContent ?? '').join(' ');
      const found = below(document)
        .filter((element) => element.matches(selector) && (element.ariaLabel ?? said(element)).includes(having))
        .at(-1);
      if (!(found instanceof HTMLElement)) return undefined;
      if (how === 'press') found.click();
      if (how === 'enter' && found instanceof HTMLTextAreaElement) {
        found.value = text;
        found.dispatchEvent(new Event('input', { bubbles: true }));
        found.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, composed: true }));
      }
      return said(found);
    },
    { wanted, how, text },
  );
}
