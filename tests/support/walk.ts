/** Known text, forwarded token by token while plans change under it: every logit must be that of one device. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import type { OpenedModel } from '../../web/host/open-model.ts';
import { readModel } from '../../web/host/open-model.ts';
import type { Session } from '../../web/host/session.ts';
import { bytesSource } from '../../web/model/sources.ts';
import { readGolden } from './golden.ts';
import { playMesh } from './mesh-in-process.ts';
import { repoPath } from './node-model.ts';

/** A small model with a text, and the logits of one device after each of its tokens. */
export interface Course {
  model: OpenedModel;
  ids: number[];
  /** Length of the prompt; the model's own greedy continuation follows. */
  prompt: number;
  logits: Float32Array[];
}

/**
 * Sums of partial sums in another order differ a little: by up to 0.005 for the models here, with f32 on the wire.
 * Wrong KV or a wrong share differ by whole units.
 */
export const TOLERANCE = 0.02;

export async function course(name: string, text = 'ids33'): Promise<Course> {
  const golden = readGolden(repoPath(`tests/fixtures/${name}.json`)).cases.find((one) => one.name === text);
  if (!golden) throw new Error(`${name} has no case ${text}`);
  const model = await readModel(bytesSource(readFileSync(repoPath(`tests/fixtures/${name}.gguf`)), `${name}.gguf`));
  const ids = [...golden.ids, ...golden.greedy];
  const alone = playMesh({ model });
  const { conductor } = await alone.load();
  const logits: Float32Array[] = [];
  for (let at = 0; at < ids.length; at++) logits.push(await forward(conductor.runner, ids.slice(at, at + 1), at));
  await alone.close();
  return { model, ids, prompt: golden.ids.length, logits };
}

async function forward(runner: Session['conductor']['runner'], ids: number[], position: number) {
  const want = { positions: 'last', top: 1, temperature: 0, full: true } as const;
  const { full } = await runner.forward(Uint32Array.from(ids), position, want);
  if (!full) throw new Error('no logits came');
  return full.slice();
}

export interface Walk {
  /** Tokens forwarded so far. */
  readonly at: number;
  /** Forwards the next tokens together, and compares the logits of the last one. */
  step(tokens?: number): Promise<void>;
  /** Goes on from an earlier place, as another conversation does. */
  back(to: number): void;
}

/** Goes along a course under a session's plans. */
export function walk({ ids, logits, prompt }: Course, session: Session, tolerance = TOLERANCE): Walk {
  const { runner } = session.conductor;
  let at = 0;
  return {
    get at() {
      return at;
    },
    async step(tokens = at === 0 ? prompt : 1) {
      if (at + tokens > ids.length) throw new Error('the text has ended');
      const from = at;
      at += tokens;
      for (let start = from; start < at; start += runner.maxBatch) {
        const end = Math.min(at, start + runner.maxBatch);
        const got = await forward(runner, ids.slice(start, end), start);
        const off = got.reduce((worst, value, i) => Math.max(worst, Math.abs(value - logits[end - 1][i])), 0);
        expect(off, `logits after token ${end - 1}`).toBeLessThan(tolerance);
      }
    },
    back(to) {
      at = to;
    },
  };
}
