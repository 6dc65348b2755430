/** Entry of index.html: the handle first, so that scripts find it at once; then the page around it. */
import { createContributeHandle } from './contribute/handle.ts';

Object.assign(window, { edgevisor: createContributeHandle() });
