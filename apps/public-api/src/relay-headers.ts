import type { IncomingHttpHeaders } from 'node:http';
import {
  callerHeader,
  oipLengthHeader,
  writeCaller,
  type CallerIdentity,
} from '@inference-server/contracts';

/** The headers of a request that private-api gets to see. */
export const passedOn = [
  'accept',
  'accept-encoding',
  'content-length',
  'content-type',
  'idempotency-key',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  oipLengthHeader,
  'range',
  'user-agent',
];

/**
 * Only what describes the request goes on. The caller's credentials and whatever could be read as
 * our word about the caller (X-Forwarded-…) stay here, and so does Expect, which is answered here.
 */
export function requestHeaders(
  headers: IncomingHttpHeaders,
  token: string,
  caller: CallerIdentity,
): IncomingHttpHeaders {
  const rewritten: IncomingHttpHeaders = {
    authorization: `Bearer ${token}`,
    [callerHeader]: writeCaller(caller),
  };
  for (const name of passedOn) {
    if (headers[name] !== undefined) rewritten[name] = headers[name];
  }
  return rewritten;
}

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Lists to which each process adds the limits that it counts itself. */
const ofLimits = ['ratelimit-policy', 'ratelimit'];

/**
 * The answer's headers without those that belong to the connection it came over; its limits behind those of
 * `own`, which stand there already.
 */
export function answerHeaders(
  headers: IncomingHttpHeaders,
  own: Readonly<Record<string, unknown>>,
): IncomingHttpHeaders {
  const named = (headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase());
  const passed = Object.entries(headers).filter(
    ([name]) => !hopByHop.has(name) && !named.includes(name),
  );
  const joined = passed.map(([name, value]) => {
    const before = ofLimits.includes(name) ? own[name] : undefined;
    return [name, typeof before === 'string' ? `${before}, ${String(value)}` : value] as const;
  });
  return Object.fromEntries(joined);
}
