/** Numbers in words, for people. */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;
const STEP = 1000;

/** Decimal units with three significant digits, as file managers show them: 98362432 gives `98.4 MB`. */
export const formatBytes = (bytes: number): string => {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= STEP && unit < UNITS.length - 1) {
    value /= STEP;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
};

/** Whole percent of `part` in `whole`, never above 100; 0 when nothing is known. */
export const percent = (part: number, whole: number): number =>
  whole > 0 ? Math.min(100, Math.floor((part / whole) * 100)) : 0;

/** Tokens a second, or undefined when the time is too short to say. */
export const rate = (tokens: number, milliseconds: number): number | undefined =>
  tokens > 0 && milliseconds > 0 ? (tokens * 1000) / milliseconds : undefined;

/** `38 tok/s`, with a decimal below 10. */
export const formatRate = (tokensPerSecond: number): string =>
  `${tokensPerSecond >= 10 ? Math.round(tokensPerSecond) : tokensPerSecond.toFixed(1)} tok/s`;

/** A rough time to wait: `a few seconds`, `about 40 seconds`, `about 3 minutes`. */
export const formatWait = (seconds: number): string => {
  if (seconds < 8) return 'a few seconds';
  if (seconds < 90) return `about ${Math.round(seconds / 5) * 5} seconds`;
  return `about ${Math.round(seconds / 60)} minutes`;
};

export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? one : many}`;

/** A wait is only foretold once this much has been seen of the phase. */
const FORECAST_AFTER_MS = 1500;

/** Seconds until a phase is done at its speed so far; undefined while that is not known. */
export const secondsLeft = (
  progress: { loaded: number; total: number },
  since: { at: number; loaded: number },
  now: number,
): number | undefined => {
  const elapsed = now - since.at;
  const done = progress.loaded - since.loaded;
  if (elapsed < FORECAST_AFTER_MS || done <= 0 || progress.total <= 0) return undefined;
  return ((progress.total - progress.loaded) * elapsed) / done / 1000;
};
