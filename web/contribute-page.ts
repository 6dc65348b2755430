/** Entry of index.html: the handle first, so that scripts find it at once; then the page around it. */
import { createContributeHandle } from './contribute/handle.ts';
import { showStartFailure } from './start-failure.ts';

const handle = createContributeHandle();
Object.assign(window, { edgevisor: handle });

try {
  const { startContributePage } = await import('./components/contribute/start-contribute-page.ts');
  await startContributePage(handle);
} catch (error) {
  showStartFailure(error);
}
