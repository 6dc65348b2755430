/** Where other devices reach this server, and the link that they are given. */
import * as v from 'valibot';

/** `/addresses.json` of the server: origins, the best first, localhost last. */
export interface Addresses {
  http: string[];
  https: string[];
}

const AddressesSchema = v.object({
  http: v.array(v.pipe(v.string(), v.url())),
  https: v.array(v.pipe(v.string(), v.url())),
});

/** Rejects when the server does not answer, or not with addresses. */
export async function fetchAddresses(): Promise<Addresses> {
  const response = await fetch('/addresses.json');
  if (!response.ok) throw new Error(`The server answered ${response.status} when asked for its addresses.`);
  return v.parse(AddressesSchema, await response.json());
}

export const isLoopback = (hostname: string): boolean =>
  hostname === 'localhost' ||
  hostname.endsWith('.localhost') ||
  hostname === '[::1]' ||
  /^127(\.\d{1,3}){3}$/.test(hostname);

const reachable = (origins: readonly string[]): string | undefined =>
  origins.find((origin) => !isLoopback(new URL(origin).hostname));

/** The https origin for a page that is open by plain http: this host's own if it has one, else the best. */
export function secureOrigin(hostname: string, { https }: Addresses): string | undefined {
  return https.find((origin) => new URL(origin).hostname === hostname) ?? reachable(https);
}

export interface Invitation {
  link: string;
  /**
   * `whole`: phones can open it and use all they have. `plain`: they can open it, but without encryption, so with one
   * thread and no WebGPU. `local`: only this machine can open it.
   */
  reach: 'whole' | 'plain' | 'local';
  /** The same room for another tab of this machine, where that is another link. */
  here: string | undefined;
}

/** Another device's link to the room: localhost is nothing to a phone, and plain http takes its best away. */
export function invitation(link: string, { http, https }: Addresses): Invitation {
  const url = new URL(link);
  const local = isLoopback(url.hostname);
  const at = (origin: string) => `${origin}${url.pathname}${url.search}${url.hash}`;
  const secure = local ? reachable(https) : secureOrigin(url.hostname, { http, https });
  const here = local ? link : undefined;
  if (!local && url.protocol === 'https:') return { link, reach: 'whole', here };
  if (secure) return { link: at(secure), reach: 'whole', here };
  if (!local) return { link, reach: 'plain', here };
  const plain = reachable(http);
  return plain ? { link: at(plain), reach: 'plain', here } : { link, reach: 'local', here: undefined };
}
