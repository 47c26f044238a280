import { Readable } from 'node:stream';
import { request, type Agent, type Dispatcher } from 'undici';
import {
  callerHeader,
  routes,
  writeCaller,
  type CallerIdentity,
  type Problem,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError, errorOfProblem, messageOf } from '@inference-server/errors';

/**
 * Tasks of the callers that the gateway acts for. All of it throws what private-api says, SERVICE_UNAVAILABLE while
 * that does not answer, or the signal's reason.
 */
export interface TaskClient {
  /** The same key makes no second task, however often it is posted. */
  post(task: NewTask, signal: AbortSignal): Promise<string>;
  /**
   * The zip of a task that is finished; undefined: it has not ended yet, after it was waited for. `hold` is told of
   * its bytes before they are read. Throws TASK_FAILED, with the task.
   */
  output(
    task: { uid: string; caller: CallerIdentity; hold: (bytes: number) => void },
    signal: AbortSignal,
  ): Promise<Buffer | undefined>;
  cancel(task: { uid: string; caller: CallerIdentity }, signal: AbortSignal): Promise<void>;
}

export interface NewTask {
  model: string;
  /** For the same post, made again. */
  key: string;
  caller: CallerIdentity;
  zip(): AsyncIterable<Buffer>;
}

/** How long private-api holds an answer while a task has not ended. */
const heldS = 25;
/** Beyond that; a post is answered when its zip is stored and looked through. */
const answeredWithinMs = 10_000;
const storedWithinMs = 120_000;

export function createTaskClient({
  url,
  token,
  agent,
}: {
  url: string;
  token: string;
  agent: Agent;
}): TaskClient {
  async function ask(
    contract: RouteContract,
    {
      caller,
      signal,
      ...asked
    }: {
      caller: CallerIdentity;
      signal: AbortSignal;
      uid?: string;
      query?: Record<string, string | number>;
      headers?: Record<string, string>;
      body?: Readable;
      headersTimeout: number;
    },
  ): Promise<Dispatcher.ResponseData> {
    const { uid = '', headers, ...more } = asked;
    signal.throwIfAborted();
    const answer = await request(new URL(contract.path.replace(':uid', uid), url), {
      ...more,
      ...{ method: contract.method, dispatcher: agent, signal },
      headers: {
        authorization: `Bearer ${token}`,
        [callerHeader]: writeCaller(caller),
        ...headers,
      },
      bodyTimeout: answeredWithinMs,
    }).catch((error: unknown) => {
      throw unlessAborted(error, signal);
    });
    if (answer.statusCode === 200) return answer;
    const told: unknown = await answer.body.json().catch((error: unknown) => {
      throw unlessAborted(error, signal);
    });
    throw errorIn(told);
  }

  return {
    async post({ model, key, caller, zip }, signal) {
      const { body } = await ask(routes.postTask, {
        ...{ caller, signal },
        query: { human_readable_id: model },
        headers: { 'content-type': 'application/zip', 'idempotency-key': key },
        body: Readable.from(zip(), { objectMode: false }),
        headersTimeout: storedWithinMs,
      });
      return body.json().catch((error: unknown) => {
        throw unlessAborted(error, signal);
      }) as Promise<string>;
    },

    async output({ uid, caller, hold }, signal) {
      try {
        const answer = await ask(routes.getTask, {
          ...{ caller, signal, uid },
          query: { wait: heldS },
          headersTimeout: heldS * 1000 + answeredWithinMs,
        });
        return await wholeBody(answer, hold, signal);
      } catch (error) {
        if (error instanceof AppError && error.code === 'TASK_PENDING') return undefined;
        throw error;
      }
    },

    async cancel({ uid, caller }, signal) {
      const { body } = await ask(routes.cancelTask, {
        ...{ caller, signal, uid },
        headersTimeout: answeredWithinMs,
      });
      await body.dump();
    },
  };
}

async function wholeBody(
  { headers, body }: Dispatcher.ResponseData,
  hold: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Buffer> {
  const length = Number(headers['content-length']);
  try {
    if (!Number.isSafeInteger(length)) throw unavailable('an output does not say its length');
    hold(length);
  } catch (error) {
    body.on('error', () => undefined).destroy();
    throw error;
  }
  const whole = Buffer.allocUnsafe(length);
  let at = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) at += chunk.copy(whole, at);
  } catch (error) {
    throw unlessAborted(error, signal);
  }
  if (at !== length) throw unavailable('an output broke off');
  return whole;
}

function unlessAborted(error: unknown, signal: AbortSignal): unknown {
  return signal.aborted ? signal.reason : unavailable(messageOf(error), error);
}

function errorIn(told: unknown): AppError {
  if (!isProblem(told)) return unavailable('it answers otherwise');
  const error = errorOfProblem(told);
  // It is our own token that it does not take: no caller can mend that.
  return error.code === 'UNAUTHORIZED' ? new AppError('INTERNAL', error.message) : error;
}

/** A proxy between may have words of its own. */
function isProblem(told: unknown): told is Problem {
  const { code, detail } = (told ?? {}) as Partial<Problem>;
  return typeof code === 'string' && typeof detail === 'string';
}

function unavailable(reason: string, cause?: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `private-api does not answer: ${reason}`, {
    ...(cause !== undefined && { cause }),
    retryAfterS: 2,
  });
}
