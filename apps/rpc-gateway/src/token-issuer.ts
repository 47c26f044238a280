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
import { createLoginTurns } from './login-turns.js';

export interface TokenIssuer {
  /**
   * A token of whoever asks, or of the person whose name and password come along. Throws LOGIN_FAILED, FORBIDDEN,
   * MODEL_NOT_FOUND, TOO_MANY_REQUESTS, VALIDATION_FAILED, SERVICE_UNAVAILABLE, or the signal's reason.
   */
  issue(request: TokenRequest, caller: CallerIdentity, signal: AbortSignal): Promise<string>;
}

/** Passwords take their time, with the others before them. */
const answeredWithinMs = 30_000;
/** Asked for at a time. */
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
  const logins = createLoginTurns();
  let asked = 0;

  async function ask(
    request: TokenRequest,
    caller: CallerIdentity,
    signal: AbortSignal,
  ): Promise<{ statusCode: number; told: unknown }> {
    if (asked >= most) throw unavailable();
    asked += 1;
    try {
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
    } catch (error) {
      if (signal.aborted) throw signal.reason as Error;
      throw unavailable(error);
    } finally {
      asked -= 1;
    }
  }

  return {
    async issue(request, caller, signal) {
      const late = new AbortController();
      const overdue = setTimeout(() => late.abort(unavailable()), answeredWithinMs);
      const until = joinSignals(signal, late.signal);
      try {
        const asking = () => ask(request, caller, until.signal);
        const { statusCode, told } = await (request.password === undefined
          ? asking()
          : logins.inTurn(caller.address, until.signal, asking));
        if (statusCode === 200) return (told as IssuedToken).token;
        if (statusCode === 503) throw unavailable();
        const isOurs = statusCode === 401 && !isFailedLogin(told);
        if (!isOurs && Value.Check(Problem, told)) throw errorOfProblem(told);
        throw new AppError('INTERNAL', `private-api issues no tokens: ${statusCode}`);
      } finally {
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
