import type { BackendChoice } from '../../api.ts';
import { clampSetting } from './settings.ts';

/** What the page's address asks for (`docs/scripting.md`). */
export interface PageQuery {
  model?: string;
  backend?: BackendChoice;
  threads?: number;
  context?: number;
  /** Show where the time goes. */
  profile?: boolean;
}

const isBackend = (text: string | null): text is BackendChoice =>
  text === 'auto' || text === 'wasm' || text === 'webgpu';

/** Reads `?model=…&backend=…&threads=…&context=…&profile=1`; a value that means nothing is left out. */
export const parseQuery = (search: string): PageQuery => {
  const parameters = new URLSearchParams(search);
  const model = parameters.get('model');
  const backend = parameters.get('backend');
  const threads = clampSetting('threads', parameters.get('threads') ?? '');
  const context = clampSetting('context', parameters.get('context') ?? '');
  return {
    ...(model ? { model } : {}),
    ...(isBackend(backend) ? { backend } : {}),
    ...(threads === undefined ? {} : { threads }),
    ...(context === undefined ? {} : { context }),
    ...(parameters.get('profile') === '1' ? { profile: true } : {}),
  };
};

/**
 * What a person typed as a model: an address becomes a URL, which the handle then reads by ranges.
 * @throws Error in words for a text that is no http(s) address
 */
export const parseModelAddress = (text: string): URL => {
  const address = text.trim();
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new Error('Type the whole address of a .gguf or .m file, beginning with https:// or http://.');
  }
  return url;
};
