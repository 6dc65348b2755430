/** What starting an engine in a browser costs, cold and warm; the same steps for ours and for wllama. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { BenchBrowser } from '../browser.ts';
import type { Prompt, Run, Start, Workload } from '../engine.ts';
import { browserMemory, type Memory, peakDuring } from '../memory.ts';

/** Until memory that is no longer needed has been given back. */
const REST_MS = 2000;

/** An engine in a page, as this file needs it. */
export interface PageEngine {
  /** Opens the engine's page, afresh. */
  goto(): Promise<void>;
  /** Loads the model; what an earlier load has cached is used. */
  load(): Promise<void>;
  generate(prompt: Prompt, decodeTokens: number): Promise<Run>;
}

/** Loads cold, runs the workload once, opens the page again, loads warm, and runs the workload once more as warm-up. */
export async function measureStart(browser: BenchBrowser, engine: PageEngine, workload: Workload): Promise<Start> {
  const { profile, emptyMemory } = browser;
  const { prompt, shortPrompt, decodeTokens } = workload;
  const added = (memory: Memory | undefined): Memory | undefined =>
    memory && emptyMemory && { tab: memory.tab - emptyMemory.tab, browser: memory.browser - emptyMemory.browser };

  const cold = await peakDuring(profile, async () => {
    await engine.goto();
    const coldLoadMs = await timed(() => engine.load());
    await engine.generate(prompt, decodeTokens);
    return { coldLoadMs };
  });
  const warm = await peakDuring(profile, async () => {
    const opened = performance.now();
    await engine.goto();
    const warmLoadMs = await timed(() => engine.load());
    await engine.generate(shortPrompt, 0);
    const openToTokenMs = performance.now() - opened;
    await engine.generate(prompt, decodeTokens);
    return { warmLoadMs, openToTokenMs };
  });
  await sleep(REST_MS);
  return {
    ...cold.result,
    ...warm.result,
    coldPeak: added(cold.peak),
    warmPeak: added(warm.peak),
    resting: added(browserMemory(profile)),
  };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}
