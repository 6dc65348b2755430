/** Model bytes from the address that the host has them from: ranges come from there, columns are cut by the host. */
import { type ByteSource, ModelError } from '../../model/types.ts';

/** @param open opens the address; what cannot be read there is asked of the host */
export function createUrlSource(open: () => Promise<ByteSource>, host: ByteSource): ByteSource {
  let opening: Promise<ByteSource> | undefined;
  const direct = (): Promise<ByteSource> => {
    opening ??= open().then((source) => (source.size === host.size ? source : host));
    return opening;
  };
  return {
    name: host.name,
    size: host.size,
    async read(from, to, signal) {
      try {
        return await (await direct()).read(from, to, signal);
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ModelError)) throw error;
        // Another network, a login, mixed content: the host could read it, so it can pass it on.
        opening = Promise.resolve(host);
        return host.read(from, to, signal);
      }
    },
    ...(host.readStrided && { readStrided: host.readStrided }),
  };
}
