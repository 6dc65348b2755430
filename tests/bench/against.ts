/** `npm run bench -- peers`: ours, wllama and native llama.cpp in one run on one file, as ratios. */
import { againstPlot, renderAgainst } from './against-report.ts';
import { PEERS, parseSingleOptions, usage } from './options.ts';
import { record, recordPlot, writeResults } from './results.ts';
import { measureSingle } from './single.ts';

export async function main(args: string[]): Promise<void> {
  const options = parseSingleOptions(args, PEERS);
  if (options === 'help') {
    console.log(usage(PEERS));
    return;
  }
  const command = ['npm run bench -- peers', ...args].join(' ');
  const result = await measureSingle(options);
  console.log(`\n${renderAgainst(result, command)}\nAll figures: ${writeResults('peers', result)}`);
  if (options.record) {
    const svg = againstPlot(result);
    const plot = svg && recordPlot('peers', svg, 'Tokens a second of ours, wllama and native llama.cpp');
    console.error(`Written into ${record('peers', renderAgainst(result, command, plot))} and docs/plots/.`);
  }
  if (result.engines.some(({ failure }) => failure)) process.exitCode = 1;
}
