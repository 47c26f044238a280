import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';

/**
 * The tokens of private-api. The operator's is the secret itself; every service has one of its own
 * that is derived from it, `<kind>.<name>.<HMAC-SHA-256>`: private-api needs no list of them, and a
 * stolen one tells nothing about another. A process that runs several consumers derives theirs from its own,
 * `consumer.<name>/<part>.<HMAC-SHA-256>`.
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

/** With which public-api hands calls on to rpc-gateway. It opens nothing at private-api. */
export function relayToken(operatorToken: string): string {
  return serviceToken(operatorToken, 'relay', '-');
}

/** Of the consumer of this name, and of the process of this name whose consumers are parts of it. */
export function consumerToken(operatorToken: string, name: string): string {
  return serviceToken(operatorToken, 'consumer', name);
}

/**
 * Of one consumer of a process, whose token is given: `<name>-<part>`. `part`: `cpu` or `gpu-…` of letters,
 * digits and `-`, so that the name of one process can hardly begin with that of another and a part.
 */
export function partToken(processToken: string, part: string): string {
  const name = consumerNameOf(processToken);
  if (name === undefined || !partForm.test(part)) throw new TypeError('no token of a process');
  return `consumer.${name}/${part}.${macOf(macPartOf(processToken), part)}`;
}

/** Of a token that `consumerToken` made. */
export function consumerNameOf(token: string): string | undefined {
  return /^consumer\.([A-Za-z0-9_.-]+)\.[A-Za-z0-9_-]+$/.exec(token)?.[1];
}

/** Whose token it is, or undefined when it is nobody's. */
export function verifyToken(operatorToken: string, token: string): Principal | undefined {
  if (equal(token, operatorToken)) return { kind: 'operator' };
  const [, kind, name = '', part] = tokenForm.exec(token) ?? [];
  if (kind === undefined) return undefined;
  const whole = serviceToken(operatorToken, kind, name);
  if (part !== undefined) {
    if (kind !== 'consumer' || !partForm.test(part)) return undefined;
    return equal(token, partToken(whole, part))
      ? { kind, consumerId: `${name}-${part}` }
      : undefined;
  }
  if (!equal(token, whole)) return undefined;
  if (kind === 'consumer') return { kind, consumerId: name };
  return { kind: kind === 'public-api' ? kind : 'rpc-gateway' };
}

const tokenForm =
  /^(public-api|rpc-gateway|consumer)\.([A-Za-z0-9_.-]+)(?:\/([A-Za-z0-9-]+))?\.[A-Za-z0-9_-]+$/;
const partForm = /^(?:cpu|gpu-[A-Za-z0-9-]+)$/;

function serviceToken(operatorToken: string, kind: string, name: string): string {
  return `${kind}.${name}.${macOf(operatorToken, `${kind}.${name}`)}`;
}

function macPartOf(token: string): string {
  return token.slice(token.lastIndexOf('.') + 1);
}

function macOf(key: string, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url');
}

/** In constant time for tokens of one length; the length of a token is no secret. */
function equal(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
