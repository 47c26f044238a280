import Value from 'typebox/value';
import type { Agent } from 'undici';
import {
  callerHeader,
  Problem,
  routes,
  writeCaller,
  type CallerIdentity,
  type IssuedToken,
  type TokenRequest,
} from '@inference-server/contracts';
import { AppError, errorOfProblem } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';

export interface TokenIssuer {
  /**
   * A token of whoever asks, or of the person whose name and password come along. Throws LOGIN_FAILED, FORBIDDEN,
   * MODEL_NOT_FOUND, TOO_MANY_REQUESTS, VALIDATION_FAILED, SERVICE_UNAVAILABLE, or the signal's reason.
   */
  issue(request: TokenRequest, caller: CallerIdentity, signal: AbortSignal): Promise<string>;
}

/** Passwords take their time, one after the other. */
const answeredWithinMs = 30_000;
/** Asked for at a time: who is nobody yet may ask, too. */
const most = 100;

/** Asks private-api for tokens, as whoever is at the door. */
export function createTokenIssuer({
  privateApiUrl,
  privateApiToken,
  upstream,
}: {
  privateApiUrl: string;
  privateApiToken: string;
  upstream: Agent;
}): TokenIssuer {
  const { path, method } = routes.issueToken;
  let asked = 0;

  async function ask(
    request: TokenRequest,
    caller: CallerIdentity,
    signal: AbortSignal,
  ): Promise<{ statusCode: number; told: unknown }> {
    const { statusCode, body } = await upstream.request({
      ...{ origin: privateApiUrl, path, method, signal },
      headers: {
        authorization: `Bearer ${privateApiToken}`,
        'content-type': 'application/json',
        [callerHeader]: writeCaller(caller),
      },
      body: JSON.stringify(request),
    });
    return { statusCode, told: await body.json() };
  }

  return {
    async issue(request, caller, signal) {
      if (asked >= most) throw unavailable();
      asked += 1;
      const late = new AbortController();
      const overdue = setTimeout(() => late.abort(unavailable()), answeredWithinMs);
      const until = joinSignals(signal, late.signal);
      try {
        const { statusCode, told } = await ask(request, caller, until.signal).catch(
          (cause: unknown) => {
            if (until.signal.aborted) throw until.signal.reason as Error;
            throw unavailable(cause);
          },
        );
        if (statusCode === 200) return (told as IssuedToken).token;
        if (statusCode === 503) throw unavailable();
        const isOurs = statusCode === 401 && !isFailedLogin(told);
        if (!isOurs && Value.Check(Problem, told)) throw errorOfProblem(told);
        throw new AppError('INTERNAL', `private-api issues no tokens: ${statusCode}`);
      } finally {
        asked -= 1;
        clearTimeout(overdue);
        until.release();
      }
    },
  };
}

/** A refusal of our own token has the same status. */
function isFailedLogin(told: unknown): boolean {
  return Value.Check(Problem, told) && told.code === 'LOGIN_FAILED';
}

function unavailable(cause?: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', 'Tokens cannot be had at the moment.', {
    cause,
    retryAfterS: 2,
  });
}
