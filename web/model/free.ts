import type { TileData } from './types.ts';

/**
 * Gives a buffer's memory back now, where the browser can; no view of it may be used again. Left to garbage collection,
 * a load of a model piles up a hundred MiB and more of dead buffers before the first is collected.
 */
export function freeBuffer({ buffer }: ArrayBufferView): void {
  if (buffer instanceof ArrayBuffer && 'transfer' in buffer) buffer.transfer(0);
}

/** A backend copies what it is given, so the buffers of the repacked form can go at once, to whoever `free` gives them. */
export function freeTileData(data: TileData, free: (view: ArrayBufferView) => void = freeBuffer): void {
  for (const field of Object.values(data)) if (ArrayBuffer.isView(field)) free(field);
}
