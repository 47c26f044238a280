import { PeerError } from '../grpc-error.js';
import { watchHost } from './host-watch.js';
import { makeCall, type Answer, type OutgoingCall } from './outgoing-call.js';
import { openPeerSession, type PeerSession } from './peer-session.js';

export interface GrpcConnection {
  call(call: OutgoingCall): Promise<Answer>;
  /**
   * Cuts the calls under way when the peer's host does not answer within `timeoutMs`, or no more: to be called
   * from time to time. Its system is asked, by another connection: a peer that computes in its only thread
   * answers nobody, and is there.
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
  let isOver = false;
  const isClosed = () => isOver;
  const host = watchHost(address, () => {
    for (const { http2, calls } of sessions) {
      if (calls > 0) http2.destroy(new Error('the host of the peer does not answer'));
    }
  });

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
      if ([...sessions].some(({ calls }) => calls > 0)) host.begin(timeoutMs);
      else host.end();
    },
    close() {
      isOver = true;
      host.end();
      for (const { http2 } of sessions) http2.destroy();
    },
  };
}
