import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { textStream } from '../../web/host/text-stream.ts';
import { toyTokenizer } from './host-toy.ts';

/** Feeds bytes as single-byte tokens; returns what came out at every step and at the end. */
function run(bytes: Iterable<number>, stop: string[]) {
  const stream = textStream(toyTokenizer, stop);
  const pieces = [...bytes].map((byte) => stream.push(byte));
  return { pieces, text: pieces.join('') + stream.end(), stopped: stream.stopped };
}
const bytesOf = (text: string) => new TextEncoder().encode(text);

describe('text of an answer', () => {
  it('comes in whole characters', () => {
    const { pieces, text } = run(bytesOf('aé🐝'), []);
    expect(pieces).toEqual(['a', '', 'é', '', '', '', '🐝']);
    expect(text).toBe('aé🐝');
  });

  it('leaves out a character that never became whole', () => {
    expect(run(bytesOf('bee 🐝').subarray(0, -1), []).text).toBe('bee ');
  });

  it('shows invalid bytes as U+FFFD', () => {
    expect(run([0x61, 0xff, 0x62], []).text).toBe('a\ufffdb');
  });

  it('holds back what may become a stop string, and ends before it', () => {
    const { pieces, text, stopped } = run(bytesOf('one STOtwo STOP three'), ['STOP']);
    expect(pieces.slice(4, 8)).toEqual(['', '', '', 'STOt']);
    expect(text).toBe('one STOtwo ');
    expect(stopped).toBe(true);
  });

  it('gives the held text at the end', () => {
    expect(run(bytesOf('ends with ST'), ['STOP']).text).toBe('ends with ST');
  });

  it('does not depend on how the text is cut into tokens', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'é', '🐝'), maxLength: 30 });
    const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '🐝'), minLength: 1, maxLength: 4 }), {
      maxLength: 3,
    });
    fc.assert(
      fc.property(letters, stops, fc.array(fc.nat(6)), (text, stop, lengths) => {
        // Tokens of several bytes: a tokenizer whose token n is the n-th run of the cut.
        const bytes = bytesOf(text);
        const runs: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = 1 + (lengths[i] ?? 0);
          runs.push(bytes.subarray(at, at + length));
          at += length;
        }
        const stream = textStream({ ...toyTokenizer, bytes: (id) => runs[id]! }, stop);
        const cut = runs.map((_, i) => stream.push(i)).join('') + stream.end();
        expect(cut).toBe(run(bytes, stop).text);
        const ends = stop.filter((s) => text.includes(s)).map((s) => text.indexOf(s) + s.length);
        expect(stream.stopped).toBe(ends.length > 0);
        if (ends.length === 0) expect(cut).toBe(text);
        else expect(text.startsWith(cut) && cut.length < Math.min(...ends)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
