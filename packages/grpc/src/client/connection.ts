import { PeerError } from '../grpc-error.js';
import { openClientSession, type ClientSession } from '../http2/client-session.js';
import { watchHost } from './host-watch.js';
import { headersTo, makeCall, type Answer, type OutgoingCall } from './outgoing-call.js';

export interface GrpcConnection {
  call(call: OutgoingCall): Promise<Answer>;
  /**
   * Cuts the calls under way when the peer's host does not answer within `timeoutMs`, or no more: to be called
   * from time to time. Its system is asked, by another connection: a peer that computes in its only thread
   * answers nobody, and is there.
   */
  probe(timeoutMs: number): void;
  /** What is under way ends as if the peer had gone; an answer that has come whole is still read. */
  close(): void;
}

/** More than one where the peer takes few calls on each. */
const maxSessions = 8;

/** Calls to one peer, `host:port`. It is connected to when there is a call, and again when it was lost. */
export function openGrpcConnection(
  address: string,
  { connectTimeoutMs = 5_000 }: { connectTimeoutMs?: number } = {},
): GrpcConnection {
  const sessions = new Set<ClientSession>();
  const target = addressOf(address);
  const headersOf = headersTo(address);
  let isOver = false;
  const isClosed = () => isOver;
  const host = watchHost(target, () => {
    for (const session of sessions) {
      if (session.streams > 0) session.destroy(new Error('the host of the peer does not answer'));
    }
  });

  function sessionFor(): ClientSession {
    let least: ClientSession | undefined;
    let usable = 0;
    for (const session of sessions) {
      if (!session.isUsable()) continue;
      usable += 1;
      if (least === undefined || session.streams < least.streams) least = session;
    }
    if (least !== undefined && (least.hasRoom() || usable >= maxSessions)) return least;
    const opened = openClientSession(target, {
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
        return await makeCall(session, headersOf(call), call);
      } catch (error) {
        // It was being ended as the call went out: the peer takes it on another one.
        const isAgain = error instanceof PeerError && error.neverTaken && session.isConnected();
        if (!isAgain || isClosed() || call.signal?.aborted === true) throw error;
        return await makeCall(sessionFor(), headersOf(call), call);
      }
    },
    probe(timeoutMs) {
      if ([...sessions].some(({ streams }) => streams > 0)) host.begin(timeoutMs);
      else host.end();
    },
    close() {
      isOver = true;
      host.end();
      for (const session of sessions) session.destroy(new Error('the connection was closed'));
    },
  };
}

function addressOf(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`http://${address}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? '80' : port) };
}
