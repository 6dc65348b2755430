/**
 * Compiles the kernels: plain and relaxed SIMD, each for one thread and for shared memory. Skips what is up to date.
 * Run by `npm run build:wasm`; output in wasm-cpu/build/ (ignored by git).
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Pages of 64 KiB; the maximum of a shared memory must be named, and 4 GiB is all that 32-bit addresses reach. */
const MAXIMUM_PAGES = 65536;

const VARIANTS = [
  { name: 'plain', features: 'simd' },
  { name: 'relaxed', features: 'simd,relaxed-simd' },
  { name: 'plain-threads', features: 'simd,threads' },
  { name: 'relaxed-threads', features: 'simd,relaxed-simd,threads' },
];

function sourceStamp(): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(here('assembly')).sort()) hash.update(readFileSync(here(`assembly/${name}`)));
  return hash.update(readFileSync(here('build.ts'))).digest('hex');
}

async function compile(variant: (typeof VARIANTS)[number]): Promise<void> {
  const shared = variant.features.includes('threads') ? ['--sharedMemory'] : [];
  // Loading the compiler takes seconds: only when there is something to compile.
  const { default: asc } = await import('assemblyscript/asc');
  const { error, stderr } = await asc.main([
    here('assembly/index.ts'),
    ...['--outFile', here(`build/${variant.name}.wasm`), '--runtime', 'stub', '-O3', '--noAssert', '--importMemory'],
    ...['--initialMemory', '2', '--maximumMemory', String(MAXIMUM_PAGES), '--memoryBase', '2048', ...shared],
    ...['--enable', variant.features],
  ]);
  if (error) throw new Error(`wasm-cpu: ${variant.name} does not compile\n${stderr.toString()}`, { cause: error });
}

const stampFile = here('build/stamp');
const stamp = sourceStamp();
if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) {
  console.log('wasm kernels: up to date');
} else {
  mkdirSync(here('build'), { recursive: true });
  for (const variant of VARIANTS) await compile(variant);
  writeFileSync(stampFile, stamp);
  console.log(`wasm kernels: built ${VARIANTS.map((v) => v.name).join(', ')}`);
}
