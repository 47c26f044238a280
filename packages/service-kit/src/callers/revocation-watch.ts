import { includesRole, type CallerIdentity } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { knownForMs, type CallerDirectory } from './caller-directory.js';

/** A request that is under way. */
interface Lasting {
  /** As whose, and with what role, it was let through. */
  caller: CallerIdentity;
  end: AbortController;
}

export interface RevocationWatch {
  /** Watches the credential of a request until `end` is called. */
  begin(bearer: string, caller: CallerIdentity): { revoked: AbortSignal; end: () => void };
  close(): void;
}

/**
 * Uploads, downloads and held requests outlast the moment in which their credential was looked at: while
 * they last it is asked for again, once for all requests of a credential, so that they end within a
 * second when it is revoked, or is another's, or may do less than when they began.
 */
export function createRevocationWatch(directory: CallerDirectory): RevocationWatch {
  const lasting = new Map<string, Set<Lasting>>();
  let timer: NodeJS.Timeout | undefined;

  async function lookAt(bearer: string, requests: ReadonlySet<Lasting>): Promise<void> {
    const [first] = requests;
    if (first === undefined) return;
    try {
      const { owner, role } = await directory.identify(bearer, first.caller.address);
      for (const { caller, end } of requests) {
        if (owner !== caller.owner || !includesRole(role, caller.role)) end.abort(isRevoked());
      }
    } catch (error) {
      // Where nobody can be asked, nothing is known to be revoked.
      if (!(error instanceof AppError) || error.code !== 'UNAUTHORIZED') return;
      for (const { end } of requests) end.abort(isRevoked());
    }
  }

  return {
    begin(bearer, caller) {
      const request = { caller, end: new AbortController() };
      const requests = lasting.get(bearer) ?? new Set();
      lasting.set(bearer, requests.add(request));
      timer ??= setInterval(() => {
        for (const [shown, those] of lasting) void lookAt(shown, those);
      }, knownForMs);
      return {
        revoked: request.end.signal,
        end: () => {
          requests.delete(request);
          if (requests.size === 0 && lasting.get(bearer) === requests) lasting.delete(bearer);
          if (lasting.size > 0) return;
          clearInterval(timer);
          timer = undefined;
        },
      };
    },
    close: () => clearInterval(timer),
  };
}

function isRevoked(): AppError {
  return new AppError('UNAUTHORIZED', 'The credentials are not good any more, or for less.');
}
