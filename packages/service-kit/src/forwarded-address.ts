import { BlockList, isIP, isIPv6 } from 'node:net';

/** Names that may stand for addresses, as Fastify has them. */
const named: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  linklocal: ['169.254.0.0/16', 'fe80::/10'],
  uniquelocal: ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'],
};

/** Where a call comes from: `forwardedFor` is the header `x-forwarded-for`. */
export type AddressReader = (peerAddress: string, forwardedFor: string | undefined) => string;

/**
 * For doors that are no Fastify: what the last of the proxies that are believed says; when that is no address,
 * that proxy's own. Throws where `trustedProxies` is none.
 */
export function createAddressReader(trustedProxies: readonly string[]): AddressReader {
  const isTrusted = trustOf(trustedProxies);
  return (peerAddress, forwardedFor) => {
    if (forwardedFor === undefined) return peerAddress;
    let address = peerAddress;
    const said = forwardedFor.split(',').map((part) => part.trim());
    while (said.length > 0 && isTrusted(address)) {
      const next = said.pop() ?? '';
      if (isIP(next) === 0) break;
      address = next;
    }
    return address;
  };
}

/** Whether an address is that of a proxy which is believed. Throws where `trustedProxies` is none. */
export function trustOf(trustedProxies: readonly string[]): (address: string) => boolean {
  const trusted = new BlockList();
  for (const range of trustedProxies.flatMap((one) => named[one] ?? one)) {
    const [address = '', bits] = range.split('/');
    const type = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) trusted.addAddress(address, type);
    else trusted.addSubnet(address, Number(bits), type);
  }
  return (address) => trusted.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}
