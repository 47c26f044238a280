import type { Answers } from './answers.js';
import type { Channel } from './channel.js';
import type { IncomingEvent } from './event.js';
import { checkArgs, unknownMethod } from './introspection.js';
import type { MethodTable, ZeroRpcCall } from './method.js';
import { FormError } from './outline.js';
import { ZeroRpcError } from './zerorpc-error.js';

/**
 * Runs the method of a call and has its answer sent. Resolves when the method has come to its end: which may be
 * later than the channel's.
 */
export async function runCall(
  channel: Channel,
  event: IncomingEvent,
  {
    table,
    answers,
    take,
    onAnswered,
    onFault,
  }: {
    table: MethodTable;
    answers: Answers;
    take: ZeroRpcCall['take'];
    /** Called once, when nothing more is sent on the channel. */
    onAnswered: () => void;
    onFault: (error: unknown) => void;
  },
): Promise<void> {
  const { signal } = channel;
  let running: Promise<unknown> = Promise.resolve();
  try {
    running = startMethod(event, table, {
      ...{ connection: channel.connection, isRelayed: channel.route.length > 0 },
      headers: event.headers,
      ...{ version: event.version, signal, deadlineAt: channel.deadlineAt, take },
    });
    const value = await untilAborted(running, signal);
    if (isStream(value)) {
      running = answerEach(value[Symbol.asyncIterator](), channel, answers);
      await untilAborted(running, signal);
    } else {
      await channel.slot();
      await answers.answer(channel, 'OK', [value]);
    }
  } catch (error) {
    // What a method throws when its call was ended is its way to end.
    if (!signal.aborted) answers.refuse(channel, told(error, onFault));
  } finally {
    onAnswered();
  }
  await running.catch(() => undefined);
}

async function startMethod(
  event: IncomingEvent,
  table: MethodTable,
  call: ZeroRpcCall,
): Promise<unknown> {
  const method = await table.find(event.name, call);
  if (method === undefined) throw unknownMethod();
  call.signal.throwIfAborted();
  return method.call(checkArgs(readArgs(event), method.parameters), call);
}

function readArgs(event: IncomingEvent): unknown {
  try {
    return event.readArgs();
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new ZeroRpcError('TypeError', `The arguments cannot be read: ${error.message}`);
  }
}

/** Of what is no ZeroRpcError nothing is told. */
function told(error: unknown, onFault: (error: unknown) => void): ZeroRpcError {
  if (error instanceof ZeroRpcError) return error;
  onFault(error);
  return new ZeroRpcError('InternalError', 'The call failed for a fault of the server.');
}

function isStream(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** Asks for an item when the client has room for it; ends the iterator however it comes to its end. */
async function answerEach(
  items: AsyncIterator<unknown>,
  channel: Channel,
  answers: Answers,
): Promise<void> {
  let isAtEnd = false;
  try {
    for (;;) {
      await channel.slot();
      const next = await untilAborted(
        items.next().catch((error: unknown) => {
          isAtEnd = true;
          throw error;
        }),
        channel.signal,
      );
      isAtEnd = next.done === true;
      if (isAtEnd) break;
      await answers.answer(channel, 'STREAM', next.value);
    }
    await answers.answer(channel, 'STREAM_DONE', null);
  } finally {
    // One that waits for something that never comes does not hold up the rest.
    if (!isAtEnd) void Promise.resolve(items.return?.()).catch(() => undefined);
  }
}

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
