import type { FastifyInstance, FastifyRequest } from 'fastify';
import {
  callerHeader,
  includesRole,
  isForAllOwners,
  readCaller,
  type CallerIdentity,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { stranger, verifyToken, type Principal } from '@inference-server/service-kit';

declare module 'fastify' {
  interface FastifyRequest {
    principal?: Principal;
    /** Whose request it is, of a route that is reached from outside. */
    caller?: CallerIdentity | undefined;
  }
}

/**
 * Lets a request through when its route's contract names the kind of its token, and, where a door acts
 * for somebody, the role of that one. A consumer's token opens only what names that consumer.
 */
export function requireTokens(app: FastifyInstance, operatorToken: string): void {
  app.addHook('onRequest', async (request) => {
    const { contract } = request.routeOptions.config;
    // Pages and documents have no contract and are open; so is the answer to an unknown address.
    if (contract === undefined || contract.callers.includes('anyone')) return;
    const principal = verifyToken(operatorToken, bearerOf(request));
    if (principal === undefined) {
      throw new AppError('UNAUTHORIZED', 'A valid token is needed: Authorization: Bearer ….');
    }
    request.principal = principal;
    if (!contract.callers.includes(principal.kind)) {
      throw new AppError('FORBIDDEN', 'This token does not open this route.');
    }
    request.caller = identityOf(request, principal, contract);
    requireRole(request.caller, contract);
    const { consumer_id: consumerId } = request.params as { consumer_id?: string };
    const isStrange = principal.kind === 'consumer' && principal.consumerId !== consumerId;
    if (consumerId !== undefined && isStrange) {
      throw new AppError('FORBIDDEN', 'This token belongs to another consumer.');
    }
  });
}

/** The consumer whose token the request carries. */
export function consumerIdOf({ principal }: FastifyRequest): string {
  if (principal?.kind !== 'consumer') {
    throw new AppError('FORBIDDEN', "Only a consumer's token opens this route.");
  }
  return principal.consumerId;
}

/** Whose request it is: of the one whom a door acts for, or the operator's. */
export function callerOf({ caller }: FastifyRequest): CallerIdentity {
  if (caller === undefined) throw new AppError('FORBIDDEN', 'Nobody is said to be acted for.');
  return caller;
}

/** Whose tasks and models alone the request may see and change; null: everybody's. */
export function ownerFilterOf(request: FastifyRequest): string | null {
  const { owner, role } = callerOf(request);
  return isForAllOwners(role) ? null : owner;
}

/** Who was refused, for the audit; undefined: a door asked for itself, and notes whom it refuses. */
export function refusedOf({ principal, caller, ip, routeOptions }: FastifyRequest) {
  if (caller !== undefined) return caller;
  if (principal === undefined) return { ...stranger, address: ip };
  const { kind } = principal;
  const isTheirs = routeOptions.config.contract?.callers.includes(kind) === true;
  if (isDoor(principal) && isTheirs) return undefined;
  const name = kind === 'consumer' ? `consumer:${principal.consumerId}` : kind;
  return { owner: name, credential: name, address: ip };
}

/** Whether it acts for somebody. */
function isDoor({ kind }: Principal): boolean {
  return kind === 'public-api' || kind === 'rpc-gateway';
}

function identityOf(
  request: FastifyRequest,
  principal: Principal,
  { access }: RouteContract,
): CallerIdentity | undefined {
  const said = request.headers[callerHeader];
  if (!isDoor(principal)) {
    if (said !== undefined) {
      throw new AppError('FORBIDDEN', 'Only public-api and rpc-gateway may say whom they act for.');
    }
    const address = request.ip;
    return principal.kind === 'operator'
      ? { owner: 'operator', role: 'admin', credential: 'operator', address }
      : undefined;
  }
  // What a door asks for itself.
  if (access === 'internal') return undefined;
  const caller = typeof said === 'string' ? readCaller(said) : undefined;
  if (caller === undefined) {
    throw new AppError('VALIDATION_FAILED', `${callerHeader} is missing or out of form.`, {
      extensions: { parameter: callerHeader },
    });
  }
  return caller;
}

/** Of nobody in particular, a consumer or a door itself, there is none. */
function requireRole(caller: CallerIdentity | undefined, { access }: RouteContract): void {
  if (caller === undefined) return;
  if (access === 'open' || access === 'internal' || includesRole(caller.role, access)) return;
  throw new AppError('FORBIDDEN', `This needs the role ${access}.`);
}

function bearerOf(request: FastifyRequest): string {
  return /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
}
