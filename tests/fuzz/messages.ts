/** Right control messages, one of every kind or nearly so, to be changed. */

const share = { layers: [0, 2], qHeads: [[0, 2]], ffn: [[0, 64]], vocab: [[0, 9]], embedding: true, head: false };
const hyper = {
  architecture: 'llama',
  ...{ layers: 2, dim: 64, heads: 4, kvHeads: 2, headDim: 16, ffn: 128, vocab: 100, context: 64 },
  normEpsilon: 1e-5,
  rope: { layout: 'pairs', dims: 16, frequencies: [1, 0.5], magnitude: 1 },
  ...{ tied: true, qkvBias: false, qkNorm: false },
};
const tensor = {
  role: 'q',
  layer: 0,
  name: 'blk.0.attn_q.weight',
  type: 'Q4_0',
  rows: 64,
  cols: 64,
  offset: 0,
  bytes: 2304,
};
const times = { position: 1, batchSize: 1, execUs: 2, syncUs: 3 };

/** From the host to a device. */
export const toDevice = [
  {
    type: 'model',
    model: {
      name: 'm.gguf',
      digest: 'a'.repeat(64),
      bytes: 9,
      origin: { kind: 'server', files: ['m.gguf'] },
      hyper,
      tensors: [tensor],
    },
  },
  {
    type: 'prepare',
    assignment: {
      epoch: 1,
      share,
      members: [0, 1],
      next: [2],
      previous: 0,
      wire: 'q15',
      verify: false,
      context: 64,
      maxBatch: 64,
    },
  },
  { type: 'send-kv', epoch: 1, to: 2, heads: [{ layer: 0, kvHead: 1 }], range: [0, 5] },
  { type: 'hold', epoch: 1, position: 3, layer: 1 },
  { type: 'commit', epoch: 1 },
  { type: 'unload' },
  { type: 'unreadable', transfer: 1, code: 'network', message: 'no' },
  { type: 'profile', id: 1, layers: true, passes: false },
];
/** From a device to the host. */
export const toHost = [
  { type: 'about', about: { backend: 'wasm', description: 'x', threads: 1, gmacs: 1, readbackMs: 0, memoryLimit: 9 } },
  { type: 'progress', epoch: 1, stored: 0, fetched: 1, transferred: 1, total: 2 },
  { type: 'kv-received', epoch: 1, from: 2, bytes: 9 },
  { type: 'read', transfer: 1, offset: 0, stride: 10, length: 5, count: 2 },
  { type: 'refused', epoch: 1, code: 'memory', message: 'no', device: 1 },
  { type: 'broken', epoch: 1, code: 'lost', message: 'gone' },
  { type: 'stats', weights: 1, kv: 1, scratch: 1, warm: 1, tokens: 1, sent: 1, received: 1, ...times },
  { type: 'profiled', id: 1, ...times, layers: [[0, 1, 2]], passes: [] },
];
