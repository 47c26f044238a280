import { constants } from 'node:http2';
import { GrpcError } from '../grpc-error.js';
import type { ActiveCall } from './active-call.js';

export interface MessagePace {
  /** What a message must bring in every window while it comes. */
  minBytes: number;
  windowMs: number;
}

const looksPerWindow = 6;

/**
 * Ends calls whose messages come slower than `pace`, and those whose answers nobody takes for a window. There
 * is no bound on the time in all, and what waits for the server itself is not judged.
 */
export function keepPace(
  calls: ReadonlySet<ActiveCall>,
  { minBytes, windowMs }: MessagePace,
): () => void {
  const senders = new WeakMap<ActiveCall, { since: number; received: number }>();
  const takers = new WeakMap<ActiveCall, { since: number; unsent: number; drained: number }>();

  function judgeSender(call: ActiveCall, now: number): void {
    const before = senders.get(call);
    if (!call.awaitsSender || before === undefined) {
      senders.set(call, { since: now, received: call.received });
    } else if (now - before.since >= windowMs) {
      senders.set(call, { since: now, received: call.received });
      if (call.received - before.received < minBytes) call.cut(tooSlow(minBytes, windowMs));
    }
  }

  function judgeTaker(call: ActiveCall, now: number): void {
    const unsent = call.stream.writableLength;
    const { drained } = call;
    const before = takers.get(call);
    const hasTaken = before?.unsent !== unsent || before.drained !== drained;
    if (unsent === 0 || before === undefined || hasTaken) {
      takers.set(call, { since: now, unsent, drained });
    } else if (now - before.since >= windowMs) {
      call.cut(new GrpcError('CANCELLED', 'The answer is not taken.'));
      call.stream.close(constants.NGHTTP2_CANCEL);
    }
  }

  const timer = setInterval(() => {
    const now = performance.now();
    for (const call of calls) {
      judgeSender(call, now);
      judgeTaker(call, now);
    }
  }, windowMs / looksPerWindow);
  timer.unref();
  return () => clearInterval(timer);
}

function tooSlow(minBytes: number, windowMs: number): GrpcError {
  return new GrpcError(
    'CANCELLED',
    `The message came with less than ${minBytes} bytes in ${windowMs / 1000} s.`,
  );
}
