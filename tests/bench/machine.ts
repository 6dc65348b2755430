import { cpus, loadavg, totalmem } from 'node:os';

/** Other work, in processors kept busy on average, above which figures are marked as noisy. */
const QUIET_LOAD = 0.3;

export interface Machine {
  processor: string;
  cores: number;
  memoryBytes: number;
  system: string;
  node: string;
}

/** What the figures were measured on. */
export function machine(): Machine {
  const cores = cpus();
  return {
    processor: cores[0]?.model.trim() ?? 'unknown',
    cores: cores.length,
    memoryBytes: totalmem(),
    system: `${process.platform} ${process.arch}`,
    node: process.version,
  };
}

/** Average number of busy processors over the last minute; 0 where the system does not say (Windows). */
export const loadAverage = (): number => loadavg()[0] ?? 0;

/** A line of Markdown about the machine, with a warning where others were using it. */
export function describeMachine({ processor, cores, memoryBytes, system }: Machine, loadBefore: number): string {
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`;
  const line = `${processor}, ${cores} cores, ${memory}, ${system}; load before the start ${loadBefore.toFixed(2)}.`;
  return loadBefore > QUIET_LOAD ? `${line} **Noisy: other programs were running.**` : line;
}
