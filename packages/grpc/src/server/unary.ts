import { createMessageReader, prefixOf } from '../framing.js';
import { GrpcError } from '../grpc-error.js';
import type { ActiveCall } from './active-call.js';
import type { ByteBudget } from './byte-budget.js';
import { inflate } from './inflate.js';
import type { AnswerRoom, UnaryAnswer, UnaryHandler } from './method.js';

export interface MessageLimits {
  maxMessageBytes: number;
  budget: ByteBudget;
}

/** Reads the one message of a call, has it handled, and answers. What it takes is given back when that is done. */
export async function answerUnary(
  call: ActiveCall,
  handle: UnaryHandler,
  limits: MessageLimits,
): Promise<void> {
  const held = holdBytes(limits);
  const room = roomFor(call, limits.budget);
  try {
    const { message, trailers } = await handleOne(call, handle, { held, room });
    // Nothing has the request any more, however slowly the answer is taken.
    held.release();
    if (call.head.signal.aborted) return;
    if (message !== null) await call.writeMessage(message);
    call.end(undefined, trailers);
  } finally {
    held.release();
  }
}

async function handleOne(
  call: ActiveCall,
  handle: UnaryHandler,
  { held, room }: { held: ReturnType<typeof holdBytes>; room: AnswerRoom },
): Promise<UnaryAnswer> {
  const { message, isCompressed } = await readOne(call, held);
  if (!isCompressed) return handle(message, room);
  const inflated = await inflate(message, call.encoding, {
    room: { grow: held.inflate, double: held.double },
    signal: call.head.signal,
  });
  return handle(inflated, room);
}

function roomFor(call: ActiveCall, budget: ByteBudget): AnswerRoom {
  const { stream } = call;
  let held = 0;
  let isGone = false;
  stream.once('close', () => {
    isGone = true;
    budget.give(held);
  });
  return {
    hold(bytes) {
      // Nobody waits for it any more: what is on its way to here ends by itself.
      if (isGone) return true;
      if (!budget.take(bytes)) return false;
      held += bytes;
      return true;
    },
    open(messageBytes) {
      call.respond();
      stream.write(prefixOf(messageBytes));
      return stream;
    },
  };
}

/** The bytes of one call's request, within the limits. */
function holdBytes({ maxMessageBytes, budget }: MessageLimits) {
  let held = 0;
  let inflated = 0;
  const take = (bytes: number) => {
    if (!budget.take(bytes)) throw isFull();
    held += bytes;
  };
  return {
    /** What a message says that it will be takes nothing yet. */
    begin(messageBytes: number) {
      if (messageBytes > maxMessageBytes) throw tooLarge(maxMessageBytes);
    },
    take,
    inflate(bytes: number) {
      inflated += bytes;
      if (inflated > maxMessageBytes) throw tooLarge(maxMessageBytes);
      take(bytes);
    },
    double(bytes: number) {
      take(bytes);
      return () => {
        budget.give(bytes);
        held -= bytes;
      };
    },
    release() {
      budget.give(held);
      held = 0;
    },
  };
}

export function tooLarge(maxMessageBytes: number): GrpcError {
  return new GrpcError(
    'RESOURCE_EXHAUSTED',
    `The message is larger than ${maxMessageBytes} bytes (MAX_MESSAGE_BYTES).`,
  );
}

export function isFull(): GrpcError {
  return new GrpcError('RESOURCE_EXHAUSTED', 'The server holds too many messages at the moment.', {
    trailers: { 'retry-after': '1' },
  });
}

interface Received {
  message: Buffer;
  isCompressed: boolean;
}

/** The request to its end: it must have one message, and no more. */
function readOne(
  call: ActiveCall,
  held: { begin(messageBytes: number): void; take(bytes: number): void },
): Promise<Received> {
  const { stream, head } = call;
  return new Promise((resolve, reject) => {
    let received: Received | undefined;
    let hasBegun = false;
    const reader = createMessageReader({
      begin(bytes) {
        if (hasBegun) throw new GrpcError('UNIMPLEMENTED', 'The method takes one message.');
        hasBegun = true;
        held.begin(bytes);
        return undefined;
      },
      grow: held.take,
      take: (message, isCompressed) => (received = { message, isCompressed }),
    });
    const fail = (error: Error) => {
      call.awaitsSender = false;
      stream.off('data', read);
      reject(error);
    };
    const read = (chunk: Buffer) => {
      call.received += chunk.length;
      try {
        reader.push(chunk);
      } catch (error) {
        fail(error as Error);
      }
    };
    if (head.signal.aborted) {
      fail(head.signal.reason as Error);
      return;
    }
    head.signal.addEventListener('abort', () => fail(head.signal.reason as Error), { once: true });
    call.awaitsSender = true;
    stream.on('data', read);
    stream.once('end', () => {
      call.awaitsSender = false;
      if (received !== undefined && !reader.isWithin()) resolve(received);
      else fail(new GrpcError('INTERNAL', 'The request ends without a whole message.'));
    });
  });
}
