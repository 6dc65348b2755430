const MEGABYTE = 1e6;
/** Where lines cannot be overwritten (a log file), one is printed this often. */
const LOG_INTERVAL = 10_000;

/** A line that says how far something has come: it overwrites itself on a terminal, else it is repeated now and then. */
export interface Progress {
  update(bytes: number): void;
  /** Leaves the last state standing. */
  done(): void;
}

/** `total` in bytes, or undefined where it is not known. */
export function progressLine(
  what: string,
  total: number | undefined,
  stream: NodeJS.WriteStream = process.stdout,
): Progress {
  let last = '';
  let printedAt = Date.now();
  const text = (bytes: number) => {
    const done = `${(bytes / MEGABYTE).toFixed(1)} MB`;
    return total === undefined
      ? `${what}: ${done}`
      : `${what}: ${done} of ${(total / MEGABYTE).toFixed(1)} MB (${Math.floor((100 * bytes) / total)} %)`;
  };
  return {
    update(bytes) {
      const line = text(bytes);
      if (line === last) return;
      last = line;
      if (stream.isTTY) stream.write(`\r\x1b[K${line}`);
      else if (Date.now() - printedAt >= LOG_INTERVAL) {
        printedAt = Date.now();
        stream.write(`${line}\n`);
      }
    },
    done() {
      if (last && stream.isTTY) stream.write('\n');
    },
  };
}
