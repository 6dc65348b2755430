/** The programs that the benchmarks compare with. They are no part of the project: only a benchmark installs them. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../scripts/run.ts';
import { BenchError } from './bench-error.ts';

const HERE = fileURLToPath(new URL('.', import.meta.url));
export const PEERS = join(HERE, 'node_modules');

/** Packages with llama.cpp built for the processor; those for GPUs are hundreds of megabytes and not needed. */
const NATIVE_BUILDS: Record<string, string> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
};

/** Installs what is missing, at the versions of `package-lock.json`. Rejects with BenchError or RunError. */
export async function ensurePeers(log: (line: string) => void): Promise<void> {
  const platform = `${process.platform}-${process.arch}`;
  const build = NATIVE_BUILDS[platform];
  if (!build) throw new BenchError(`There is no ready-made llama.cpp for ${platform}; use --engines ours,wllama.`);
  const native = `@node-llama-cpp/${build}`;
  const version = pinnedVersion('node-llama-cpp');
  const wanted: [string, string][] = [
    ['@wllama/wllama', pinnedVersion('@wllama/wllama')],
    ['node-llama-cpp', version],
    [native, version],
  ];
  if (wanted.every(([name, wantedVersion]) => installedVersion(name) === wantedVersion)) return;
  log('Installing the peers in tests/bench …');
  // Scripts would look for a compiler and build llama.cpp where no ready-made one is found.
  const flags = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm', ['ci', ...flags], { cwd: HERE });
  await run('npm', ['install', '--no-save', ...flags, `${native}@${version}`], { cwd: HERE });
}

function pinnedVersion(name: string): string {
  const { dependencies } = JSON.parse(readFileSync(join(HERE, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const version = dependencies[name];
  if (!version) throw new BenchError(`tests/bench/package.json does not name a version of ${name}.`);
  return version;
}

/** Version of an installed peer; undefined where it is not installed. */
export function installedVersion(name: string): string | undefined {
  const path = join(PEERS, name, 'package.json');
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version : undefined;
}
