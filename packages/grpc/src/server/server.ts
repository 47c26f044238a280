import {
  constants,
  createServer,
  type Http2Session,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo, Socket } from 'node:net';
import { GrpcError } from '../grpc-error.js';
import { openCall, type ActiveCall } from './active-call.js';
import type { Method } from './method.js';
import { keepPace, type MessagePace } from './pace.js';
import { guardSession } from './session-guard.js';
import { answerStream } from './streaming.js';
import { answerUnary, type MessageLimits } from './unary.js';

export interface GrpcServerOptions extends MessageLimits {
  /** By path, `/package.Service/Method`. */
  methods: ReadonlyMap<string, Method>;
  pace: MessagePace;
  maxCallsPerConnection?: number;
  maxConnections?: number;
  /** Told of what a handler throws that is no GrpcError: the caller gets INTERNAL, and no more of it. */
  onFault(error: unknown, path: string): void;
}

export interface GrpcServer {
  /** Gives the port. */
  listen(options: { host: string; port: number }): Promise<number>;
  /** Takes no more connections and calls, waits for those that are under way, `graceMs` at most, and cuts the rest. */
  close(graceMs: number): Promise<void>;
}

/** A message of this size may come before it is asked for; more waits for the reader. */
const windowBytes = 512 * 1024;
const sessionWindowBytes = 8 * 1024 ** 2;

/** gRPC over HTTP/2 without TLS, which ends at the proxy before it. */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { methods, maxCallsPerConnection = 256, maxConnections = 2_000 } = options;
  const calls = new Set<ActiveCall>();
  const sessions = new Map<Http2Session, { calls: number; noteReset(): void }>();
  const server = createServer({
    settings: {
      enablePush: false,
      initialWindowSize: windowBytes,
      maxConcurrentStreams: maxCallsPerConnection,
      maxHeaderListSize: 16 * 1024,
    },
    maxHeaderListPairs: 128,
    // In MB; what we hold back ourselves is bounded elsewhere.
    maxSessionMemory: 16 * 1024,
  });
  server.maxConnections = maxConnections;
  server.on('connection', (socket: Socket) => socket.setNoDelay(true));
  server.on('session', (session) => {
    const isBusy = () => (sessions.get(session)?.calls ?? 0) > 0;
    sessions.set(session, { calls: 0, ...guardSession(session, isBusy) });
    session.setLocalWindowSize(sessionWindowBytes);
    session.once('close', () => sessions.delete(session));
  });
  server.on('sessionError', () => undefined);
  const stopPace = keepPace(calls, options.pace);

  server.on('stream', (stream, headers) => {
    const session = stream.session && sessions.get(stream.session);
    const method = methodOf(stream, headers);
    if (method === undefined || session === undefined) return;
    const path = String(headers[':path']);
    const peerAddress = stream.session?.socket.remoteAddress ?? '';
    const call = openCall(stream, headers, { path, peerAddress });
    calls.add(call);
    session.calls += 1;
    stream.once('close', () => {
      calls.delete(call);
      session.calls -= 1;
      const { rstCode } = stream;
      const isReset = rstCode !== constants.NGHTTP2_NO_ERROR;
      if (isReset) session.noteReset();
    });
    if (!call.head.signal.aborted) void answer(call, method);
  });

  async function answer(call: ActiveCall, method: Method): Promise<void> {
    try {
      const handler = await method(call.head);
      if (call.head.signal.aborted) return;
      if ('unary' in handler) await answerUnary(call, handler.unary, options);
      else await answerStream(call, handler.stream, options);
    } catch (error) {
      if (call.head.signal.aborted || error instanceof GrpcError) {
        call.end(error instanceof GrpcError ? error : cancelled());
        return;
      }
      options.onFault(error, call.head.path);
      call.end(new GrpcError('INTERNAL', 'The server failed.'));
    }
  }

  /** Undefined: it has been answered. */
  function methodOf(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Method | undefined {
    const refusal = refusalOf(headers, methods);
    if (refusal === undefined) return methods.get(headers[':path'] ?? '');
    stream.on('error', () => undefined);
    stream.respond(refusal, { endStream: true });
    if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
    return undefined;
  }

  return {
    listen: ({ host, port }) =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, () => {
          server.off('error', reject);
          resolve((server.address() as AddressInfo).port);
        });
      }),
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of sessions.keys()) session.close();
      const cut = setTimeout(() => {
        for (const call of calls) call.cut(new GrpcError('UNAVAILABLE', 'The server is stopping.'));
        // Their last words go out first.
        setTimeout(() => {
          for (const session of sessions.keys()) session.destroy();
        }, 200);
      }, graceMs);
      await closed;
      clearTimeout(cut);
      stopPace();
    },
  };
}

/** The answer to what is no call of ours; undefined: it is one. */
function refusalOf(
  headers: IncomingHttpHeaders,
  methods: ReadonlyMap<string, Method>,
): Record<string, string | number> | undefined {
  if (headers[':method'] !== 'POST') return { ':status': 405, allow: 'POST' };
  const type = headers['content-type'] ?? '';
  if (!/^application\/grpc(?:$|[+;])/i.test(type)) return { ':status': 415 };
  if (methods.has(headers[':path'] ?? '')) return undefined;
  return {
    ...{ ':status': 200, 'content-type': 'application/grpc' },
    ...{ 'grpc-status': '12', 'grpc-message': 'There is no such method here.' },
  };
}

function cancelled(): GrpcError {
  return new GrpcError('CANCELLED', 'The call was cut.');
}
