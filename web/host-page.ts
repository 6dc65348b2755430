/** Entry of host.html: the handle first, so that scripts find it at once; then the page around it. */
import { installHandle } from './host/handle.ts';

const handle = installHandle();

/** Shows why the page did not come up; `public/startup.js` has the place for it. */
const showFailure = (error: unknown): void => {
  const place = document.getElementById('startup-problem');
  const status = document.getElementById('startup-status');
  if (status) status.textContent = 'The page could not start.';
  if (place) {
    const reason = error instanceof Error ? error.message : String(error);
    place.textContent = `${reason} Reload the page to try again.`;
  }
};

try {
  const { startHostPage } = await import('./components/start-host-page.ts');
  await startHostPage(handle);
} catch (error) {
  showFailure(error);
}
