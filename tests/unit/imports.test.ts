import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');

/**
 * Which rooms a room may import from, besides itself: the direction of docs/architecture.md. `types` allows only
 * `import type`. `web` stands for the files right in it: the types of the public handle and the pages' entries.
 */
const MAY_IMPORT: Record<string, Record<string, 'all' | 'types'>> = {
  'web/plan': { 'web/model': 'types' },
  'web/model': { 'web/plan': 'types' },
  'web/mesh': { 'web/plan': 'all', 'web/model': 'all' },
  'web/device': { 'web/mesh': 'all', 'web/plan': 'all', 'web/model': 'all', 'wasm-cpu': 'all', shaders: 'all' },
  'web/host': { 'web/device': 'all', 'web/mesh': 'all', 'web/plan': 'all', 'web/model': 'all', web: 'types' },
  'web/contribute': { 'web/device': 'all', 'web/mesh': 'all', 'web/plan': 'all', web: 'types' },
  'web/components': {
    'web/host': 'all',
    'web/contribute': 'all',
    'web/device': 'all',
    'web/mesh': 'all',
    'web/plan': 'all',
    'web/model': 'all',
    'web/styles': 'all',
    web: 'types',
  },
  web: {
    'web/components': 'all',
    'web/host': 'all',
    'web/contribute': 'all',
    'web/device': 'types',
    'web/mesh': 'types',
    'web/plan': 'types',
    'web/model': 'types',
    'web/styles': 'all',
  },
  'signaling-server': { 'web/mesh': 'all', 'web/plan': 'all' },
};

/** Rooms of pure functions on plain values, which need no package. */
const WITHOUT_PACKAGES = ['web/plan'];

interface Import {
  specifier: string;
  typeOnly: boolean;
}

const COMMENTS = /\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm;
const FROM = /^\s*(?:import|export)\s+(type\s)?[^'";]*?\sfrom\s+['"]([^'"]+)['"]/gm;
const BARE = /^\s*import\s+['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;
const WORKER_OR_ASSET = /\bnew URL\(\s*['"]([^'"]+)['"]\s*,\s*import\.meta\.url/g;

/** Import statements of a source: static, for side effects, dynamic, and `new URL(…, import.meta.url)`. */
function importsOf(source: string): Import[] {
  const code = source.replace(COMMENTS, '');
  return [
    ...[...code.matchAll(FROM)].map(([, type, specifier]) => ({ specifier: specifier!, typeOnly: type !== undefined })),
    ...[BARE, DYNAMIC, WORKER_OR_ASSET].flatMap((pattern) =>
      [...code.matchAll(pattern)].map(([, specifier]) => ({ specifier: specifier!, typeOnly: false })),
    ),
  ];
}

/** The room of a path relative to the repository: `web/plan`, `web`, `shaders`. */
function roomOf(path: string): string {
  const [first, second, third] = path.split('/');
  return first === 'web' && third !== undefined ? `web/${second}` : first!;
}

/** What is wrong with an import of a file, in words; undefined where nothing is. */
function problemOf(file: string, { specifier, typeOnly }: Import): string | undefined {
  const from = roomOf(file);
  if (!specifier.startsWith('.')) {
    if (specifier.startsWith('node:') && from !== 'signaling-server')
      return `${file} runs in browsers: no ${specifier}`;
    return WITHOUT_PACKAGES.includes(from) ? `${file} needs no package, but imports ${specifier}` : undefined;
  }
  const target = relative(ROOT, resolve(ROOT, dirname(file), specifier)).replaceAll('\\', '/');
  const to = roomOf(target);
  if (to === from) return undefined;
  const allowed = MAY_IMPORT[from]?.[to];
  if (allowed === 'all' || (allowed === 'types' && typeOnly)) return undefined;
  return `${file} must not import ${target}${allowed === 'types' ? ' but for its types (import type)' : ''}`;
}

function sources(): string[] {
  return ['web', 'signaling-server'].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => `${folder}/${name.replaceAll('\\', '/')}`),
  );
}

describe('direction of imports', () => {
  test('every file keeps to docs/architecture.md', () => {
    const problems = sources().flatMap((file) =>
      importsOf(readFileSync(join(ROOT, file), 'utf8')).flatMap((found) => problemOf(file, found) ?? []),
    );
    expect(problems).toEqual([]);
  });

  test('every room has its rule', () => {
    expect(Object.keys(MAY_IMPORT)).toEqual(expect.arrayContaining([...new Set(sources().map(roomOf))]));
  });

  test('all forms of imports are found', () => {
    const source = [
      "import { a } from './a.ts';",
      "import type { B } from './b.ts';",
      "import {\n  c,\n  type D,\n} from './c.ts';",
      "export * from './e.ts';",
      "import './f.css';",
      "const g = await import('./g.ts');",
      "new Worker(new URL('./h.ts', import.meta.url));",
      "// import x from './comment.ts';",
      "/* import y from './comment.ts'; */",
    ].join('\n');
    expect(importsOf(source)).toEqual([
      { specifier: './a.ts', typeOnly: false },
      { specifier: './b.ts', typeOnly: true },
      { specifier: './c.ts', typeOnly: false },
      { specifier: './e.ts', typeOnly: false },
      { specifier: './f.css', typeOnly: false },
      { specifier: './g.ts', typeOnly: false },
      { specifier: './h.ts', typeOnly: false },
    ]);
  });

  test.each([
    ['web/plan/split.ts', '../model/catalogue.ts', false],
    ['web/plan/split.ts', '../model/types.ts', false],
    ['web/plan/split.ts', '../mesh/frames.ts', true],
    ['web/model/gguf.ts', '../device/backend.ts', true],
    ['web/device/executor.ts', '../host/loop.ts', true],
    ['web/device/wasm/backend.ts', '../../components/chat.ts', false],
    ['web/host/conductor.ts', '../components/chat.ts', false],
    ['web/components/chat.ts', '../../signaling-server/main.ts', true],
    ['signaling-server/rooms.ts', '../web/host/runner.ts', true],
    ['web/model/gguf.ts', 'node:fs', false],
    ['web/plan/split.ts', 'valibot', false],
  ])('%s importing %s is noticed', (file, specifier, typeOnly) => {
    expect(problemOf(file, { specifier, typeOnly })).toContain(file);
  });

  test.each([
    ['web/plan/split.ts', '../model/types.ts', true],
    ['web/model/gguf.ts', './types.ts', false],
    ['web/device/webgpu/backend.ts', '../../../shaders/matvec.wgsl?raw', false],
    ['web/device/executor.ts', '../mesh/frames.ts', false],
    ['web/host/conductor.ts', '../api.ts', true],
    ['web/model/gguf.ts', '@huggingface/gguf', false],
    ['signaling-server/rooms.ts', '../web/mesh/messages.ts', false],
    ['signaling-server/rooms.ts', 'node:http', false],
  ])('%s may import %s', (file, specifier, typeOnly) => {
    expect(problemOf(file, { specifier, typeOnly })).toBeUndefined();
  });
});
