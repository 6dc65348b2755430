/** Entry of host.html: the handle first, so that scripts find it at once; then the page around it. */
import { installHandle } from './host/handle.ts';
import { showStartFailure } from './start-failure.ts';

const handle = installHandle();

try {
  const { startHostPage } = await import('./components/start-host-page.ts');
  await startHostPage(handle);
} catch (error) {
  showStartFailure(error);
}
