/** What a member of the last stage may answer, and what becomes of one that answers something else. */
import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../../web/device/backend.ts';
import { encodeForwarded } from '../../../web/device/member/wanted-logits.ts';
import type { Forwarded, Want } from '../../../web/device/want.ts';
import { createMeshRunner } from '../../../web/host/mesh/mesh-runner.ts';
import { createFrameBuffer, Kind } from '../../../web/mesh/frames.ts';
import type { Plan } from '../../../web/plan/types.ts';
import { linked, settled } from '../mesh/linked.ts';

const DEVICE = 1;
const VOCAB = 100;
const plan: Plan = {
  epoch: 1,
  stages: [
    {
      layers: [0, 1],
      members: [
        {
          device: DEVICE,
          qHeads: [[0, 1]],
          ffn: [[0, 32]],
          vocab: [
            [0, 60],
            [64, VOCAB],
          ],
        },
      ],
    },
  ],
};
const want: Want = { positions: 'last', top: 2, temperature: 1 };
const right = { ids: Uint32Array.of(3, 99), logits: Float32Array.of(2, 1), logSumExp: 2.5 };

/** A host that has asked for a batch of three tokens, and a device that answers with these bytes. */
async function answered(payload: Uint8Array, wanted: Want | undefined = want) {
  const { a, b } = await linked(0, DEVICE);
  const runner = createMeshRunner({ plan, hyper: { vocab: VOCAB }, context: 64, batch: 8, link: () => a });
  const answer = runner.forward(Uint32Array.of(1, 2, 3), 0, wanted);
  const outcome = answer.then(
    (forwarded) => ({ forwarded, error: undefined }),
    (error: unknown) => ({ forwarded: undefined, error }),
  );
  const reply = () => {
    const buffer = createFrameBuffer(payload.length);
    buffer.payload.set(payload);
    void b.send(
      buffer,
      { kind: Kind.candidates, type: 'f32', slot: 0, epoch: 1, layer: 0, position: 0, rows: 0 },
      payload.length,
    );
  };
  return { link: a, runner, outcome, reply };
}

async function refused(forwarded: Forwarded | Uint8Array, wanted?: Want | undefined) {
  const payload = forwarded instanceof Uint8Array ? forwarded : encodeForwarded(forwarded);
  const { link, reply } = await answered(payload, wanted);
  reply();
  await settled();
  return link.failure;
}

describe('an answer', () => {
  test('of the device’s own rows is taken', async () => {
    const { outcome, reply, link } = await answered(encodeForwarded({ candidates: [right] }));
    reply();
    expect((await outcome).forwarded?.candidates).toEqual([right]);
    expect(link.failure).toBeUndefined();
  });

  test.each<[string, Forwarded | Uint8Array]>([
    ['of a token that the vocabulary does not have', { candidates: [{ ...right, ids: Uint32Array.of(3, VOCAB) }] }],
    ['of a row that another device has', { candidates: [{ ...right, ids: Uint32Array.of(3, 61) }] }],
    ['of more positions than were asked for', { candidates: [right, right] }],
    ['of none', { candidates: [] }],
    ['with logits of the wrong number', { candidates: [right], full: new Float32Array(5) }],
    [
      'of more candidates than it has rows',
      { candidates: [{ ids: new Uint32Array(97), logits: new Float32Array(97), logSumExp: 1 }] },
    ],
    ['that is cut off', encodeForwarded({ candidates: [right] }).slice(0, 20)],
    ['of a billion positions', new Uint8Array(Uint32Array.of(1e9, 0, 0, 0).buffer)],
  ])('%s closes the link', async (_, forwarded) => {
    expect(await refused(forwarded)).toMatchObject({ code: 'malformed', device: DEVICE });
  });

  test.each([
    ['logits', { ...right, logits: Float32Array.of(Number.NaN, 1) }],
    ['infinite logits', { ...right, logits: Float32Array.of(Number.POSITIVE_INFINITY, 1) }],
    ['a sum', { ...right, logSumExp: Number.NaN }],
  ])('with %s that are no numbers fails the pass, and names the device', async (_, candidates) => {
    const { outcome, reply } = await answered(encodeForwarded({ candidates: [candidates] }));
    reply();
    const { error } = await outcome;
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({ code: 'wrong-numbers', cause: { device: DEVICE } });
  });

  test('that comes after the pass has failed is nobody’s fault', async () => {
    const { runner, outcome, reply, link } = await answered(encodeForwarded({ candidates: [right] }));
    runner.fail(new DeviceError('lost', 'another device is gone'));
    reply();
    await settled();
    expect((await outcome).error).toMatchObject({ code: 'lost' });
    expect(link.failure).toBeUndefined();
  });
});
