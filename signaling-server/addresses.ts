import { hostname, networkInterfaces } from 'node:os';

/** Interfaces of containers, virtual machines and tunnels: no phone of the household reaches us over them. */
const NOT_THE_HOUSEHOLD = /^(docker|br-|veth|virbr|vmnet|vboxnet|utun|tun|tap|wg|vEthernet)/;

/** IPv4 addresses of this machine on its networks, without loopback; those of the household's network first. */
export function networkAddresses(): string[] {
  const found = Object.entries(networkInterfaces()).flatMap(([name, entries]) =>
    (entries ?? [])
      .filter((entry) => entry.family === 'IPv4' && !entry.internal)
      .map((entry) => ({ address: entry.address, rank: NOT_THE_HOUSEHOLD.test(name) ? 1 : 0 })),
  );
  return found.sort((a, b) => a.rank - b.rank).map(({ address }) => address);
}

/** Names under which this machine may be asked for. */
export function hostNames(): string[] {
  const name = hostname().toLowerCase();
  const short = name.split('.')[0]!;
  return [...new Set(['localhost', name, `${short}.local`])];
}
