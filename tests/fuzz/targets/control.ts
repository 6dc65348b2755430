import fc from 'fast-check';
import { parseToDevice, parseToHost } from '../../../web/mesh/control.ts';
import { FrameError } from '../../../web/mesh/frames.ts';
import { toDevice, toHost } from '../messages.ts';
import { nearly } from '../nearly.ts';
import { allow, target } from '../target.ts';

export async function make() {
  return target({
    cases: fc.record({ way: fc.constantFrom('device', 'host'), message: nearly([...toDevice, ...toHost]) }),
    run({ way, message }) {
      try {
        if (way === 'device') parseToDevice(message);
        else parseToHost(message);
      } catch (error) {
        allow(error, FrameError);
      }
    },
  });
}
