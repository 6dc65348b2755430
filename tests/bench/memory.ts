/** Memory of a whole browser, from Linux's accounts of its processes. Other systems have no such accounts here. */
import { readdirSync, readFileSync } from 'node:fs';

/** A sample costs some ms of one core: samples take at most this part of the time. */
const SAMPLING_SHARE = 0.1;
const SHORTEST_PAUSE_MS = 50;

/** Bytes. */
export interface Memory {
  /** Of the processes that run pages and the GPU: JavaScript, WASM, buffers, and all that a software adapter holds. */
  tab: number;
  /** Of all processes, those for network and storage too. */
  browser: number;
}

/** Does some work and samples `browserMemory` meanwhile and once afterwards; `peak` has the highest of each. */
export async function peakDuring<T>(
  profile: string,
  work: () => Promise<T>,
): Promise<{ result: T; peak: Memory | undefined }> {
  let peak: Memory | undefined;
  let timer: NodeJS.Timeout | undefined;
  const sample = (): void => {
    const start = performance.now();
    const now = browserMemory(profile);
    if (!now) return;
    peak = { tab: Math.max(peak?.tab ?? 0, now.tab), browser: Math.max(peak?.browser ?? 0, now.browser) };
    const cost = performance.now() - start;
    timer = setTimeout(sample, Math.max(SHORTEST_PAUSE_MS, cost / SAMPLING_SHARE));
  };
  sample();
  try {
    const result = await work();
    clearTimeout(timer);
    sample();
    return { result, peak };
  } finally {
    clearTimeout(timer);
  }
}

/**
 * What a browser's processes hold of their own: anonymous memory, and shared memory by share. Files that are mapped,
 * such as the browser's own program, do not count, nor does memory on a real GPU. Undefined where there is no /proc.
 * @param profile the directory that the browser was started with, by which it is recognised
 */
export function browserMemory(profile: string): Memory | undefined {
  if (process.platform !== 'linux') return undefined;
  const memory: Memory = { tab: 0, browser: 0 };
  for (const { pid, command } of browserProcesses(profile)) {
    const bytes = ownBytes(pid);
    memory.browser += bytes;
    if (/--type=(renderer|gpu-process)\b/.test(command)) memory.tab += bytes;
  }
  return memory;
}

interface BrowserProcess {
  pid: number;
  /** Its command line, arguments ended by zeros. */
  command: string;
}

/** The browser's process and all below it: renderers have the zygote as their parent. */
function browserProcesses(profile: string): BrowserProcess[] {
  const parents = new Map<number, number>();
  const commands = new Map<number, string>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    // Fields after the command's name, which stands in brackets and may hold anything.
    parents.set(pid, Number(readProc(pid, 'stat').split(') ').at(-1)?.split(' ')[1]));
    commands.set(pid, readProc(pid, 'cmdline'));
  }
  const belongs = (pid: number): boolean => {
    if (commands.get(pid)?.includes(`--user-data-dir=${profile}`)) return true;
    const parent = parents.get(pid);
    return parent !== undefined && parent > 1 && belongs(parent);
  };
  return [...commands].filter(([pid]) => belongs(pid)).map(([pid, command]) => ({ pid, command }));
}

function ownBytes(pid: number): number {
  const rollup = readProc(pid, 'smaps_rollup');
  const kib = (field: string) => Number(rollup.match(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm'))?.[1] ?? 0);
  return (kib('Pss_Anon') + kib('Pss_Shmem')) * 1024;
}

/** Empty for a process that has just ended. */
function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
