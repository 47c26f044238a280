import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  anonymousOwner,
  hasFormOfCredential,
  includesRole,
  type CallerIdentity,
  type IdentifiedCaller,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  callerAddress,
  createRevocationWatch,
  type CallerDirectory,
} from '@inference-server/service-kit';

import type { PublicApiConfig } from '../config.js';
import { isFromHere } from '../local-caller.js';

import type { Rates } from './rates.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Who calls, as soon as it is known, whether they may or not. */
    caller?: CallerIdentity;
    /** Aborts when what the caller has shown is good no more. */
    revoked?: AbortSignal;
  }
}

type AuthOptions = Pick<PublicApiConfig, 'anonymousRole' | 'allowPublicPostModel'> & {
  /** Whether other machines can reach this server. */
  isExposed: boolean;
  directory: CallerDirectory;
  rates: Rates;
};

/**
 * Refuses, before a byte of the body is read, what the caller may not do: 401 for a caller that
 * nobody knows, 403 for a known one without the right.
 */
export function authorizeCallers(app: FastifyInstance, options: AuthOptions): CallerCheck {
  const watch = createRevocationWatch(options.directory);
  app.addHook('onClose', async () => watch.close());

  app.addHook('onRequest', async (request, reply) => {
    const { contract } = request.routeOptions.config;
    // Without a contract: the pages of the documentation, and addresses where nothing is.
    if (contract === undefined || contract.callers.includes('anyone')) return;
    const { bearer, caller } = await check(request, reply, contract);
    if (bearer === undefined) return;
    const lasting = watch.begin(bearer, caller);
    request.revoked = lasting.revoked;
    reply.raw.once('close', lasting.end);
  });

  async function check(request: FastifyRequest, reply: FastifyReply, contract: RouteContract) {
    await refuseBeforeFirstKey(options);
    const bearer = bearerOf(request);
    const shown =
      bearer === undefined
        ? anonymous(request, contract, options)
        : await known(bearer, request, options);
    if (bearer !== undefined) await options.rates.countCaller(request, reply, shown.credential);
    const isToken = bearer?.startsWith('ist_') === true;
    // Before the right is looked at: the audit tells who was refused.
    const caller = identityOf(shown);
    request.caller = caller;
    requireRight(shown, contract, request, { ...options, isToken });
    return { bearer, caller };
  }

  return async (request, reply, contract) => (await check(request, reply, contract)).caller;
}

/** Who sends a request, for a route that it would also ask: throws what that would be refused with. */
export type CallerCheck = (
  request: FastifyRequest,
  reply: FastifyReply,
  contract: RouteContract,
) => Promise<CallerIdentity>;

function requireRight(
  caller: CallerIdentity | IdentifiedCaller,
  { access, object }: RouteContract,
  request: FastifyRequest,
  {
    allowPublicPostModel,
    isToken,
  }: Pick<AuthOptions, 'allowPublicPostModel'> & { isToken: boolean },
): void {
  // One that made another would never end, and be for more than it is for.
  if (access === 'open' && isToken) {
    throw new AppError('FORBIDDEN', 'A token gets no other token: show a key, or log in.');
  }
  if (access === 'open' || access === 'internal') return;
  const onlyModel = 'human_readable_id' in caller ? caller.human_readable_id : null;
  const { human_readable_id: named } = request.params as { human_readable_id?: string };
  if (onlyModel !== null && !(access === 'submit' && object === 'model' && named === onlyModel)) {
    throw new AppError('FORBIDDEN', 'The token is for one model, and for nothing else.');
  }
  if (access === 'publish' && !allowPublicPostModel) {
    throw new AppError(
      'FORBIDDEN',
      'Models cannot be changed from outside: ALLOW_PUBLIC_POST_MODEL is not set.',
    );
  }
  if (!includesRole(caller.role, access)) {
    throw new AppError('FORBIDDEN', `This needs the role ${access}.`);
  }
}

/** The same that private-api is told. */
function identityOf({ owner, role, credential, address }: CallerIdentity): CallerIdentity {
  return { owner, role, credential, address };
}

/** The key or token of a request: `Authorization: Bearer …` or `X-Token: …`; undefined: none. */
function bearerOf({ headers }: FastifyRequest): string | undefined {
  const { authorization } = headers;
  const token = headers['x-token'];
  const isToken = typeof token === 'string' && /^\S{1,2000}$/.test(token);
  const bearer = /^Bearer +(\S{1,2000})$/i.exec(authorization ?? '')?.[1];
  const isOutOfForm = authorization !== undefined && bearer === undefined;
  if (isOutOfForm || (token !== undefined && !isToken)) throw unknown();
  if (bearer !== undefined && isToken && token !== bearer) throw unknown();
  return bearer ?? (isToken ? token : undefined);
}

/**
 * A server that others can reach opens nothing, be it by a password or a token, until somebody who has its
 * files or the operator's token has made the first key.
 */
async function refuseBeforeFirstKey({ isExposed, directory }: AuthOptions): Promise<void> {
  if (isExposed && !(await directory.hasKeys())) {
    throw new AppError(
      'FORBIDDEN',
      'This server is not set up yet: an operator must make the first key.',
    );
  }
}

/**
 * Who shows a key or token. Where much was shown that opens nothing, only what has opened lately is looked
 * at; what is no key or token at all is not asked for. Throws UNAUTHORIZED, TOO_MANY_REQUESTS.
 */
async function known(
  bearer: string,
  request: FastifyRequest,
  { directory, rates }: AuthOptions,
): Promise<IdentifiedCaller> {
  if (!hasFormOfCredential(bearer)) throw unknown();
  if (!directory.hasOpened(bearer)) await rates.requireFewRefusals(request);
  try {
    return await directory.identify(bearer, callerAddress(request));
  } catch (error) {
    const isRefused = error instanceof AppError && error.code === 'UNAUTHORIZED';
    if (isRefused) await rates.countRefusal(request);
    throw error;
  }
}

/** A caller who shows nothing, as far as such are let in. */
function anonymous(
  request: FastifyRequest,
  { access }: RouteContract,
  { anonymousRole }: AuthOptions,
): CallerIdentity {
  const caller = {
    owner: anonymousOwner,
    credential: anonymousOwner,
    address: callerAddress(request),
  };
  // Whoever logs in shows it in the body.
  if (access === 'open') return { ...caller, role: 'submit' };
  if (anonymousRole === 'none') throw new AppError('UNAUTHORIZED', 'Credentials are missing.');
  refuseForeignPages(request);
  if (!isFromHere(request)) {
    throw new AppError(
      'FORBIDDEN',
      'Callers without credentials must call from the machine of the server, and by no proxy.',
    );
  }
  return { ...caller, role: anonymousRole };
}

/**
 * A web page elsewhere must not reach a server on the visitor's own machine: neither by a name of
 * its own that resolves to the loopback address (Host), nor by a script or form of its own (Origin), nor by
 * an image or whatever else is asked for without an Origin (Sec-Fetch-Site). A link there may lead here: what
 * is behind it is shown to the visitor alone.
 */
function refuseForeignPages({ headers, method }: FastifyRequest): void {
  const { host, origin, 'sec-fetch-site': site, 'sec-fetch-dest': destination } = headers;
  if (!isLoopback(host ?? '')) {
    throw new AppError(
      'FORBIDDEN',
      'Callers without credentials must address the server as localhost.',
    );
  }
  const isLink = destination === 'document' && (method === 'GET' || method === 'HEAD');
  const isEmbedded = (site === 'cross-site' || site === 'same-site') && !isLink;
  if (isEmbedded || (origin !== undefined && hostOf(origin) !== host?.toLowerCase())) {
    throw new AppError(
      'FORBIDDEN',
      'Callers without credentials must not come from a page of another site.',
    );
  }
}

function isLoopback(host: string): boolean {
  return /^(?:localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|\[::1\])(?::\d{1,5})?$/i.test(
    host,
  );
}

/** The host and port of a web origin; undefined for `null` and whatever else is none. */
function hostOf(origin: string): string | undefined {
  return /^https?:\/\/([^/?#@\s]+)$/i.exec(origin)?.[1]?.toLowerCase();
}

function unknown(): AppError {
  return new AppError('UNAUTHORIZED', 'The credentials are not known.');
}
