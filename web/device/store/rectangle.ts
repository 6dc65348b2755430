/** A rectangle of bytes within a larger row-major one. */
export interface BytesView {
  bytes: Uint8Array;
  /** Where the rectangle's first row starts. */
  offset: number;
  /** Bytes from one row's start to the next one's. */
  stride: number;
}

/** Copies `rows` runs of `length` bytes from one rectangle to another. */
export function copyRectangle(from: BytesView, to: BytesView, length: number, rows: number): void {
  if (length === from.stride && length === to.stride) {
    to.bytes.set(from.bytes.subarray(from.offset, from.offset + length * rows), to.offset);
    return;
  }
  let source = from.offset;
  let target = to.offset;
  for (let row = 0; row < rows; row++) {
    to.bytes.set(from.bytes.subarray(source, source + length), target);
    source += from.stride;
    target += to.stride;
  }
}
