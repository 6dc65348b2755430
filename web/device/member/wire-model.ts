/** A catalogue as it travels to devices, and back. */
import type { WireModel } from '../../mesh/control.ts';
import type { Catalogue, HyperParameters, MatrixRole, ModelFile, TensorInfo, VectorRole } from '../../model/types.ts';
import { ModelError } from '../../model/types.ts';

const LAYER_ROLES = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const;
const LAYER_VECTORS = ['attentionNorm', 'ffnNorm', 'qBias', 'kBias', 'vBias', 'oBias', 'qNorm', 'kNorm'] as const;

export function toWireModel(
  file: Pick<ModelFile, 'digest' | 'source'>,
  catalogue: Catalogue,
  origin: WireModel['origin'],
): WireModel {
  const { hyper } = catalogue;
  const tensors: WireModel['tensors'] = [];
  const add = (role: MatrixRole | VectorRole, layer: number, tensor: TensorInfo | undefined) => {
    if (!tensor) return;
    const { name, type, rows, cols, offset, bytes } = tensor;
    tensors.push({ role, layer, name, type, rows, cols, offset, bytes });
  };
  for (let layer = 0; layer < hyper.layers; layer++) {
    for (const role of LAYER_ROLES) add(role, layer, catalogue.matrix(role, layer));
    for (const role of LAYER_VECTORS) add(role, layer, catalogue.vector(role, layer));
  }
  add('embedding', 0, catalogue.matrix('embedding', 0));
  add('head', 0, catalogue.matrix('head', 0));
  add('outputNorm', 0, catalogue.vector('outputNorm', 0));
  const { frequencies, ...rope } = hyper.rope;
  return {
    name: file.source.name,
    digest: file.digest,
    bytes: file.source.size,
    origin,
    hyper: { ...hyper, rope: { ...rope, frequencies: [...frequencies] } },
    tensors,
  };
}

/** The catalogue of a model that the host described. Its lookups throw ModelError `corrupt` for what was left out. */
export function fromWireModel(model: WireModel): Catalogue {
  const { rope, ...rest } = model.hyper;
  const hyper: HyperParameters = { ...rest, rope: { ...rope, frequencies: Float64Array.from(rope.frequencies) } };
  const known = new Map(
    model.tensors.map(({ role, layer, ...tensor }): [string, TensorInfo] => [`${role} ${layer}`, tensor]),
  );
  return {
    hyper,
    matrix(role, layer) {
      const tensor = known.get(`${role} ${layer}`);
      if (!tensor)
        throw new ModelError('corrupt', `The host did not say where the ${role} matrix of layer ${layer} lies.`);
      return tensor;
    },
    vector: (role, layer) => known.get(`${role} ${layer}`),
  };
}
