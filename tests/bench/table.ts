/**
 * A Markdown table with padded columns, so that it reads well as plain text too.
 * @param align of all columns but the first: numbers read best on the right, words on the left
 */
export function table(heads: string[], rows: string[][], align: 'left' | 'right' = 'right'): string {
  const widths = heads.map((head, i) => Math.max(head.length, 3, ...rows.map((row) => (row[i] ?? '').length)));
  const isLeft = (column: number) => column === 0 || align === 'left';
  const line = (cells: string[]) =>
    `| ${cells.map((cell, i) => (isLeft(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join(' | ')} |`;
  const rule = `| ${widths.map((width, i) => (isLeft(i) ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [line(heads), rule, ...rows.map((row) => line(heads.map((_, i) => row[i] ?? '')))].join('\n');
}
