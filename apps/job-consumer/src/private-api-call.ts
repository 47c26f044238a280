import { Transform, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { request, type Dispatcher } from 'undici';
import {
  codeOfStatus,
  type AnswerOf,
  type BodyOf,
  type Problem,
  type RouteContract,
} from '@inference-server/contracts';
import { AppError, errorOfProblem, messageOf, toAppError } from '@inference-server/errors';

export interface PrivateApiAddress {
  url: string;
  token: string;
  dispatcher: Dispatcher;
}

/** private-api did not answer, or refused with this. */
export class PrivateApiError extends AppError {}

interface CallInput {
  params: Record<string, string | number>;
  query?: Record<string, string | number>;
}

/** Calls a route whose answer is JSON. */
export async function callJson<Contract extends RouteContract>(
  address: PrivateApiAddress,
  contract: Contract,
  input: CallInput & { body?: BodyOf<Contract> },
  { signal, timeoutMs }: { signal: AbortSignal; timeoutMs: number },
): Promise<AnswerOf<Contract>> {
  const body = input.body === undefined ? undefined : JSON.stringify(input.body);
  return ofPrivateApi(signal, async () => {
    const response = await request(urlOf(address, contract, input), {
      method: contract.method,
      dispatcher: address.dispatcher,
      headers: {
        authorization: `Bearer ${address.token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body }),
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      signal,
    });
    if (response.statusCode !== 200) throw await refusalOf(response);
    return (await response.body.json()) as AnswerOf<Contract>;
  });
}

/** Opens a route whose answer is a zip. The stream fails when the connection breaks or goes silent. */
export async function openZip(
  address: PrivateApiAddress,
  contract: RouteContract,
  input: CallInput,
  signal: AbortSignal,
): Promise<Readable> {
  return ofPrivateApi(signal, async () => {
    const response = await request(urlOf(address, contract, input), {
      method: contract.method,
      dispatcher: address.dispatcher,
      headers: { authorization: `Bearer ${address.token}` },
      headersTimeout: idleMs,
      bodyTimeout: idleMs,
      signal,
    });
    if (response.statusCode !== 200) throw await refusalOf(response);
    return response.body;
  });
}

/**
 * Sends a zip. Bounded by progress, not by time in all: undici's own limits would end a long upload,
 * or the wait for the server to check it and flush it to its disk. That wait ends with `signal`, or
 * with the connection. An error of the zip itself passes as it is.
 */
export async function sendZip<Contract extends RouteContract>(
  address: PrivateApiAddress,
  contract: Contract,
  input: CallInput,
  zip: Readable,
  signal: AbortSignal,
): Promise<AnswerOf<Contract>> {
  const idle = new AbortController();
  const timer = setTimeout(() => {
    idle.abort(
      new PrivateApiError('SERVICE_UNAVAILABLE', 'The upload to private-api stands still.'),
    );
  }, idleMs);
  const bounds = AbortSignal.any([signal, idle.signal]);
  const body = new Transform({
    transform(chunk, _encoding, done) {
      timer.refresh();
      done(null, chunk);
    },
    // Then the zip passes the gate, which takes its time.
    flush(done) {
      clearTimeout(timer);
      done();
    },
  });
  const feeding = pipeline(zip, body, { signal: bounds });
  feeding.catch(() => undefined);
  // Each takes the other along: who failed first tells why.
  let culprit = zip.errored === null ? undefined : zip;
  for (const stream of [zip, body]) stream.once('error', () => (culprit ??= stream));
  // A request that fails closes its body, which says no more than that; the zip hears of it as an error.
  body.once('close', () => (culprit ??= body));
  try {
    return await ofPrivateApi(bounds, async () => {
      const response = await request(urlOf(address, contract, input), {
        method: contract.method,
        dispatcher: address.dispatcher,
        headers: {
          authorization: `Bearer ${address.token}`,
          'content-type': 'application/zip',
        },
        body,
        headersTimeout: 0,
        bodyTimeout: idleMs,
        signal: bounds,
      });
      if (response.statusCode !== 200) throw await refusalOf(response);
      return (await response.body.json()) as AnswerOf<Contract>;
    });
  } catch (error) {
    if (culprit === zip && !signal.aborted) throw toAppError(zip.errored, 'reading the output');
    throw error;
  } finally {
    clearTimeout(timer);
    body.destroy();
    zip.destroy();
  }
}

/** Between two signs of life of a transfer. */
const idleMs = 120_000;

function urlOf(
  { url }: PrivateApiAddress,
  { path }: RouteContract,
  { params, query = {} }: CallInput,
): URL {
  const filled = path.replace(/:(\w+)/g, (_match, name: string) =>
    encodeURIComponent(String(params[name])),
  );
  const address = new URL(filled, url);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, String(value));
  return address;
}

async function ofPrivateApi<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  try {
    signal.throwIfAborted();
    return await call();
  } catch (error) {
    if (signal.aborted) throw signal.reason as Error;
    if (error instanceof AppError) throw error;
    const detail = `private-api does not answer: ${messageOf(error)}`;
    throw new PrivateApiError('SERVICE_UNAVAILABLE', detail, { cause: error });
  }
}

/** The error that private-api answered with, or one for an answer that is none of its own. */
async function refusalOf({ statusCode, body }: Dispatcher.ResponseData): Promise<PrivateApiError> {
  const text = await body.text();
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (typeof problem.code === 'string' && typeof problem.detail === 'string') {
      const { code, message, extensions } = errorOfProblem(problem as Problem);
      return new PrivateApiError(code, message, { extensions });
    }
  } catch {
    // Not of private-api's making: a proxy's page, say.
  }
  const code = statusCode >= 500 ? 'SERVICE_UNAVAILABLE' : codeOfStatus(statusCode);
  return new PrivateApiError(code, `private-api answered ${statusCode}.`);
}
