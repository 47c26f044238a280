import { PeerError } from '../grpc-error.js';
import { makeCall, type Answer, type OutgoingCall } from './outgoing-call.js';
import { openPeerSession, type PeerSession } from './peer-session.js';

export interface GrpcConnection {
  call(call: OutgoingCall): Promise<Answer>;
  /**
   * Cuts the calls under way when the peer does not answer within `timeoutMs`. Not to be asked often: servers
   * of other makers send away who asks more than twice in five minutes.
   */
  probe(timeoutMs: number): void;
  /** What is under way ends as if the peer had gone. */
  close(): void;
}

/** More than one where the peer takes few calls on each. */
const maxSessions = 8;

/** Calls to one peer, `host:port`. It is connected to when there is a call, and again when it was lost. */
export function openGrpcConnection(
  address: string,
  { connectTimeoutMs = 5_000 }: { connectTimeoutMs?: number } = {},
): GrpcConnection {
  const sessions = new Set<PeerSession>();
  const closing = new AbortController();
  const isClosed = () => closing.signal.aborted;

  function sessionFor(): PeerSession {
    let least: PeerSession | undefined;
    for (const session of sessions) {
      if (session.isUsable() && (least === undefined || session.calls < least.calls)) {
        least = session;
      }
    }
    if (least !== undefined && (least.hasRoom() || sessions.size >= maxSessions)) return least;
    const opened = openPeerSession(address, {
      connectTimeoutMs,
      onClosed: () => sessions.delete(opened),
    });
    sessions.add(opened);
    return opened;
  }

  return {
    async call(call) {
      if (isClosed()) throw new PeerError('the connection was closed', { neverTaken: true });
      const session = sessionFor();
      try {
        return await makeCall(session, call);
      } catch (error) {
        // It was being ended as the call went out: the peer takes it on another one.
        const isAgain = error instanceof PeerError && error.neverTaken && session.isConnected();
        if (!isAgain || isClosed() || call.signal?.aborted === true) throw error;
        return await makeCall(sessionFor(), call);
      }
    },
    probe(timeoutMs) {
      for (const { http2, calls } of sessions) {
        if (calls === 0 || http2.destroyed) continue;
        const overdue = setTimeout(() => {
          http2.destroy(new Error('the peer does not answer'));
        }, timeoutMs);
        http2.once('close', () => clearTimeout(overdue));
        http2.ping(() => clearTimeout(overdue));
      }
    },
    close() {
      closing.abort();
      for (const { http2 } of sessions) http2.destroy();
    },
  };
}
