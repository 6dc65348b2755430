import type { EdgeVisor } from '../api.ts';
import { openConversations } from '../host/conversations.ts';
import { HostApp } from './host-app.ts';
import { parseQuery } from './state/query.ts';
import { SettingsStore } from './state/settings.ts';

/** Puts the application in the place of the start-up text, and starts it. Rejects when it cannot be drawn. */
export const startHostPage = async (handle: EdgeVisor): Promise<void> => {
  const { model, profile = false, ...engine } = parseQuery(location.search);
  const settings = new SettingsStore();
  settings.set(engine, { keep: false });
  const { store, problem } = await openConversations();
  const app = new HostApp({ handle, settings, store, storeProblem: problem, model, profile });
  document.body.append(app);
  await app.updateComplete;
  document.getElementById('startup')?.remove();
  document.documentElement.dataset.started = '';
  await app.start();
};
