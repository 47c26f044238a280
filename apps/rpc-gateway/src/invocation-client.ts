import { Readable } from 'node:stream';
import Value from 'typebox/value';
import { request, type Agent } from 'undici';
import {
  callerHeader,
  frameInvocation,
  headedType,
  maxInvocationHeadBytes,
  Problem,
  routes,
  writeCaller,
  type CallerIdentity,
  type InvocationHead,
} from '@inference-server/contracts';
import { AppError, errorOfProblem } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';

/**
 * Stores what a model has answered, for whoever asked: it is durable and readable when this resolves. Throws
 * what private-api refuses it with, SERVICE_UNAVAILABLE, or the signal's reason; of what was not stored nothing
 * is left, but an answer that was lost on its way is not known to be one.
 */
export type StoreInvocation = (
  caller: CallerIdentity,
  head: InvocationHead,
  content: Buffer,
  signal: AbortSignal,
) => Promise<void>;

/** Of the largest content, over a network that is slow. */
const storedWithinMs = 60_000;

export function createInvocationClient({
  url,
  token,
  agent,
}: {
  url: string;
  token: string;
  agent: Agent;
}): StoreInvocation {
  const { path, method } = routes.storeInvocation;

  return async (caller, head, content, signal) => {
    const frame = frameInvocation(head);
    if (frame.length > 4 + maxInvocationHeadBytes) throw outputsTooLarge();
    const either = joinSignals(signal, AbortSignal.timeout(storedWithinMs));
    try {
      const { statusCode, body } = await request(new URL(path, url), {
        ...{ method, dispatcher: agent, signal: either.signal },
        headers: {
          authorization: `Bearer ${token}`,
          [callerHeader]: writeCaller(caller),
          'content-type': headedType,
          'content-length': String(frame.length + content.length),
        },
        body: bodyOf(frame, content),
      });
      const told: unknown = await body.json();
      if (statusCode !== 200) throw refusalOf(statusCode, told);
    } catch (error) {
      if (signal.aborted) throw signal.reason as Error;
      if (error instanceof AppError) throw error;
      throw unavailable(error);
    } finally {
      either.release();
    }
  };
}

/** Small ones go out in one piece, which is faster; a large content goes as it is, a slice of what its caller sent. */
function bodyOf(frame: Uint8Array, content: Buffer): Buffer | Readable {
  if (content.length <= maxCopiedBytes) return Buffer.concat([frame, content]);
  return Readable.from([frame, content], { objectMode: false });
}

const maxCopiedBytes = 64 * 1024;

export function outputsTooLarge(): AppError {
  return new AppError(
    'PAYLOAD_TOO_LARGE',
    `The metadata and the outputs are more than ${maxInvocationHeadBytes} bytes as JSON: they cannot be stored.`,
  );
}

/** Why it was not stored. That private-api takes nothing from us is no fault of the caller's. */
function refusalOf(status: number, told: unknown): AppError {
  const isOfCaller = Value.Check(Problem, told) && !ofOurs.has(told.code);
  if (isOfCaller) return errorOfProblem(told);
  if (status === 503) return unavailable(undefined);
  return new AppError('INTERNAL', `private-api does not store invocations: ${status}`);
}

function unavailable(cause: unknown): AppError {
  const detail = 'The result cannot be stored at the moment.';
  return new AppError('SERVICE_UNAVAILABLE', detail, { cause, retryAfterS: 2 });
}

const ofOurs: ReadonlySet<string> = new Set(['UNAUTHORIZED', 'FORBIDDEN']);
