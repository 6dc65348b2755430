import { describe, expect, it } from 'vitest';
import { dequantize, widenColumns } from '../../../web/model/quant.ts';
import { repackPart } from '../../../web/model/repack.ts';
import type { ModelFile, TensorInfo } from '../../../web/model/types.ts';
import { openModel, shared } from './golden.ts';
import { unpackTile } from './unpack.ts';

/** Files of the same weights as `tiny-llama.F16`, and how far from them rounding may take a tensor (relative rms). */
const VARIANTS: Record<string, number> = {
  BF16: 0.003,
  Q8_0: 0.006,
  Q6_K: 0.02,
  Q5_1: 0.05,
  Q5_0: 0.05,
  Q5_K_M: 0.05,
  Q4_1: 0.09,
  Q4_0: 0.1,
  Q4_K_M: 0.1,
};

const read = (file: ModelFile, tensor: TensorInfo) => file.source.read(tensor.offset, tensor.offset + tensor.bytes);

describe.skipIf(shared('tiny').missing)('weights of the golden models (skipped: ../shared/golden is not there)', () => {
  it.each(Object.entries(VARIANTS))(
    '%s: close to the F16 file, and repacked exactly, also cut',
    async (variant, bound) => {
      const plain = await openModel(shared('tiny/tiny-llama.F16.gguf').path);
      const file = await openModel(shared(`tiny/tiny-llama.${variant}.gguf`).path);
      for (const tensor of file.tensors.values()) {
        // Two of the four layers hold every type that a file mixes.
        if (/^blk\.[12]\./.test(tensor.name)) continue;
        const raw = await read(file, tensor);
        const values = dequantize(tensor.type, raw, tensor.rows * tensor.cols);
        const original = plain.tensors.get(tensor.name)!;
        const exact = dequantize(original.type, await read(plain, original), original.rows * original.cols);
        expect(relativeError(values, exact), tensor.name).toBeLessThan(bound);

        const whole = repackPart(tensor.type, raw, tensor.rows, [0, tensor.cols], [0, tensor.cols]);
        expect(unpackTile(whole).every((value, i) => value === values[i])).toBe(true);
        if (tensor.cols < 64 || tensor.cols % 32 !== 0) continue;
        const cols: [number, number] = [32, tensor.cols - 32];
        expect(widenColumns(tensor.type, cols)[1]).toBeLessThanOrEqual(tensor.cols);
        const part = unpackTile(repackPart(tensor.type, raw, tensor.rows, [0, tensor.cols], cols));
        const width = cols[1] - cols[0];
        const same = part.every((value, i) => value === values[Math.floor(i / width) * tensor.cols + 32 + (i % width)]);
        expect(same, tensor.name).toBe(true);
      }
    },
  );
});

function relativeError(values: Float32Array, exact: Float32Array): number {
  let error = 0;
  let size = 0;
  for (const [i, value] of exact.entries()) {
    error += (values[i]! - value) ** 2;
    size += value ** 2;
  }
  return Math.sqrt(error / size);
}
