import { GrpcError, PeerError } from '../grpc-error.js';
import { onceAt } from '../timeout.js';
import { whyLost, type OutgoingCall } from './outgoing-call.js';
import type { PeerSession } from './peer-session.js';

/**
 * Waits until a session can be asked, as one of its calls. Throws PeerError where it ends before, and what
 * {@link makeCall} throws where the call does.
 */
export async function untilReady(
  session: PeerSession,
  { signal, deadlineAt }: Pick<OutgoingCall, 'signal' | 'deadlineAt'>,
): Promise<void> {
  signal?.throwIfAborted();
  let leave: (() => void) | undefined;
  session.calls += 1;
  try {
    await new Promise<void>((resolve, reject) => {
      const onAbort = () => reject(signal?.reason as Error);
      const onOver = () => reject(new GrpcError('DEADLINE_EXCEEDED', 'The time is over.'));
      const stopTimer = deadlineAt === undefined ? undefined : onceAt(deadlineAt, onOver);
      signal?.addEventListener('abort', onAbort, { once: true });
      leave = () => {
        stopTimer?.();
        signal?.removeEventListener('abort', onAbort);
      };
      session.ready.then(resolve, (cause: unknown) => {
        reject(new PeerError(whyLost(cause), { neverTaken: true, cause }));
      });
    });
  } finally {
    leave?.();
    session.calls -= 1;
  }
}
