import { lookup, type LookupAddress, type LookupOptions } from 'node:dns';
import { BlockList, isIP } from 'node:net';

/** What only this machine, its networks, or nobody has (the registries of IANA, RFC 6890). */
const special = new BlockList();
for (const [network, bits] of [
  ...([
    ['0.0.0.0', 8],
    ['10.0.0.0', 8],
    ['100.64.0.0', 10],
    ['127.0.0.0', 8],
  ] as const),
  ...([
    ['169.254.0.0', 16],
    ['172.16.0.0', 12],
    ['192.0.0.0', 24],
    ['192.0.2.0', 24],
  ] as const),
  ...([
    ['192.88.99.0', 24],
    ['192.168.0.0', 16],
    ['198.18.0.0', 15],
  ] as const),
  ...([
    ['198.51.100.0', 24],
    ['203.0.113.0', 24],
    ['224.0.0.0', 3],
  ] as const),
] as const) {
  special.addSubnet(network, bits, 'ipv4');
}

/** Of IPv6 only what is given out for the internet, but for documents and what carries addresses of IPv4. */
const worldwide = new BlockList();
worldwide.addSubnet('2000::', 3, 'ipv6');
for (const [network, bits] of [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
] as const) {
  special.addSubnet(network, bits, 'ipv6');
}

export function isPublicAddress(address: string): boolean {
  const [bare = ''] = address.split('%');
  switch (isIP(bare)) {
    case 4:
      return !special.check(bare, 'ipv4');
    case 6:
      return worldwide.check(bare, 'ipv6') && !special.check(bare, 'ipv6');
    default:
      return false;
  }
}

type Answered = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/** As `lookup` of node:dns, of the very connection: a name has no time to become another address. */
export function lookupPublic(name: string, options: LookupOptions, answered: Answered): void {
  lookup(name, { ...options, all: true }, (error, addresses) => {
    if (error !== null) {
      answered(error, []);
      return;
    }
    const open = addresses.filter(({ address }) => isPublicAddress(address));
    const [first] = open;
    if (first === undefined) {
      answered(Object.assign(new Error('no public address'), { code: notPublic }), []);
    } else if (options.all === true) answered(null, open);
    else answered(null, first.address, first.family);
  });
}

export const notPublic = 'ERR_ADDRESS_NOT_PUBLIC';
