/** Pieces of Markdown that records are made of. */
import { table } from '../bench/table.ts';

/** Within a table a bar or a line's end would end the cell. */
export const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/** A table of two columns: what, and what of it. */
export const facts = (rows: [name: string, value: string][]): string =>
  table(
    ['', ''],
    rows.map(([name, value]) => [name, cell(value)]),
    'left',
  );

export function fence(text: string): string {
  const marks = text.includes('```') ? '````' : '```';
  return `${marks}text\n${text}\n${marks}`;
}

/** A token's text in a cell, with its blanks and line ends; nothing for an empty one. */
export const quoted = (text: string): string =>
  text === '' ? '' : cell(`\`${JSON.stringify(text).replaceAll('`', '´')}\``);

export const kilobytes = (bytes: number): string => (bytes / 1000).toFixed(1);

/** Tokens a second. */
export const rate = (tokens: number, ms: number): string => (ms > 0 ? (1000 * tokens) / ms : 0).toFixed(1);
