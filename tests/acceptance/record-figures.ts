/** A record's sections of figures: token by token, and device by device. */
import type { Pass } from '../../web/api.ts';
import { table } from '../bench/table.ts';
import { kilobytes, quoted } from './markdown.ts';
import type { Evidence } from './play.ts';

const RESTS = {
  together:
    'sync is waiting for the partial sums of the other members of its stage; what is left of a token is the way between stages and sampling.',
  alone: 'the rest is sampling and the way to the page.',
};

export function tokens({ generation, tokens: seen, passes }: Evidence): string[] {
  const { promptTokens, prefillMs, gapsMs } = generation.timings;
  const together = passes.length > 1;
  const heads = ['token', 'text', 'id', 'ms', 'epoch'];
  for (const { device } of passes)
    heads.push(...(together ? [`exec + sync ms, ${device}`, `kB out / in, ${device}`] : ['exec ms']));
  const rows = seen.map(({ id, text }, i) => {
    // The first token comes of the prompt's passes, each other one of the token before.
    const from = i === 0 ? 0 : promptTokens + i - 1;
    const to = i === 0 ? promptTokens : from + 1;
    const own = passes.map(({ passes: all }) => sum(all.filter(({ position }) => position >= from && position < to)));
    return [
      ...[String(i + 1), quoted(text), String(id), (i === 0 ? prefillMs : (gapsMs[i - 1] ?? 0)).toFixed(1)],
      String(own[0]?.epoch ?? ''),
      ...own.flatMap(({ execMs, syncMs, bytesSent, bytesReceived }) =>
        together
          ? [`${execMs.toFixed(1)} + ${syncMs.toFixed(1)}`, `${kilobytes(bytesSent)} / ${kilobytes(bytesReceived)}`]
          : [execMs.toFixed(1)],
      ),
    ];
  });
  const about = [
    'Token 1 has the time from the question to it and all passes over the prompt; the others the time since the one before, and one pass.',
    together ? 'Epoch numbers the plan. Exec is computing, device by device;' : 'Exec is computing;',
    together ? RESTS.together : RESTS.alone,
    ...(together
      ? [
          'Bytes are those of all links of a device since its pass before, so those of a move count with the tokens during which they went.',
        ]
      : []),
    'Text is what a token makes certain: control tokens and unfinished characters show none.',
  ];
  return [about.join(' '), table(heads, rows)];
}

interface PassSum extends Pick<Pass, 'execMs' | 'syncMs' | 'bytesSent' | 'bytesReceived'> {
  epoch: number | undefined;
}

function sum(passes: Pass[]): PassSum {
  const total: PassSum = { epoch: passes.at(-1)?.epoch, execMs: 0, syncMs: 0, bytesSent: 0, bytesReceived: 0 };
  for (const { execMs, syncMs, bytesSent, bytesReceived } of passes) {
    total.execMs += execMs;
    total.syncMs += syncMs;
    total.bytesSent += bytesSent;
    total.bytesReceived += bytesReceived;
  }
  return total;
}

export function devices(evidence: Evidence): string[] {
  return [
    'What `window.edgevisor.status()` says of each when the answer is over. GMAC/s is the matrix-vector speed that was measured when it joined, while other pages were starting too; tokens of the host are those of the answer, of the others all that went through them; kB are all since it joined.',
    statuses(evidence),
    'A decoded token on average:',
    means(evidence),
    'The last forward pass, as the plan socket’s `perf` answers:',
    lastPass(evidence),
    'Attention + FFN of each layer in µs, for one token, as the plan socket’s `layer_prof` answers (asked afterwards: a device that has a stage to itself times its layers only on request):',
    layerTimes(evidence),
  ];
}

const statuses = ({ status }: Evidence): string =>
  table(
    ['device', 'computed by', 'GMAC/s', 'link to the host', 'weights MB', 'KV MB', 'tokens', 'kB out / in'],
    status.devices.map((one) => [
      `${one.index} ${one.name}`,
      one.description ?? one.backend,
      one.gmacs.toFixed(2),
      one.link,
      (one.weightBytes / 1e6).toFixed(1),
      (one.kvBytes / 1e6).toFixed(1),
      String(one.tokens),
      `${kilobytes(one.bytesSent)} / ${kilobytes(one.bytesReceived)}`,
    ]),
  );

function means({ passes, generation }: Evidence): string {
  const rows = passes.map(({ device, passes: all }) => {
    const decoded = all.filter(({ position }) => position >= generation.timings.promptTokens);
    const total = sum(decoded);
    const each = (value: number) => (decoded.length > 0 ? (value / decoded.length).toFixed(2) : '–');
    const bytes = [total.bytesSent, total.bytesReceived].map((value) => each(value / 1000));
    return [String(device), String(decoded.length), each(total.execMs), each(total.syncMs), ...bytes];
  });
  return table(['device', 'tokens', 'exec ms', 'sync ms', 'kB out', 'kB in'], rows);
}

const lastPass = ({ perf }: Evidence): string =>
  table(
    ['stage', 'node', 'position', 'exec µs', 'sync µs'],
    perf.perf.map(({ nodeIndex, stageIndex, position, execUs, syncUs }) =>
      [stageIndex, nodeIndex, position, execUs, syncUs].map(String),
    ),
  );

function layerTimes({ layers: { layer_prof } }: Evidence): string {
  const nodes = [...new Set(layer_prof.layers.flat().map(({ nodeIndex }) => nodeIndex))].sort((a, b) => a - b);
  const rows = layer_prof.layers.map((row, layer) => [
    String(layer),
    ...nodes.map((node) => {
      const found = row.find(({ nodeIndex }) => nodeIndex === node);
      return found?.ok ? `${found.attnUs} + ${found.ffnUs}` : '';
    }),
  ]);
  return table(['layer', ...nodes.map((node) => `node ${node}`)], rows);
}
