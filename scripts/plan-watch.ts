/** Which node of a stage should give to which, judged by how long their layers took: EdgeVisor's watch_layer_prof. */

/** A node's time in one layer, as `layer_prof` gives it. */
export interface LayerNode {
  ok: boolean;
  stageIndex: number;
  nodeIndex: number;
  layerIndex: number;
  attnUs: number;
  ffnUs: number;
}

/** All nodes of a layer's stage. */
export type LayerRow = LayerNode[];

export interface Edge {
  stage: number;
  slowest: number;
  fastest: number;
  /** For a person: who is how slow. */
  text: string;
}

/**
 * The slowest and the fastest node of the stage in which they differ most; undefined where none differ enough.
 *
 * @param options.layer judge by this layer alone; default: by the sum of all layers
 * @param options.threshold they differ enough where the fastest takes less than this part of the slowest's time
 */
export function rebalance(
  rows: readonly LayerRow[],
  { layer, threshold }: { layer?: number | undefined; threshold: number },
): Edge | undefined {
  const stages = new Map<number, Map<number, number>>();
  for (const { ok, stageIndex, nodeIndex, layerIndex, attnUs, ffnUs } of rows.flat()) {
    if (!ok || (layer !== undefined && layer !== layerIndex)) continue;
    const nodes = stages.get(stageIndex) ?? new Map<number, number>();
    stages.set(stageIndex, nodes.set(nodeIndex, (nodes.get(nodeIndex) ?? 0) + attnUs + ffnUs));
  }
  let worst: { edge: Edge; ratio: number } | undefined;
  for (const [stage, nodes] of stages) {
    const order = [...nodes].sort((a, b) => a[1] - b[1]);
    const [[fastest, least], [slowest, most]] = [order[0], order[order.length - 1]];
    const ratio = most > 0 ? least / most : 1;
    if (fastest === slowest || ratio >= threshold || ratio >= (worst?.ratio ?? 1)) continue;
    const text = `stage ${stage}: node ${slowest} took ${most} µs, node ${fastest} ${least} µs`;
    worst = { edge: { stage, slowest, fastest, text }, ratio };
  }
  return worst?.edge;
}
