/**
 * The text form of a layout, as EdgeVisor has it (`docs/plan.md`): `2:3:3`, `1@14*1:1@16`, `1:2*1:1*2:3`.
 */
import { apportion } from './apportion.ts';

/** A layout: for each stage its members' weights, in the order of the devices, and how many layers it computes. */
export interface Ratios {
  stages: StageRatios[];
}

export interface StageRatios {
  weights: number[];
  layers: number;
}

/** `length`: text too long; `empty`: a number is missing; the rest say what is wrong with what. */
export type RatiosErrorCode = 'length' | 'empty' | 'number' | 'separator' | 'layers' | 'devices' | 'zero';

/** A layout that cannot be used. `at` and `length` mark the place in the text, in UTF-16 units; length 0 is a gap. */
export class RatiosError extends Error {
  constructor(
    readonly code: RatiosErrorCode,
    message: string,
    readonly at: number,
    readonly length: number,
  ) {
    super(message);
    this.name = 'RatiosError';
  }
}

/** Weights in between print without an exponent and add up without overflow. */
const SMALLEST_WEIGHT = 1e-6;
const LARGEST_WEIGHT = 1e9;
const LONGEST_TEXT = 1000;

/** A piece of the text. */
interface Span {
  text: string;
  at: number;
}

interface Weight extends Span {
  value: number;
}

interface Segment extends Span {
  weights: Weight[];
  layers: Weight | undefined;
}

/**
 * Reads a layout for a number of computing devices and a model's layers. Layers that the text leaves open are shared by
 * stage weight, largest remainder, at least one a stage.
 *
 * @throws {RatiosError} and nothing else.
 */
export function parseRatios(text: string, room: { devices: number; layers: number }): Ratios {
  if (text.length > LONGEST_TEXT) {
    throw new RatiosError(
      'length',
      `Ratios may be ${LONGEST_TEXT} characters long, these have ${text.length}.`,
      LONGEST_TEXT,
      text.length - LONGEST_TEXT,
    );
  }
  const segments = split({ text, at: 0 }, /[*;|]/g).map(readSegment);
  const { stages, stageWeights } = chooseForm(segments, room.devices);
  for (const stage of stages) {
    if (stage.weights.every(({ value }) => value === 0)) {
      throw fault(
        'zero',
        'All weights of this stage are 0, so nobody would compute its layers; give one of them a share.',
        stage,
      );
    }
  }
  const layers = dealLayers(stages, stageWeights, room.layers);
  return {
    stages: stages.map((stage, i) => ({ weights: stage.weights.map(({ value }) => value), layers: layers[i] })),
  };
}

/** The shortest text that `parseRatios` reads back as the same layout, for the same devices and layers. */
export function formatRatios(ratios: Ratios): string {
  const alone = ratios.stages.length === 1;
  return ratios.stages
    .map(({ weights, layers }) => (alone ? weights.join(':') : `${weights.join(':')}@${layers}`))
    .join('*');
}

/**
 * Form A where its count of numbers fits the devices: every segment is a stage, its weight the sum of its members'.
 * Else form B: the first segment holds the stages' weights, and the rest are the stages.
 */
function chooseForm(segments: Segment[], devices: number): { stages: Segment[]; stageWeights: Weight[] } {
  const numbers = segments.flatMap(({ weights }) => weights);
  if (numbers.length === devices) {
    const stageWeights = segments.map((segment) => ({
      ...segment,
      value: segment.weights.reduce((sum, { value }) => sum + value, 0),
    }));
    return { stages: segments, stageWeights };
  }
  const [first, ...stages] = segments;
  const looksLikeB = stages.length > 0 && first.layers === undefined && first.weights.length === stages.length;
  const numbersInB = numbers.length - first.weights.length;
  if (looksLikeB && numbersInB === devices) return { stages, stageWeights: first.weights };

  const inB = looksLikeB ? ` (or ${numbersInB}, with the stages' weights in front)` : '';
  const message = `The ratios are for ${some(numbers.length, 'device')}${inB}, but ${some(devices, 'device')} would compute.`;
  const tail = numbers[devices];
  const end = numbers[numbers.length - 1];
  const at = tail ? tail.at : end.at + end.text.length;
  throw new RatiosError('devices', message, at, end.at + end.text.length - at);
}

/** Layers of each stage: those that the text gives, and the rest by the weights of the stages that it leaves open. */
function dealLayers(stages: Segment[], stageWeights: Weight[], total: number): number[] {
  let left = total;
  for (const { layers } of stages) {
    if (!layers) continue;
    left -= layers.value;
    if (left < 0) {
      throw fault(
        'layers',
        `The stages up to here ask for ${total - left} layers, but the model has ${total}.`,
        layers,
      );
    }
  }
  const open = [...stages.keys()].filter((i) => stages[i].layers === undefined);
  const lastStage = stages[stages.length - 1];
  if (open.length === 0 && left > 0) {
    const message = `The stages ask for ${total - left} layers, but the model has ${total}; ${some(left, 'layer')} would be nobody's.`;
    throw fault('layers', message, lastStage.layers ?? lastStage);
  }
  for (const i of open) {
    if (stageWeights[i].value > 0) continue;
    throw fault(
      'zero',
      'A stage of weight 0 would have no layers; give it a weight, or a number of layers with @.',
      stageWeights[i],
    );
  }
  if (open.length > left) {
    const message = `${some(left, 'layer')} of ${total} ${left === 1 ? 'is' : 'are'} left for ${some(open.length, 'stage')} without a number of their own; each needs at least one.`;
    throw fault('layers', message, stages[open[left]]);
  }
  const dealt =
    open.length > 0
      ? apportion(
          left,
          open.map((i) => stageWeights[i].value),
          1,
        )
      : [];
  return stages.map(({ layers }, i) => layers?.value ?? dealt[open.indexOf(i)]);
}

/** `numbers`, `numbers@layers`, or the legacy form `1,1:10`: numbers between commas, then `:layers`. */
function readSegment(segment: Span): Segment {
  const [numbers, layers, ...surplus] = split(segment, /@/g);
  if (surplus.length > 0) throw fault('separator', 'A stage takes one @ with its number of layers.', surplus[0]);
  if (!numbers.text.includes(',') || !numbers.text.includes(':')) {
    const weights = split(numbers, /[:,]/g).map(readWeight);
    return { ...segment, weights, layers: layers && readLayers(layers) };
  }
  const [members, legacyLayers, ...more] = split(numbers, /:/g);
  if (layers || more.length > 0 || !/^\d+$/.test(legacyLayers.text) || !members.text.includes(',')) {
    throw fault(
      'separator',
      "This stage mixes ':' and ','; separate its members by one of them, and write its layers as @n.",
      numbers,
    );
  }
  return { ...segment, weights: split(members, /,/g).map(readWeight), layers: readLayers(legacyLayers) };
}

function readWeight(span: Span): Weight {
  if (span.text === '') throw fault('empty', 'A weight is missing here.', span);
  if (!/^(\d+\.?\d*|\.\d+)$/.test(span.text)) {
    throw fault('number', `"${excerpt(span.text)}" is no weight; write a number such as 2, 0.5 or 0.`, span);
  }
  const value = Number(span.text);
  if (value > LARGEST_WEIGHT || (value < SMALLEST_WEIGHT && /[1-9]/.test(span.text))) {
    throw fault(
      'number',
      `A weight is 0 or between 0.000001 and ${LARGEST_WEIGHT}; only their proportions matter.`,
      span,
    );
  }
  return { ...span, value };
}

function readLayers(span: Span): Weight {
  if (span.text === '') throw fault('empty', 'The number of layers is missing here.', span);
  const value = Number(span.text);
  if (!/^\d+$/.test(span.text) || value < 1) {
    throw fault('layers', `"${excerpt(span.text)}" is no number of layers; write a whole number from 1.`, span);
  }
  return { ...span, value };
}

/** Pieces between separators, spaces around them left out. */
function split(span: Span, separator: RegExp): Span[] {
  const pieces: Span[] = [];
  let from = 0;
  const add = (to: number) => {
    const piece = span.text.slice(from, to);
    const text = piece.trim();
    pieces.push({ text, at: span.at + from + (text === '' ? 0 : piece.indexOf(text)) });
  };
  for (const match of span.text.matchAll(separator)) {
    add(match.index);
    from = match.index + 1;
  }
  add(span.text.length);
  return pieces;
}

function fault(code: RatiosErrorCode, message: string, { at, text }: Span): RatiosError {
  return new RatiosError(code, message, at, text.length);
}

function some(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function excerpt(text: string): string {
  return text.length > 24 ? `${text.slice(0, 24)}…` : text;
}
