import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Access } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { PublicApiConfig } from '../config.js';

type AuthOptions = Pick<PublicApiConfig, 'anonymousRole' | 'allowPublicPostModel'>;

/** What a caller may do; `publish` includes `submit`. */
type Role = 'submit' | 'publish';

/**
 * Refuses, before a byte of the body is read, what the caller may not do: 401 for a caller that
 * nobody knows, 403 for a known one without the right.
 */
export function authorizeCallers(app: FastifyInstance, options: AuthOptions): void {
  app.addHook('onRequest', async (request) => {
    const needed = accessOf(request);
    if (needed === 'open') return;
    const role = identify(request, options);
    if (needed === 'submit') return;
    if (!options.allowPublicPostModel) {
      throw new AppError(
        'FORBIDDEN',
        'Models cannot be changed from outside: ALLOW_PUBLIC_POST_MODEL is not set.',
      );
    }
    if (role !== 'publish') {
      throw new AppError('FORBIDDEN', 'Changing models needs the role publish.');
    }
  });
}

function accessOf(request: FastifyRequest): Access {
  const { contract } = request.routeOptions.config;
  // Without a contract: the pages of the documentation, and addresses where nothing is.
  return contract === undefined ? 'open' : (contract.access ?? 'publish');
}

/** The caller's role. There are no keys: whoever shows one shows a wrong one. */
function identify(request: FastifyRequest, { anonymousRole }: AuthOptions): Role {
  if (request.headers.authorization !== undefined) {
    throw new AppError('UNAUTHORIZED', 'The credentials are not known.');
  }
  if (anonymousRole === 'none') {
    throw new AppError('UNAUTHORIZED', 'Credentials are missing.');
  }
  refuseForeignPages(request);
  return anonymousRole;
}

/**
 * A web page elsewhere must not reach a server on the visitor's own machine: neither by a name of
 * its own that resolves to the loopback address (Host), nor by a script or form of its own (Origin).
 */
function refuseForeignPages({ headers: { host, origin } }: FastifyRequest): void {
  if (!isLoopback(host ?? '')) {
    throw new AppError(
      'FORBIDDEN',
      'Callers without credentials must address the server as localhost.',
    );
  }
  if (origin !== undefined && hostOf(origin) !== host?.toLowerCase()) {
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
