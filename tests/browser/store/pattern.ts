/** Fills bytes by their place in the file (a multiple of 4), and gives them back. */
export function fillPattern(from: number, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  const first = from >> 2;
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(first + i, 0x9e3779b1) ^ ((first + i) >>> 9);
  return bytes;
}
