/**
 * Plots as SVG texts for docs/benchmarks.md, readable on light and dark pages: the picture brings its own ground and
 * changes its colours with the reader's. Lines differ in dash and mark too, and bear their names.
 */

/** A line through measured points. */
export interface Series {
  name: string;
  points: { x: number; y: number }[];
  /** A calculation, not a measurement: thin and grey, without marks. */
  calculated?: boolean;
}

export interface Axis {
  label: string;
  /** Equal steps for equal factors. */
  logarithmic?: boolean;
  /** Instead of round numbers. */
  ticks?: number[];
}

export interface LinePlot {
  title: string;
  x: Axis;
  y: Axis;
  series: Series[];
}

export interface Bar {
  name: string;
  value: number;
  /** Printed behind the bar. */
  text: string;
}

export interface BarPlot {
  title: string;
  /** What the values are. */
  unit: string;
  groups: { name: string; bars: Bar[] }[];
  /** A value that bars are to be held against. */
  reference?: number;
}

const WIDTH = 720;
const HEIGHT = 380;
const MARGIN = { top: 48, right: 150, bottom: 56, left: 72 };
const BAR = { height: 18, gap: 6, group: 26, labels: 190 };
/** About what a character takes at the plots' size of letters, to keep names inside the picture. */
const CHARACTER = 7;

/** Three hues that stay apart for colour-blind readers, dark on light and light on dark. */
const HUES = [
  { light: '#1f6d68', dark: '#74c7bb', dash: '' },
  { light: '#b45309', dark: '#f0b35a', dash: '7 4' },
  { light: '#4f46e5', dark: '#a5a1ff', dash: '2 4' },
];

const STYLE = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2426; }
.title { font-weight: 600; font-size: 15px; }
.muted { fill: #5b6266; }
.ground { fill: #ffffff; }
.grid { stroke: #dcd9d2; }
.axis { stroke: #8c9093; }
.line { fill: none; stroke-width: 2; }
.calculated { fill: none; stroke-dasharray: 3 3; }
${HUES.map(({ light }, i) => `.f${i} { fill: ${light}; } .s${i} { stroke: ${light}; }`).join('\n')}
@media (prefers-color-scheme: dark) {
text { fill: #e7e5e1; }
.muted { fill: #a2a8ac; }
.ground { fill: #1f2224; }
.grid { stroke: #33383b; }
.axis { stroke: #767d82; }
${HUES.map(({ dark }, i) => `.f${i} { fill: ${dark}; } .s${i} { stroke: ${dark}; }`).join('\n')}
}
</style>`;

const round = (value: number): number => Math.round(value * 100) / 100;
const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
const label = (x: number, y: number, text: string, attributes = ''): string =>
  `<text x="${round(x)}" y="${round(y)}"${attributes && ` ${attributes}`}>${escaped(text)}</text>`;

function picture(width: number, height: number, title: string, parts: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    STYLE,
    `<rect class="ground" width="${width}" height="${height}" rx="8"/>`,
    label(16, 26, title, 'class="title"'),
    ...parts,
    '</svg>\n',
  ].join('\n');
}

/** From a value to a place between `from` and `to`. */
export function scale(
  { logarithmic = false }: Pick<Axis, 'logarithmic'>,
  [low, high]: [number, number],
  [from, to]: [number, number],
) {
  const bend = logarithmic ? Math.log : (value: number) => value;
  const [a, b] = [bend(low), bend(high)];
  return (value: number): number => from + ((bend(value) - a) / (b - a || 1)) * (to - from);
}

/** Round numbers from 0 on, the last at or above `most`: steps of 1, 2 or 5 times a power of ten, at most six. */
export function roundTicks(most: number): number[] {
  if (!(most > 0)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(most));
  const step = [0.1, 0.2, 0.5, 1, 2, 5].map((factor) => factor * power).find((size) => most / size <= 6) ?? power;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** Lines over an axis of numbers, from zero upwards unless logarithmic. Throws where there is nothing to draw. */
export function linePlot({ title, x, y, series }: LinePlot): string {
  const points = series.flatMap((one) => one.points);
  if (points.length === 0) throw new RangeError(`Nothing to draw in "${title}".`);
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const yTicks = y.ticks ?? roundTicks(Math.max(...ys));
  const xTicks = x.ticks ?? [...new Set(xs)].sort((a, b) => a - b);
  const right = WIDTH - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  const toX = scale(x, [Math.min(...xs, ...xTicks), Math.max(...xs, ...xTicks)], [MARGIN.left, right]);
  const lowest = y.logarithmic ? Math.min(...ys, ...yTicks) : 0;
  const toY = scale(y, [lowest, Math.max(...ys, ...yTicks)], [bottom, MARGIN.top]);
  const grid = yTicks.flatMap((tick) => [
    `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${round(toY(tick))}" y2="${round(toY(tick))}"/>`,
    label(MARGIN.left - 8, toY(tick) + 4, tick.toLocaleString('en'), 'class="muted" text-anchor="end"'),
  ]);
  const marks = xTicks.flatMap((tick) => [
    `<line class="axis" x1="${round(toX(tick))}" x2="${round(toX(tick))}" y1="${bottom}" y2="${bottom + 5}"/>`,
    label(toX(tick), bottom + 20, tick.toLocaleString('en'), 'class="muted" text-anchor="middle"'),
  ]);
  return picture(WIDTH, HEIGHT, title, [
    ...grid,
    `<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    ...marks,
    label((MARGIN.left + right) / 2, HEIGHT - 14, x.label, 'class="muted" text-anchor="middle"'),
    label(
      0,
      0,
      y.label,
      `class="muted" text-anchor="middle" transform="translate(18 ${(MARGIN.top + bottom) / 2}) rotate(-90)"`,
    ),
    ...series.flatMap((one) => line(series, one, toX, toY)),
    ...names(series, toX, toY),
  ]);
}

/** The measured lines have the hues in turn; calculations are grey. */
const hueOf = (series: Series[], one: Series): number =>
  series.filter(({ calculated }) => !calculated).indexOf(one) % HUES.length;

function line(series: Series[], one: Series, toX: (x: number) => number, toY: (y: number) => number): string[] {
  const places = one.points.map(({ x, y }) => `${round(toX(x))},${round(toY(y))}`).join(' ');
  if (one.calculated) return [`<polyline class="calculated axis" points="${places}"/>`];
  const hue = hueOf(series, one);
  const { dash } = HUES[hue]!;
  const drawn = `<polyline class="line s${hue}" points="${places}"${dash && ` stroke-dasharray="${dash}"`}/>`;
  const dots = one.points.map(
    ({ x, y }) => `<circle class="f${hue}" cx="${round(toX(x))}" cy="${round(toY(y))}" r="3.5"/>`,
  );
  return [drawn, ...dots];
}

/** Every line's name at its end, moved apart where they would lie on each other. */
function names(series: Series[], toX: (x: number) => number, toY: (y: number) => number): string[] {
  const ends = series
    .flatMap((one) => {
      const last = one.points.at(-1);
      return last ? [{ one, x: toX(last.x) + 10, y: toY(last.y) + 4 }] : [];
    })
    .sort((a, b) => a.y - b.y);
  let free = Number.NEGATIVE_INFINITY;
  return ends.map(({ one, x, y }) => {
    const at = Math.max(y, free);
    free = at + 16;
    return label(x, at, one.name, one.calculated ? 'class="muted"' : `class="f${hueOf(series, one)}"`);
  });
}

/** Bars that lie, in groups; the first bar of every group has the first hue. Throws where there is nothing to draw. */
export function barPlot({ title, unit, groups, reference }: BarPlot): string {
  const values = groups.flatMap(({ bars }) => bars.map(({ value }) => value));
  if (values.length === 0) throw new RangeError(`Nothing to draw in "${title}".`);
  const texts = groups.flatMap(({ bars }) => bars.map(({ text }) => text.length));
  const left = BAR.labels;
  const right = WIDTH - 16 - CHARACTER * Math.max(...texts);
  const toX = scale({}, [0, Math.max(...values, reference ?? 0)], [left, right]);
  const parts: string[] = [];
  let y = MARGIN.top;
  for (const { name, bars } of groups) {
    parts.push(label(16, y + 14, name));
    y += BAR.group;
    for (const [i, { name: who, value, text }] of bars.entries()) {
      parts.push(
        label(left - 8, y + 14, who, 'class="muted" text-anchor="end"'),
        `<rect class="f${i % HUES.length}" x="${left}" y="${y}" width="${round(toX(value) - left)}" height="${BAR.height}" rx="2"/>`,
        label(toX(value) + 6, y + 14, text),
      );
      y += BAR.height + BAR.gap;
    }
    y += BAR.gap;
  }
  if (reference !== undefined) {
    parts.push(
      `<line class="axis" x1="${round(toX(reference))}" x2="${round(toX(reference))}" y1="${MARGIN.top}" y2="${y}" stroke-dasharray="4 3"/>`,
    );
  }
  parts.push(label(left, y + 16, unit, 'class="muted"'));
  return picture(WIDTH, y + 32, title, parts);
}
