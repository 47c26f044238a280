import { createHash } from 'node:crypto';
import Value from 'typebox/value';
import type { Agent } from 'undici';
import {
  mostBearers,
  Problem,
  routes,
  type IdentifiedBearer,
  type IdentifiedBearers,
  type IdentifiedCaller,
  type Refusal,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError, errorOfProblem, messageOf } from '@inference-server/errors';

/** What a credential is taken for without asking again: a revoked one is refused after that (ms). */
export const knownForMs = 400;
const askedForMs = 5_000;
/** Credentials that are remembered at a time, of answers and of what has opened lately. */
const most = 10_000;
/** How long what has opened something is preferred to what never has (ms). */
const preferredForMs = 10 * 60_000;
/** How many that have opened nothing yet are asked for at a time. */
const mostStrangers = 100;

export interface CallerDirectory {
  /** Who shows this key or token. Throws UNAUTHORIZED, SERVICE_UNAVAILABLE. */
  identify(bearer: string, address: string): Promise<IdentifiedCaller>;
  /** Whether it has opened something of late, as far as this process knows. */
  hasOpened(bearer: string): boolean;
  /** Whether a key was ever made. */
  hasKeys(): Promise<boolean>;
  /** For the audit. */
  noteRefusals(refusals: Refusal[]): Promise<void>;
}

/**
 * Asks private-api, which has the keys. An answer, a refusal too, is good for {@link knownForMs}, and
 * those who ask while there is none yet share one. Only so many that never opened anything are asked for at
 * a time, so that somebody who makes them up keeps nobody else waiting. Without private-api nobody is let
 * in; nothing could be had from it either.
 */
export function createCallerDirectory(options: {
  privateApiUrl: string;
  privateApiToken: string;
  upstream: Agent;
}): CallerDirectory {
  const known = new Map<string, Answer>();
  const opened = new Map<string, number>();
  /** What is asked for together: one question for all that lasts at a door, where there is much of it. */
  const gathered: Gathered[] = [];
  let strangers = 0;
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

  function hasOpened(name: string): boolean {
    const at = opened.get(name);
    return at !== undefined && performance.now() - at < preferredForMs;
  }

  function askWho(name: string, bearer: string, address: string): Answer {
    const isStranger = !hasOpened(name);
    if (isStranger && strangers >= mostStrangers) throw unavailable(undefined);
    if (isStranger) strangers += 1;
    const caller = new Promise<IdentifiedBearer>((resolve, reject) => {
      gathered.push({ bearer, address, isStranger, resolve, reject });
      if (gathered.length === 1) setImmediate(askForGathered);
    });
    const answer: Answer = { at: performance.now(), isPending: true, caller };
    remember(known, name, answer);
    void caller
      .then(
        () => remember(opened, name, performance.now()),
        (error: unknown) => {
          // That private-api was away says nothing of the credential.
          const isRefused = error instanceof AppError && error.code === 'UNAUTHORIZED';
          if (isRefused) opened.delete(name);
          else if (known.get(name) === answer) known.delete(name);
        },
      )
      .finally(() => {
        answer.isPending = false;
        if (isStranger) strangers -= 1;
      });
    return answer;
  }

  function askForGathered(): void {
    const all = gathered.splice(0);
    // What is known waits for nothing that somebody makes up.
    askForAll(all.filter(({ isStranger }) => isStranger));
    askForAll(all.filter(({ isStranger }) => !isStranger));
  }

  function askForAll(all: readonly Gathered[]): void {
    for (let at = 0; at < all.length; at += mostBearers) {
      const some = all.slice(at, at + mostBearers);
      void askFor(some).catch((error: unknown) => {
        for (const { reject } of some) reject(error as Error);
      });
    }
  }

  async function askFor(some: readonly Gathered[]): Promise<void> {
    const [first, ...others] = some;
    if (first === undefined) return;
    if (others.length === 0) {
      const { bearer, address } = first;
      first.resolve(await ask<IdentifiedCaller>(routes.identifyCaller, { bearer, address }));
      return;
    }
    const bearers = some.map(({ bearer }) => bearer);
    const { callers } = await ask<IdentifiedBearers>(routes.identifyBearers, { bearers });
    some.forEach(({ resolve, reject }, n) => {
      const caller = callers[n];
      if (caller) resolve(caller);
      else reject(new AppError('UNAUTHORIZED', 'The credentials are not known.'));
    });
  }

  return {
    async identify(bearer, address) {
      const name = nameOf(bearer);
      const before = known.get(name);
      const isGood =
        before !== undefined && (before.isPending || performance.now() - before.at < knownForMs);
      const { caller } = isGood ? before : askWho(name, bearer, address);
      return { ...(await caller), address };
    },

    hasOpened: (bearer) => hasOpened(nameOf(bearer)),

    async hasKeys() {
      if (!wasSetUp) wasSetUp = (await ask<{ has_keys: boolean }>(routes.getSetUp)).has_keys;
      return wasSetUp;
    },

    async noteRefusals(refusals) {
      await ask(routes.noteRefusals, { refusals });
    },
  };
}

interface Answer {
  /** When it was asked for. */
  at: number;
  isPending: boolean;
  caller: Promise<IdentifiedBearer>;
}

interface Gathered {
  bearer: string;
  address: string;
  isStranger: boolean;
  resolve(caller: IdentifiedBearer): void;
  reject(error: Error): void;
}

/** The credentials themselves are kept nowhere. */
function nameOf(bearer: string): string {
  return createHash('sha256').update(bearer).digest('base64');
}

function remember<Value>(map: Map<string, Value>, name: string, value: Value): void {
  map.delete(name);
  if (map.size >= most) map.delete(map.keys().next().value ?? '');
  map.set(name, value);
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
