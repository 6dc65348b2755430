/** Where results go: JSON in results/ (not in git), tables into docs/benchmarks.md when asked for. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { ROOT } from '../../scripts/build.ts';
import { BenchError } from './bench-error.ts';

const RESULTS = join(ROOT, 'tests', 'bench', 'results');
const DOCUMENT = join(ROOT, 'docs', 'benchmarks.md');

/** Writes a new file of JSON; gives its path from the repository's root. */
export function writeResults(benchmark: string, report: unknown): string {
  mkdirSync(RESULTS, { recursive: true });
  const path = join(RESULTS, `${benchmark}-${new Date().toISOString().replaceAll(/[:.]/g, '-')}.json`);
  writeFileSync(path, `${JSON.stringify(report, undefined, 2)}\n`);
  return relative(ROOT, path);
}

/** Puts a table into docs/benchmarks.md in place of the one before; gives the path. Throws BenchError. */
export function record(benchmark: string, markdown: string): string {
  writeFileSync(DOCUMENT, replaceSection(readFileSync(DOCUMENT, 'utf8'), benchmark, markdown));
  return relative(ROOT, DOCUMENT);
}

/** Writes a picture beside docs/benchmarks.md; gives the Markdown that shows it. */
export function recordPlot(name: string, svg: string, description: string): string {
  const directory = join(ROOT, 'docs', 'plots');
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, `${name}.svg`), svg);
  return `![${description}](plots/${name}.svg)`;
}

/** What stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` becomes `markdown`. Throws BenchError. */
export function replaceSection(document: string, name: string, markdown: string): string {
  const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`];
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from)
    throw new BenchError(`docs/benchmarks.md has no lines "${begin}" and "${end}" to write between.`);
  return `${document.slice(0, from + begin.length)}\n${markdown.trim()}\n${document.slice(to)}`;
}
