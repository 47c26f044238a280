import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectSocket } from 'node:net';

/** One HTTP/2 connection to a peer, and what is known of its end. */
export interface PeerSession {
  readonly http2: ClientHttp2Session;
  /** Calls that are under way on it. */
  calls: number;
  isConnected(): boolean;
  /** Whether it takes another call: it is not about to end, and the peer said that it takes as many. */
  hasRoom(): boolean;
  isUsable(): boolean;
  /** Why it ended. */
  cause(): unknown;
  /** Of the last call that the peer says it has taken; undefined: it said nothing. */
  lastTakenStream(): number | undefined;
}

/** What a peer may send ahead of what is read: of one answer, and of all together. */
const windowBytes = 1024 ** 2;
const sessionWindowBytes = 16 * 1024 ** 2;
/** Before the peer has said how many it takes. */
const usualMaxCalls = 100;
/** A silent peer is looked for by the system, which needs no permission of it. */
const keepAliveMs = 10_000;

export function openPeerSession(
  address: string,
  { connectTimeoutMs, onClosed }: { connectTimeoutMs: number; onClosed: () => void },
): PeerSession {
  const http2 = connect(`http://${address}`, {
    createConnection: () =>
      connectSocket({
        ...addressOf(address),
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: keepAliveMs,
      }),
    settings: { enablePush: false, initialWindowSize: windowBytes },
    // In MB; what we hold back ourselves is bounded elsewhere.
    maxSessionMemory: 16 * 1024,
  });
  let isConnected = false;
  let isEnding = false;
  let cause: unknown;
  let lastTaken: number | undefined;
  const overdue = setTimeout(() => {
    http2.destroy(new Error(`no connection within ${connectTimeoutMs} ms`));
  }, connectTimeoutMs);

  http2.once('connect', () => {
    isConnected = true;
    clearTimeout(overdue);
    http2.setLocalWindowSize(sessionWindowBytes);
  });
  http2.on('error', (error) => {
    cause ??= error;
  });
  http2.on('goaway', (code: number, lastStreamId: number) => {
    [isEnding, lastTaken] = [true, lastStreamId];
    if (code !== constants.NGHTTP2_NO_ERROR) cause ??= new Error(`the peer sent away: ${code}`);
  });
  http2.once('close', () => {
    clearTimeout(overdue);
    isEnding = true;
    onClosed();
  });

  const session: PeerSession = {
    http2,
    calls: 0,
    isConnected: () => isConnected,
    isUsable: () => !isEnding && !http2.closed && !http2.destroyed,
    hasRoom: () => {
      const said = isConnected ? http2.remoteSettings.maxConcurrentStreams : undefined;
      return session.calls < (said ?? usualMaxCalls);
    },
    cause: () => cause,
    lastTakenStream: () => lastTaken,
  };
  return session;
}

export function addressOf(address: string): { host: string; port: number } {
  const { hostname, port } = new URL(`http://${address}`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port === '' ? '80' : port) };
}
