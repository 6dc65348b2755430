/**
 * What the elements ask of the page. Data goes down as properties, wishes come up as these events; they cross shadow
 * roots, so that the application's element hears them all.
 */
import type { LoadOptions } from '../api.ts';
import type { Settings } from './state/settings.ts';

export interface PageEvents {
  'load-model': LoadOptions['model'];
  'load-files': File[];
  'unload-model': undefined;
  'reload-model': undefined;
  'retry-load': undefined;
  'dismiss-failure': undefined;
  'refresh-models': undefined;
  'show-models': undefined;
  'delete-stored': string;
  setting: Partial<Settings>;
  'new-chat': undefined;
  'select-chat': string;
  'rename-chat': { id: string; title: string };
  'delete-chat': string;
  'send-message': string;
  'edit-message': { index: number; text: string };
  regenerate: undefined;
  'resume-answer': undefined;
  'stop-answer': undefined;
  announce: string;
}

/** Asks the page for something. */
export const ask = <E extends keyof PageEvents>(from: EventTarget, name: E, detail: PageEvents[E]): void => {
  from.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
};
