/** How far logits are from the exact ones, on texts whose exact logits are known (`tests/fixtures`, made elsewhere). */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type Golden, type GoldenCase, type Logit, readGolden } from '../support/golden.ts';
import { repoPath } from '../support/node-model.ts';

/** Of the exact eight best logits at every step of the texts. */
export interface Deviation {
  rms: number;
  /** The largest of all. */
  worst: number;
}

export interface RoundingError {
  texts: number;
  steps: number;
  ours: Deviation;
  /** llama.cpp's on the same texts, as recorded with the exact answers, where a logit is among its own eight best too. */
  llamacpp: Deviation;
}

const GOLDEN = 'tests/fixtures/smollm2-135m-instruct.q4_1.json';

/** Texts for this very file; undefined for any other. */
export async function knownTexts(path: string): Promise<GoldenCase[] | undefined> {
  const golden: Golden = readGolden(repoPath(GOLDEN));
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path)) hash.update(bytes as Buffer);
  return hash.digest('hex') === golden.sha256 ? golden.cases : undefined;
}

/**
 * @param answers for each text and step the best tokens with their logits, those of the exact eight among them
 */
export function roundingError(texts: readonly GoldenCase[], answers: readonly Logit[][][]): RoundingError {
  const ours: number[] = [];
  const llamacpp: number[] = [];
  for (const [i, { name, steps }] of texts.entries()) {
    for (const [k, { exact, llamacpp: recorded }] of steps.entries()) {
      const answer = new Map(answers[i]?.[k]);
      const peer = new Map(recorded);
      for (const [token, logit] of exact) {
        const own = answer.get(token);
        if (own === undefined) throw new Error(`${name}, step ${k}: token ${token} is not among the best.`);
        ours.push(own - logit);
        const other = peer.get(token);
        if (other !== undefined) llamacpp.push(other - logit);
      }
    }
  }
  const steps = texts.reduce((sum, text) => sum + text.steps.length, 0);
  return { texts: texts.length, steps, ours: deviation(ours), llamacpp: deviation(llamacpp) };
}

function deviation(differences: readonly number[]): Deviation {
  let squares = 0;
  let worst = 0;
  for (const difference of differences) {
    squares += difference ** 2;
    // Math.max keeps a NaN.
    worst = Math.max(worst, Math.abs(difference));
  }
  return { rms: Math.sqrt(squares / differences.length), worst };
}
