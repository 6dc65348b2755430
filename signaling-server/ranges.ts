/** A part of a file, both ends included, as HTTP counts. */
export interface ByteRange {
  first: number;
  last: number;
}

const SINGLE_RANGE = /^bytes=(\d*)-(\d*)$/;

/**
 * Reads a `Range` header for a file of `size` bytes (RFC 9110, 14.2). `whole`: there is none, or it is one that a server
 * may ignore (another unit, malformed, several ranges). `unsatisfiable`: nothing of it lies in the file.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | 'whole' | 'unsatisfiable' {
  const match = header?.replaceAll(' ', '').match(SINGLE_RANGE);
  if (!match) return 'whole';
  const [, from, to] = match;
  if (!from && !to) return 'whole';
  if (!from) {
    const length = Math.min(Number(to), size);
    return length === 0 ? 'unsatisfiable' : { first: size - length, last: size - 1 };
  }
  const first = Number(from);
  if (to && Number(to) < first) return 'whole';
  if (first >= size) return 'unsatisfiable';
  return { first, last: to ? Math.min(Number(to), size - 1) : size - 1 };
}
