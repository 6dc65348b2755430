/** This project, through its public handle in the built host page. */
import type { GoldenCase } from '../../support/golden.ts';
import { openBrowser } from '../browser.ts';
import type { Engine, Prompt, Run, Workload } from '../engine.ts';
import type { BenchPage } from '../page.ts';
import { type RoundingError, roundingError } from '../rounding.ts';
import { measureStart } from './starting.ts';

/** Among so many best logits of ours the exact eight best are found. */
const CANDIDATES = 64;

export interface OursOptions {
  backend: 'wasm' | 'webgpu';
  threads: number;
  /** Origin of the real server. */
  url: string;
  emptyPage: string;
  gpu: boolean;
}

export function ours({ backend, threads, url, emptyPage, gpu }: OursOptions): Engine {
  return {
    ...{ family: 'ours', backend, threads },
    async open(workload) {
      const browser = await openBrowser(emptyPage, { gpu });
      const { page } = browser;
      const engine = {
        goto: () => goto(page, url),
        load: () => load(page, workload, { backend, threads }),
        generate: (prompt: Prompt, decodeTokens: number) => generate(page, prompt, decodeTokens),
      };
      try {
        const start = await measureStart(browser, engine, workload);
        const status = await page.evaluate(() => window.edgevisor.status());
        return {
          description: `${browser.version}, ${status.devices[0]?.backend} with ${status.devices[0]?.threads} threads`,
          start: { ...start, ownBytes: status.devices[0]?.memoryUsed },
          run: () => generate(page, workload.prompt, workload.decodeTokens),
          async profile() {
            await goto(page, url, '?profile=1');
            await load(page, workload, { backend, threads });
            // The first one warms up.
            for (let i = 0; i < 2; i++) await generate(page, workload.prompt, workload.decodeTokens);
            const [own] = await page.evaluate(() => window.edgevisor.profile());
            if (!own) throw new Error('The page measured no profile.');
            return own;
          },
          async rounding(texts) {
            const some = backend === 'webgpu' && !gpu ? shortest(texts) : texts;
            const longest = Math.max(...some.map((text) => text.ids.length + text.greedy.length));
            await load(page, { ...workload, context: longest + 1 }, { backend, threads });
            return rounding(page, some);
          },
          close: () => browser.close(),
        };
      } catch (error) {
        await browser.close();
        throw error;
      }
    },
  };
}

/** As many as one waits for on a software adapter. */
function shortest(texts: readonly GoldenCase[]): GoldenCase[] {
  const length = ({ ids, greedy }: GoldenCase) => ids.length + greedy.length;
  return texts.toSorted((a, b) => length(a) - length(b)).slice(0, 2);
}

async function rounding(page: BenchPage, texts: readonly GoldenCase[]): Promise<RoundingError> {
  const answers: [number, number][][][] = [];
  for (const { ids, greedy } of texts) {
    const asked = { ids: [...ids, ...greedy.slice(0, -1)], from: ids.length - 1, top: CANDIDATES };
    answers.push(await page.evaluate(async (options) => (await window.edgevisor.evaluate(options)).logits, asked));
  }
  return roundingError(texts, answers);
}

async function goto(page: BenchPage, url: string, query = ''): Promise<void> {
  await page.goto(`${url}/host.html${query}`);
  await page.evaluate(() => window.edgevisor.ready);
}

async function load(
  page: BenchPage,
  { file, context }: Workload,
  { backend, threads }: Pick<OursOptions, 'backend' | 'threads'>,
): Promise<void> {
  const options = { model: file.replace(/\.gguf$/, ''), backend, threads, context };
  const info = await page.evaluate((asked) => window.edgevisor.load(asked), options);
  const asAsked = info.backend === backend && (backend === 'webgpu' || info.threads === threads);
  if (!asAsked) throw new Error(`Asked for ${backend} with ${threads} threads, got ${JSON.stringify(info)}.`);
}

async function generate(page: BenchPage, { ids }: Prompt, decodeTokens: number): Promise<Run> {
  const generation = await page.evaluate((options) => window.edgevisor.generate(options), {
    ids,
    maxTokens: decodeTokens + 1,
    temperature: 0,
    ignoreEos: true,
    reuse: false,
  });
  const { promptTokens, cachedTokens, prefillMs, decodeTokens: decoded, decodeMs } = generation.timings;
  if (promptTokens !== ids.length || cachedTokens !== 0 || decoded !== decodeTokens)
    throw new Error(`Not the work that was asked for: ${JSON.stringify(generation.timings)}`);
  return { promptTokens, prefillMs, decodeTokens: decoded, decodeMs, ids: generation.ids };
}
