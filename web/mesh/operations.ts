/** Names of the operations that a device times for a profile; `docs/scripting.md` says what each covers. */
export const OPERATIONS = [
  'embed',
  'attentionNorm',
  'qkv',
  'rope',
  'scores',
  'join',
  'o',
  'ffnNorm',
  'gateUp',
  'act',
  'down',
  'merge',
  'head',
  // Where a backend can time no more than a whole step.
  'attention',
  'ffn',
  'step',
  // Not computing: a sum over the members of a stage.
  'wait',
] as const;

export type Operation = (typeof OPERATIONS)[number];
