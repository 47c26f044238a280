import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * The tokens of private-api. The operator's is the secret itself; every service has one of its own
 * that is derived from it, `<kind>.<id>.<HMAC-SHA-256>`: private-api needs no list of them, and a
 * stolen one tells nothing about another.
 */
export type Principal =
  | { kind: 'operator' }
  | { kind: 'public-api' }
  | { kind: 'rpc-gateway' }
  | { kind: 'consumer'; consumerId: string };

export function newOperatorToken(): string {
  return randomBytes(32).toString('base64url');
}

export function publicApiToken(operatorToken: string): string {
  return serviceToken(operatorToken, 'public-api', '-');
}

export function rpcGatewayToken(operatorToken: string): string {
  return serviceToken(operatorToken, 'rpc-gateway', '-');
}

export function consumerToken(operatorToken: string, consumerId: string): string {
  return serviceToken(operatorToken, 'consumer', consumerId);
}

/** Whose token it is, or undefined when it is nobody's. */
export function verifyToken(operatorToken: string, token: string): Principal | undefined {
  if (equal(token, operatorToken)) return { kind: 'operator' };
  const [, kind, id] =
    /^(public-api|rpc-gateway|consumer)\.([A-Za-z0-9_.-]+)\.[A-Za-z0-9_-]+$/.exec(token) ?? [];
  if (kind === undefined || id === undefined) return undefined;
  if (!equal(token, serviceToken(operatorToken, kind, id))) return undefined;
  if (kind === 'consumer') return { kind, consumerId: id };
  return { kind: kind === 'public-api' ? kind : 'rpc-gateway' };
}

function serviceToken(operatorToken: string, kind: string, id: string): string {
  const mac = createHmac('sha256', operatorToken).update(`${kind}.${id}`).digest('base64url');
  return `${kind}.${id}.${mac}`;
}

/** In constant time for tokens of one length; the length of a token is no secret. */
function equal(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
