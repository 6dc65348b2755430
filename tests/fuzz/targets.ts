/** The table of targets. To add one: a file of its name in `targets/` that exports `make: MakeTarget`, and a line here. */

export interface TargetEntry {
  /** What is given to what, in words. */
  about: string;
  /** Memory that its cases may take, in MiB. */
  memoryMb: number;
}

/** Address of a target's module, for `import()`. */
export const moduleOf = (name: string): string => new URL(`./targets/${name}.ts`, import.meta.url).href;

export const TARGETS: Readonly<Record<string, TargetEntry>> = {
  gguf: {
    about: 'headers of GGUF files, damaged and made up',
    memoryMb: 256,
  },
  'distributed-llama': {
    about: 'models and tokenizers of distributed-llama, damaged and made up, and texts to cut',
    memoryMb: 256,
  },
  tokenizer: {
    about: 'vocabularies, merges, scores, and texts to cut',
    memoryMb: 256,
  },
  template: {
    about: 'chat templates, as programs of their own language and as noise',
    memoryMb: 512,
  },
  frames: {
    about: 'messages on all channels of a link, and on the pulse',
    memoryMb: 256,
  },
  payloads: {
    about: 'payloads of frames: numbers, wishes, candidates, KV, pieces of bulk',
    memoryMb: 256,
  },
  control: {
    about: 'control messages, to a device and to the host',
    memoryMb: 256,
  },
  members: {
    about: 'what a host may say to a device, and a device to its host, in any order',
    memoryMb: 512,
  },
  signaling: {
    about: 'conversations of pages with the rooms of the server',
    memoryMb: 256,
  },
  signals: {
    about: 'what the server and other members send to a page',
    memoryMb: 256,
  },
  relay: {
    about: 'greetings and messages at the relay',
    memoryMb: 256,
  },
  'plan-socket': {
    about: 'request lines of the plan socket',
    memoryMb: 256,
  },
  http: {
    about: 'requests for pages, models, ranges and columns, with any path and header',
    memoryMb: 256,
  },
  address: {
    about: "ratios, and the queries of the pages' addresses",
    memoryMb: 256,
  },
};
