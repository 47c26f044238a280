import type { FastifyRequest } from 'fastify';
import { isLoopbackAddress } from '@inference-server/service-kit';

/**
 * Whether a request comes from this machine, as far as can be seen, whatever `Host` says: a proxy may send any.
 * What came through one is from here only if it is one of TRUSTED_PROXIES, and says so.
 */
export function isFromHere({ ip, ips = [], headers, socket }: FastifyRequest): boolean {
  const isLocal = isLoopbackAddress(ip) && isLoopbackAddress(socket.remoteAddress ?? '');
  const isByProxy = Object.keys(headers).some((name) => ofProxies.test(name));
  // The first is the peer itself; there are others when it is one whose word is believed.
  const isTold = ips.length > 1;
  return isLocal && (!isByProxy || isTold);
}

const ofProxies = /^(?:forwarded|via|x-real-ip|x-forwarded-.+)$/;
