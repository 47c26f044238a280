import { isIPv4, isIPv6 } from 'node:net';

/** Whether only this machine can reach what listens at this address. */
export function isLoopbackAddress(host: string): boolean {
  // A socket of both versions of IP names an address of the older one as one of the newer.
  return host === 'localhost' || host === '::1' || /^(?:::ffff:)?127(\.\d{1,3}){3}$/.test(host);
}

/**
 * What is counted as one caller: an IPv4 address, also one that is written as IPv6 by a socket of both versions
 * or by NAT64 (RFC 6052), or the /64 of an IPv6 address, since everybody has that many. Anything else stands
 * for itself.
 */
export function networkOf(address: string): string {
  const [bare = ''] = address.split('%');
  if (isIPv4(bare) || !isIPv6(bare)) return address;
  const groups = groupsOf(bare);
  const [high = 0, low = 0] = groups.slice(6);
  const prefix = groups
    .slice(0, 6)
    .map((group) => group.toString(16))
    .join(':');
  if (ofIPv4.has(prefix)) return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
  const network = groups.slice(0, 4).map((group) => group.toString(16));
  return `${network.join(':')}::/64`;
}

/** What stands before an IPv4 address. */
const ofIPv4: ReadonlySet<string> = new Set(['0:0:0:0:0:ffff', '64:ff9b:0:0:0:0']);

/** The eight groups of an IPv6 address, of which there is more than one way to write it. */
function groupsOf(address: string): number[] {
  const written = new URL(`http://[${address}]`).hostname.slice(1, -1);
  const [head = '', tail = ''] = written.split('::');
  const front = head.split(':').filter((group) => group !== '');
  const back = tail.split(':').filter((group) => group !== '');
  const left = Array.from({ length: 8 - front.length - back.length }, () => '0');
  return [...front, ...left, ...back].map((group) => parseInt(group, 16));
}
