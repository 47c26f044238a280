import { isIP } from 'node:net';
import type { FastifyRequest } from 'fastify';

/**
 * Where a request comes from: what the last of the proxies that are believed says. When that is no address,
 * it is that proxy's own.
 */
export function callerAddress({ ip, ips = [ip], socket }: FastifyRequest): string {
  return ips.findLast((address) => isIP(address) !== 0) ?? socket.remoteAddress ?? 'unknown';
}
