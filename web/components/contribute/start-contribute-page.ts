import type { ContributeHandle } from '../../api.ts';
import { ContributeApp } from './contribute-app.ts';

/** Puts the application in the place of the start-up text, and starts it. Rejects when it cannot be drawn. */
export const startContributePage = async (handle: ContributeHandle): Promise<void> => {
  const app = new ContributeApp(handle);
  await app.start();
  document.body.append(app);
  await app.updateComplete;
  document.getElementById('startup')?.remove();
  document.documentElement.dataset.started = '';
};
