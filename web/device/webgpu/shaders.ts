/**
 * The WGSL sources and their assembly. A source is a plain WGSL file with a few kinds of lines more, all comments to WGSL:
 * `//#include name` pastes a shared snippet, `//#if NAME` (or `//#if !NAME`), `//#else` and `//#endif` choose lines, and
 * `//#repeat v NAME` … `//#end` writes its lines NAME times with 0, 1, … for `$v`: WGSL has no arrays of registers.
 * Numbers become `const NAME: u32|f32` in front.
 */
import activations from '../../../shaders/activations.wgsl?raw';
import attention from '../../../shaders/attention.wgsl?raw';
import bias from '../../../shaders/bias.wgsl?raw';
import candidates from '../../../shaders/candidates.wgsl?raw';
import embed from '../../../shaders/embed.wgsl?raw';
import gated from '../../../shaders/gated.wgsl?raw';
import matmul from '../../../shaders/matmul.wgsl?raw';
import matrixProduct from '../../../shaders/matrix_product.wgsl?raw';
import matvec from '../../../shaders/matvec.wgsl?raw';
import merge from '../../../shaders/merge.wgsl?raw';
import norm from '../../../shaders/norm.wgsl?raw';
import rope from '../../../shaders/rope.wgsl?raw';
import select from '../../../shaders/select.wgsl?raw';
import silu from '../../../shaders/silu.wgsl?raw';
import step from '../../../shaders/step.wgsl?raw';
import storeRows from '../../../shaders/store_rows.wgsl?raw';
import summarize from '../../../shaders/summarize.wgsl?raw';
import swiglu from '../../../shaders/swiglu.wgsl?raw';
import table from '../../../shaders/table.wgsl?raw';
import vectorProduct from '../../../shaders/vector_product.wgsl?raw';
import weights from '../../../shaders/weights.wgsl?raw';
import weightsFloat from '../../../shaders/weights_float.wgsl?raw';
import weightsQ4 from '../../../shaders/weights_q4.wgsl?raw';
import weightsQ8 from '../../../shaders/weights_q8.wgsl?raw';
import type { Format } from './layout.ts';

const OPERATIONS = { attention, bias, embed, gated, matmul, matvec, merge, norm, rope, select, summarize, swiglu };
export type Operation = keyof typeof OPERATIONS;

const SNIPPETS: Record<string, string> = {
  activations,
  candidates,
  matrix_product: matrixProduct,
  silu,
  step,
  store_rows: storeRows,
  table,
  vector_product: vectorProduct,
  weights,
};

/** Integers become u32 constants, `{ f32 }` f32 constants, booleans choose lines. */
export type Defines = Record<string, number | boolean | { f32: number }>;

const WEIGHTS: Record<Format, { source: string; defines: Defines }> = {
  q4: { source: weightsQ4, defines: {} },
  q4h: { source: weightsQ4, defines: { PACKED: true } },
  q8: { source: weightsQ8, defines: {} },
  'q8+min': { source: weightsQ8, defines: { MINS: true } },
  q8x16: { source: weightsQ8, defines: { HALVES: true } },
  'q8x16+min': { source: weightsQ8, defines: { HALVES: true, MINS: true } },
  f32: { source: weightsFloat, defines: { F32: true } },
  f16: { source: weightsFloat, defines: {} },
  bf16: { source: weightsFloat, defines: { BF16: true } },
};

/** The WGSL of an operation; those on weights need their format. */
export function shaderSource(operation: Operation, defines: Defines, format?: Format): string {
  const kind = format === undefined ? undefined : WEIGHTS[format];
  const all = { ...defines, ...kind?.defines };
  const snippets = kind === undefined ? SNIPPETS : { ...SNIPPETS, kind: kind.source };
  const lines = assemble(OPERATIONS[operation], all, snippets);
  return [...constants(all), ...unroll(lines, all)].join('\n');
}

function constants(defines: Defines): string[] {
  return Object.entries(defines).flatMap(([name, value]) => {
    if (typeof value === 'boolean') return [];
    return typeof value === 'number'
      ? `const ${name}: u32 = ${value}u;`
      : `const ${name}: f32 = ${f32Literal(value.f32)};`;
  });
}

function f32Literal(value: number): string {
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
}

function assemble(source: string, defines: Defines, snippets: Record<string, string>): string[] {
  const lines: string[] = [];
  const taken: boolean[] = [];
  for (const line of source.split('\n')) {
    const [, word, argument = ''] = /^\s*\/\/#(\w+)\s*(\S*)/.exec(line) ?? [];
    if (word === 'if') {
      const wanted = !argument.startsWith('!');
      taken.push(Boolean(defines[argument.replace('!', '')]) === wanted);
    } else if (word === 'else') taken.push(!taken.pop());
    else if (word === 'endif') taken.pop();
    else if (!taken.every(Boolean)) continue;
    else if (word === 'include') {
      const snippet = snippets[argument];
      if (snippet === undefined) throw new Error(`no WGSL snippet is called ${argument}`);
      lines.push(...assemble(snippet, defines, snippets));
    } else lines.push(line);
  }
  return lines;
}

/** Writes out the repeats; those inside others see the outer variables replaced. */
function unroll(lines: string[], defines: Defines): string[] {
  const out: string[] = [];
  for (let i = 0; i < lines.length; i++) {
    const [, variable, count] = /^\s*\/\/#repeat (\w+) (\w+)/.exec(lines[i]!) ?? [];
    if (variable === undefined || count === undefined) {
      out.push(lines[i]!);
      continue;
    }
    const end = matchingEnd(lines, i);
    const body = lines.slice(i + 1, end);
    for (let n = 0; n < Number(defines[count]); n++) {
      out.push(
        ...unroll(
          body.map((line) => line.replaceAll(`$${variable}`, String(n))),
          defines,
        ),
      );
    }
    i = end;
  }
  return out;
}

function matchingEnd(lines: string[], start: number): number {
  let depth = 0;
  for (let i = start; i < lines.length; i++) {
    if (/^\s*\/\/#repeat/.test(lines[i]!)) depth++;
    else if (/^\s*\/\/#end\b/.test(lines[i]!) && --depth === 0) return i;
  }
  throw new Error(`a repeat of a shader has no end: ${lines[start]}`);
}
