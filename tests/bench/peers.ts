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

/**
 * Installs what is missing of wllama and, where `native` is wanted, of native llama.cpp, at the versions of
 * `package.json` and `package-lock.json`. Rejects with BenchError or RunError.
 */
export async function ensurePeers({ native }: { native: boolean }, log: (line: string) => void): Promise<void> {
  const version = pinnedVersion('node-llama-cpp');
  const build = native ? `@node-llama-cpp/${nativeBuild()}` : undefined;
  const wanted: [string, string][] = [
    ['@wllama/wllama', pinnedVersion('@wllama/wllama')],
    ['node-llama-cpp', version],
    ...(build ? ([[build, version]] as [string, string][]) : []),
  ];
  if (wanted.every(([name, pinned]) => installedVersion(name) === pinned)) return;
  log('Installing the peers in tests/bench …');
  // Not `npm ci`: it wants the builds for all systems in the lock file, also those that the registry does not have.
  // Without scripts, since they would look for a compiler and build llama.cpp where no ready-made one is found.
  const flags = ['--no-save', '--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await run('npm', ['install', ...flags, ...(build ? [`${build}@${version}`] : [])], { cwd: HERE });
}

function nativeBuild(): string {
  const platform = `${process.platform}-${process.arch}`;
  const build = NATIVE_BUILDS[platform];
  if (build) return build;
  throw new BenchError(`There is no ready-made llama.cpp for ${platform}; use --engines ours,wllama.`);
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
