import { AppError } from '@inference-server/errors';
import type { Connection, ZeroRpcCall } from '@inference-server/zerorpc';
import type { Admitted, Callers } from '../callers.js';

/** Who calls at a door that knows connections, and no metadata. */
export interface ZeroRpcAccess {
  /** Whether callers who show nothing are let in. */
  isOpen: boolean;
  /** By the header `token` of the call, else by what was shown on its connection. Throws as Callers does. */
  admit(call: Shown): Promise<Admitted>;
  hasShown(call: Shown): boolean;
  /** What is shown counts for the calls that follow on the connection. Throws likewise. */
  authenticate(token: unknown, call: Shown): Promise<void>;
}

type Shown = Pick<ZeroRpcCall, 'connection' | 'isRelayed' | 'headers'>;

/**
 * What was shown on a connection is looked at anew with each call, so that it ends when it is good no more. It is
 * no proof of those who share the connection of a proxy.
 */
export function createZeroRpcAccess({
  callers,
  anonymousRole,
  isExposed,
}: {
  callers: Callers;
  anonymousRole: string;
  /** Whether other machines can reach the door. */
  isExposed: boolean;
}): ZeroRpcAccess {
  const proofs = new WeakMap<Connection, string>();

  async function admitBy(token: string | undefined, connection: Connection): Promise<Admitted> {
    const admitted = await callers.admit({
      path: 'zerorpc',
      peerAddress: connection.address,
      // By what name the door was called nobody tells.
      authority: isExposed ? '' : 'localhost',
      metadata: token === undefined ? {} : { 'x-token': token },
    });
    connection.isTrusted = true;
    return admitted;
  }

  return {
    isOpen: anonymousRole !== 'none' && !isExposed,
    hasShown: ({ headers, connection, isRelayed }) =>
      isGiven(headers.get('token')) || (!isRelayed && proofs.has(connection)),

    async admit({ headers, connection, isRelayed }) {
      const token = headers.get('token');
      if (isGiven(token)) return admitBy(textOf(token), connection);
      const shown = isRelayed ? undefined : proofs.get(connection);
      try {
        return await admitBy(shown, connection);
      } catch (error) {
        const isRefused = error instanceof AppError && error.code === 'UNAUTHORIZED';
        // Another may have been shown meanwhile.
        if (isRefused && !isRelayed && proofs.get(connection) === shown) proofs.delete(connection);
        throw error;
      }
    },

    async authenticate(token, { connection, isRelayed }) {
      if (isRelayed) {
        throw new AppError(
          'FORBIDDEN',
          'A client behind a proxy shows its token with each call, in the header "token".',
        );
      }
      // Who shows what opens nothing is not taken any longer for who they were before.
      proofs.delete(connection);
      const shown = textOf(token);
      await admitBy(shown, connection);
      proofs.set(connection, shown);
    },
  };
}

/** Clients may have an entry for it, and nothing in it. */
function isGiven(token: unknown): boolean {
  return token !== undefined && token !== null;
}

/** Old clients send text as bin. What is neither is nobody's. */
function textOf(token: unknown): string {
  if (token instanceof Uint8Array) return Buffer.from(token).toString('latin1');
  return typeof token === 'string' ? token : '';
}
