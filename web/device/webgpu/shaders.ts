/**
 * The WGSL sources and their assembly. A source is a plain WGSL file with three kinds of lines more, all comments to WGSL:
 * `//#include name` pastes a shared snippet, `//#if NAME` (or `//#if !NAME`), `//#else` and `//#endif` choose lines.
 * Numbers become `const NAME: u32|f32` in front.
 */
import activations from '../../../shaders/activations.wgsl?raw';
import attention from '../../../shaders/attention.wgsl?raw';
import bias from '../../../shaders/bias.wgsl?raw';
import embed from '../../../shaders/embed.wgsl?raw';
import gated from '../../../shaders/gated.wgsl?raw';
import matmul from '../../../shaders/matmul.wgsl?raw';
import matvec from '../../../shaders/matvec.wgsl?raw';
import merge from '../../../shaders/merge.wgsl?raw';
import norm from '../../../shaders/norm.wgsl?raw';
import quantizeBlock from '../../../shaders/quantize_block.wgsl?raw';
import rope from '../../../shaders/rope.wgsl?raw';
import round from '../../../shaders/round.wgsl?raw';
import rowProduct from '../../../shaders/row_product.wgsl?raw';
import silu from '../../../shaders/silu.wgsl?raw';
import step from '../../../shaders/step.wgsl?raw';
import swiglu from '../../../shaders/swiglu.wgsl?raw';
import table from '../../../shaders/table.wgsl?raw';
import weightsEight from '../../../shaders/weights_eight.wgsl?raw';
import weightsFloat from '../../../shaders/weights_float.wgsl?raw';
import weightsQ4 from '../../../shaders/weights_q4.wgsl?raw';
import weightsQ8 from '../../../shaders/weights_q8.wgsl?raw';
import type { Format } from './layout.ts';

const OPERATIONS = { attention, bias, embed, gated, matmul, matvec, merge, norm, rope, round, swiglu };
export type Operation = keyof typeof OPERATIONS;

const SNIPPETS: Record<string, string> = {
  activations,
  quantize_block: quantizeBlock,
  row_product: rowProduct,
  silu,
  step,
  table,
  weights_eight: weightsEight,
};

/** Integers become u32 constants, `{ f32 }` f32 constants, booleans choose lines. */
export type Defines = Record<string, number | boolean | { f32: number }>;

const WEIGHTS: Record<Format, { source: string; defines: Defines }> = {
  q4: { source: weightsQ4, defines: {} },
  q8: { source: weightsQ8, defines: {} },
  'q8+min': { source: weightsQ8, defines: { MINS: true } },
  q8x16: { source: weightsQ8, defines: { HALVES: true } },
  'q8x16+min': { source: weightsQ8, defines: { HALVES: true, MINS: true } },
  f32: { source: weightsFloat, defines: { F32: true } },
  f16: { source: weightsFloat, defines: { F16: true } },
  bf16: { source: weightsFloat, defines: { BF16: true } },
};

/** The WGSL of an operation; those on weights need their format. */
export function shaderSource(operation: Operation, defines: Defines, format?: Format): string {
  const weights = format === undefined ? undefined : WEIGHTS[format];
  const all = { ...defines, ...weights?.defines };
  const snippets = weights === undefined ? SNIPPETS : { ...SNIPPETS, weights: weights.source };
  return [...constants(all), ...assemble(OPERATIONS[operation], all, snippets)].join('\n');
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
