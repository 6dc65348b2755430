/**
 * Gives a buffer's memory back now, where the browser can; no view of it may be used again. Left to garbage collection,
 * a load of a model piles up a hundred MiB and more of dead buffers before the first is collected.
 */
export function freeBuffer({ buffer }: ArrayBufferView): void {
  if (buffer instanceof ArrayBuffer && 'transfer' in buffer) buffer.transfer(0);
}
