import { createMessageReader } from '../framing.js';
import { GrpcError } from '../grpc-error.js';
import type { ActiveCall } from './active-call.js';
import { inflate } from './inflate.js';
import type { Opening, StreamHandler } from './method.js';
import { isFull, tooLarge, type MessageLimits } from './unary.js';

/** Has the messages of a call handled as they come. One message is read ahead at most, by what it holds. */
export async function answerStream(
  call: ActiveCall,
  { stream: handle, opening }: { stream: StreamHandler; opening?: Opening },
  limits: MessageLimits,
  letIn: () => void,
): Promise<void> {
  const { head } = call;
  const over = new AbortController();
  const messages = messagesOf(call, limits, { opening, over: over.signal });
  try {
    const { trailers } = await handle(messages, (parts) => call.writeMessage(parts), letIn);
    if (head.signal.aborted) return;
    call.respond();
    call.end(undefined, trailers);
  } finally {
    // Also where the next message is still waited for.
    over.abort(new GrpcError('CANCELLED', 'The call is over.'));
    await messages.return(undefined);
  }
}

interface Arrived {
  message: Buffer;
  isCompressed: boolean;
  heldBytes: number;
  limit: Limit;
}

/** How large a message may be, and what a larger one is told. */
interface Limit {
  maxBytes: number;
  tooLarge(): GrpcError;
}

async function* messagesOf(
  call: ActiveCall,
  { maxMessageBytes, budget }: MessageLimits,
  { opening, over }: { opening: Opening | undefined; over: AbortSignal },
): AsyncGenerator<Buffer, undefined> {
  const { stream, head } = call;
  const arrived: Arrived[] = [];
  let heldBytes = 0;
  const usual: Limit = { maxBytes: maxMessageBytes, tooLarge: () => tooLarge(maxMessageBytes) };
  /** Of the message that comes. */
  let limit: Limit = opening ?? usual;
  const came: { failure?: unknown; isAtEnd: boolean } = { isAtEnd: false };
  let wake = () => {};
  const fail = (error: unknown) => {
    came.failure ??= error;
    wake();
  };
  const onAbort = () => fail(head.signal.reason);
  const give = (bytes: number) => {
    budget.give(bytes);
    heldBytes -= bytes;
  };
  const take = (bytes: number) => {
    if (!budget.take(bytes)) throw isFull();
    heldBytes += bytes;
  };
  /** Between messages a caller may be silent for as long as it likes, and whenever nothing of it is read. */
  const judgeSender = () => {
    const isRead = arrived.length === 0 && came.failure === undefined;
    call.awaitsSender = isRead && reader.isWithin();
  };
  const reader = createMessageReader({
    begin: (bytes) => {
      if (bytes > limit.maxBytes) throw limit.tooLarge();
      return undefined;
    },
    grow: take,
    take: (message, isCompressed) => {
      arrived.push({ message, isCompressed, heldBytes: message.length, limit });
      limit = usual;
      stream.pause();
      wake();
    },
  });
  const read = (chunk: Buffer) => {
    call.received += chunk.length;
    try {
      reader.push(chunk);
    } catch (error) {
      fail(error);
    }
    judgeSender();
  };
  const onEnd = () => {
    came.isAtEnd = true;
    call.awaitsSender = false;
    if (reader.isWithin()) fail(new GrpcError('INTERNAL', 'The request ends within a message.'));
    wake();
  };
  over.addEventListener('abort', () => fail(over.reason), { once: true });
  if (head.signal.aborted) onAbort();
  head.signal.addEventListener('abort', onAbort, { once: true });
  stream.on('data', read);
  stream.once('end', onEnd);
  try {
    for (;;) {
      const next = arrived.shift();
      if (next !== undefined) {
        let inflatedBytes = 0;
        const grow = (bytes: number) => {
          inflatedBytes += bytes;
          if (inflatedBytes > next.limit.maxBytes) throw next.limit.tooLarge();
          take(bytes);
        };
        const double = (bytes: number) => {
          take(bytes);
          return () => give(bytes);
        };
        yield next.isCompressed
          ? await inflate(next.message, call.encoding, {
              room: { grow, double },
              signal: head.signal,
            })
          : next.message;
        give(next.heldBytes + inflatedBytes);
        continue;
      }
      // Refused bytes come no further; what came before them was handed on.
      if (came.failure !== undefined) throw came.failure as Error;
      if (came.isAtEnd) return undefined;
      const woken = new Promise<void>((resolve) => (wake = resolve));
      judgeSender();
      stream.resume();
      await woken;
    }
  } finally {
    call.awaitsSender = false;
    head.signal.removeEventListener('abort', onAbort);
    stream.off('data', read);
    stream.off('end', onEnd);
    stream.resume();
    give(heldBytes);
  }
}
