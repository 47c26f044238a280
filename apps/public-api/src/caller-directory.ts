import { createHash } from 'node:crypto';
import Value from 'typebox/value';
import type { Agent } from 'undici';
import {
  Problem,
  routes,
  type IdentifiedCaller,
  type Refusal,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError, errorOfProblem, messageOf } from '@inference-server/errors';

/** What a credential is taken for without asking again: a revoked one is refused after that (ms). */
export const knownForMs = 400;
const askedForMs = 5_000;
/** Credentials that are remembered at a time. */
const most = 10_000;

export interface CallerDirectory {
  /** Who shows this key or token. Throws UNAUTHORIZED, SERVICE_UNAVAILABLE. */
  identify(bearer: string, address: string): Promise<IdentifiedCaller>;
  /** Whether a key was ever made. */
  hasKeys(): Promise<boolean>;
  /** For the audit. */
  noteRefusals(refusals: Refusal[]): Promise<void>;
}

/**
 * Asks private-api, which has the keys. An answer, a refusal too, is good for {@link knownForMs}, and
 * those who ask at the same time share one. Without private-api nobody is let in; nothing could be had
 * from it either.
 */
export function createCallerDirectory(options: {
  privateApiUrl: string;
  privateApiToken: string;
  upstream: Agent;
}): CallerDirectory {
  const known = new Map<string, { at: number; answer: Promise<IdentifiedCaller> }>();
  let wasSetUp = false;

  async function ask<Answer>(contract: RouteContract, body?: unknown): Promise<Answer> {
    const { statusCode, body: answer } = await options.upstream
      .request({
        origin: options.privateApiUrl,
        path: contract.path,
        method: contract.method,
        headers: {
          authorization: `Bearer ${options.privateApiToken}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(askedForMs),
      })
      .catch((error: unknown) => {
        throw unavailable(error);
      });
    const told: unknown = await answer.json().catch((error: unknown) => {
      throw unavailable(error);
    });
    if (statusCode === 200) return told as Answer;
    if (statusCode === 401 && isOfCaller(told)) throw errorOfProblem(told);
    if (statusCode === 503) throw unavailable(undefined);
    throw new AppError('INTERNAL', `private-api does not identify callers: ${statusCode}`);
  }

  return {
    async identify(bearer, address) {
      // The credentials themselves are kept nowhere.
      const name = createHash('sha256').update(bearer).digest('base64');
      const before = known.get(name);
      if (before !== undefined && performance.now() - before.at < knownForMs) {
        return { ...(await before.answer), address };
      }
      const answer = ask<IdentifiedCaller>(routes.identifyCaller, { bearer, address });
      known.delete(name);
      if (known.size >= most) known.delete(known.keys().next().value ?? '');
      known.set(name, { at: performance.now(), answer });
      answer.catch((error: unknown) => {
        // That private-api was away says nothing of the credential.
        const isRefused = error instanceof AppError && error.code === 'UNAUTHORIZED';
        if (!isRefused && known.get(name)?.answer === answer) known.delete(name);
      });
      return { ...(await answer), address };
    },

    async hasKeys() {
      if (!wasSetUp) wasSetUp = (await ask<{ has_keys: boolean }>(routes.getSetUp)).has_keys;
      return wasSetUp;
    },

    async noteRefusals(refusals) {
      await ask(routes.noteRefusals, { refusals });
    },
  };
}

/** A refusal of our own token has the same status. */
function isOfCaller(told: unknown): told is Problem {
  return Value.Check(Problem, told) && told.parameter === 'credential';
}

function unavailable(cause: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', 'Callers cannot be identified at the moment.', {
    cause: cause === undefined ? undefined : messageOf(cause),
    retryAfterS: 2,
  });
}
