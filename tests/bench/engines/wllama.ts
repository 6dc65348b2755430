/** wllama (llama.cpp in WASM) in the same Chromium. */
import { openBrowser } from '../browser.ts';
import type { Engine, Prompt, Run, Workload } from '../engine.ts';
import type { BenchPage } from '../page.ts';
import { installedVersion } from '../peers.ts';
import { measureStart } from './starting.ts';

/** What is used of wllama's interface; its own types are only there once the peers are installed. */
interface Wllama {
  loadModelFromUrl(url: string, options: Record<string, unknown>): Promise<void>;
  getNumThreads(): number;
  createCompletion(options: Record<string, unknown>): Promise<{
    choices: { text: string }[];
    /** llama.cpp's own; `predicted_ms` counts from the first token. */
    timings?: { cache_n: number; prompt_n: number; prompt_ms: number; predicted_n: number; predicted_ms: number };
  }>;
}

interface WllamaModule {
  Wllama: new (paths: { default: string }, options: Record<string, unknown>) => Wllama;
}

interface WllamaWindow {
  wllama: Wllama;
}

export interface WllamaOptions {
  threads: number;
  /** Origin of the peers' server. */
  url: string;
}

export function wllama({ threads, url }: WllamaOptions): Engine {
  return {
    ...{ family: 'wllama', backend: 'wasm', threads },
    async open(workload) {
      const browser = await openBrowser(url, { gpu: false });
      const { page } = browser;
      const engine = {
        async goto() {
          await page.goto(url);
        },
        load: () => load(page, workload, threads),
        generate: (prompt: Prompt, decodeTokens: number) => generate(page, prompt, decodeTokens),
      };
      try {
        const start = await measureStart(browser, engine, workload);
        return {
          description: `wllama ${installedVersion('@wllama/wllama')}, ${browser.version}, ${threads} threads`,
          start,
          run: () => generate(page, workload.prompt, workload.decodeTokens),
          close: () => browser.close(),
        };
      } catch (error) {
        await browser.close();
        throw error;
      }
    },
  };
}

async function load(page: BenchPage, { file, context }: Workload, threads: number): Promise<void> {
  const loaded = await page.evaluate(
    async ({ file, options }) => {
      // Not an import that a bundler should see: the page's server has the file.
      const path = '/wllama/index.js';
      const { Wllama } = (await import(path)) as WllamaModule;
      const made = new Wllama({ default: '/wllama/wasm/wllama.wasm' }, { suppressNativeLog: true });
      await made.loadModelFromUrl(`${location.origin}/models/${encodeURIComponent(file)}`, options);
      (window as unknown as WllamaWindow).wllama = made;
      return made.getNumThreads();
    },
    // One conversation instead of its four, and no WebGPU, which it would otherwise look for.
    { file, options: { n_threads: threads, n_ctx: context, n_batch: context, n_parallel: 1, n_gpu_layers: 0 } },
  );
  if (loaded !== threads) throw new Error(`Asked wllama for ${threads} threads, got ${loaded}.`);
}

async function generate(page: BenchPage, { ids, text }: Prompt, decodeTokens: number): Promise<Run> {
  const { timings } = await page.evaluate(
    (options) => (window as unknown as WllamaWindow).wllama.createCompletion(options),
    { prompt: text, max_tokens: decodeTokens + 1, temperature: 0, ignore_eos: true, cache_prompt: false },
  );
  if (!timings || timings.prompt_n !== ids.length || timings.predicted_n !== decodeTokens + 1)
    throw new Error(`wllama did not do the work that was asked for: ${JSON.stringify(timings)}`);
  const { prompt_ms: prefillMs, predicted_ms: decodeMs } = timings;
  return { promptTokens: ids.length, prefillMs, decodeTokens, decodeMs };
}
