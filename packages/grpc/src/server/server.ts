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
import type { Handler, Method } from './method.js';
import { keepPace, type MessagePace } from './pace.js';
import { guardSession } from './session-guard.js';
import { answerStream } from './streaming.js';
import { createTurns } from './turns.js';
import { answerUnary, type MessageLimits } from './unary.js';

export interface GrpcServerOptions extends MessageLimits {
  /** By path, `/package.Service/Method`. */
  methods: ReadonlyMap<string, Method>;
  pace: MessagePace;
  maxCallsPerConnection?: number;
  maxConnections?: number;
  /** From one group of addresses; default: half of them all. */
  maxConnectionsPerGroup?: number;
  /** What else one caller may come from; undefined: many come by this address, so that it has no such bound. */
  groupOf?(address: string): string | undefined;
  /** Told of every connection that is turned away since there are as many. */
  onCrowd?(): void;
  /** Told of what a handler throws that is no GrpcError: the caller gets INTERNAL, and no more of it. */
  onFault(error: unknown, path: string): void;
}

export interface GrpcServer {
  /** Gives the port. */
  listen(options: { host: string; port: number }): Promise<number>;
  /** Takes no more connections and calls, waits for those that are under way, `graceMs` at most, and cuts the rest. */
  close(graceMs: number): Promise<void>;
}

/**
 * A message of this size may come before it is asked for; more waits for the reader. Of a connection from which
 * nothing was let in yet it is 64 KiB of each call, as HTTP/2 has it: what a connection may send in all is no
 * bound, since Node makes room for more as it comes.
 */
const windowBytes = 512 * 1024;
const sessionWindowBytes = 8 * 1024 ** 2;
/** Calls of which is not known yet whether they may, be they begun or not: they are in nobody's budget. */
const maxWaiting = { strangers: 1_000, known: 2_000 };
/**
 * So many a connection may have at a time before one from it was let in. It is told so, and others wait at the
 * caller: those that many callers send through one proxy are not refused for coming together.
 */
const maxCallsOfStranger = 128;

/** How long what ends with the server may take to say so. */
const lastWordsMs = 200;

/** Of methods that are open to everybody, at a time on a connection. */
const maxOpenStreams = 100;
/** What comes without a credential is small, and takes no room from what others send. */
const limitsOfOpen: MessageLimits = {
  maxMessageBytes: 4 * 1024,
  budget: { take: () => true, give: () => undefined },
};

/** gRPC over HTTP/2 without TLS, which ends at the proxy before it. */
export function createGrpcServer(options: GrpcServerOptions): GrpcServer {
  const { methods, maxCallsPerConnection = 256, maxConnections = 2_000, onCrowd } = options;
  const { maxConnectionsPerGroup = Math.ceil(maxConnections / 2) } = options;
  const { groupOf = (address: string) => address } = options;
  const perGroup = new Map<string, number>();
  const calls = new Set<ActiveCall>();
  /** Those of methods that are open to everybody, and those that have not said yet who calls. */
  const openCalls = new WeakSet<ActiveCall>();
  const waiting = { strangers: 0, known: 0 };
  let isClosing = false;
  const inTurn = createTurns();
  const sessions = new Map<Http2Session, Connection>();
  const server = createServer({
    settings: {
      enablePush: false,
      maxConcurrentStreams: Math.min(maxCallsOfStranger, maxCallsPerConnection),
      maxHeaderListSize: 16 * 1024,
    },
    maxHeaderListPairs: 128,
    // In MB; what we hold back ourselves is bounded elsewhere.
    maxSessionMemory: 16 * 1024,
  });
  server.maxConnections = maxConnections;
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('drop', () => onCrowd?.());
  server.on('session', (session) => {
    const isBusy = () => (sessions.get(session)?.calls ?? 0) > 0;
    sessions.set(session, {
      ...{ calls: 0, openStreams: 0, isWide: false },
      ...guardSession(session, isBusy),
    });
    session.once('close', () => sessions.delete(session));
    countGroup(session, groupOf(session.socket.remoteAddress ?? ''));
  });
  server.on('sessionError', () => undefined);
  const stopPace = keepPace(calls, options.pace);

  server.on('stream', (stream, headers) => {
    const { session } = stream;
    const connection = session && sessions.get(session);
    if (connection === undefined) return;
    const method = methodOf(stream, headers);
    if (method === undefined) {
      connection.noteBroken();
      return;
    }
    const path = String(headers[':path']);
    const call = openCall(stream, headers, {
      path,
      peerAddress: session?.socket.remoteAddress ?? '',
    });
    calls.add(call);
    connection.calls += 1;
    stream.once('close', () => {
      calls.delete(call);
      connection.calls -= 1;
      const isReset = stream.rstCode !== constants.NGHTTP2_NO_ERROR;
      if (isReset || call.isCutShort) connection.noteBroken();
    });
    const letIn = () => {
      openCalls.delete(call);
      if (connection.isWide || session?.destroyed !== false) return;
      connection.isWide = true;
      session.setLocalWindowSize(sessionWindowBytes);
      session.settings({
        initialWindowSize: windowBytes,
        maxConcurrentStreams: maxCallsPerConnection,
      });
    };
    const begin = (handler: Handler) => {
      const isToOpen = 'stream' in handler && handler.opening !== undefined;
      if (handler.isOpen !== true && !isToOpen) {
        letIn();
        return;
      }
      openCalls.add(call);
      if (isClosing) throw isStopping();
      if ('stream' in handler && !isToOpen) countOpenStream(stream, connection);
    };
    const { signal } = call.head;
    if (signal.aborted) return;
    // What it has sent is held from now on, long before its turn.
    const leave = enter(connection, signal);
    if (leave === undefined) {
      call.cut(isCrowded());
      return;
    }
    inTurn(() => {
      if (!signal.aborted) void answer(call, leaving(method, leave), { begin, letIn });
    });
  });

  /** One caller alone is not to have all connections. */
  function countGroup(session: Http2Session, group: string | undefined): void {
    if (group === undefined) return;
    const count = perGroup.get(group) ?? 0;
    if (count >= maxConnectionsPerGroup) {
      onCrowd?.();
      session.destroy(new Error('too many connections'), constants.NGHTTP2_ENHANCE_YOUR_CALM);
      return;
    }
    perGroup.set(group, count + 1);
    session.once('close', () => {
      const left = (perGroup.get(group) ?? 1) - 1;
      if (left > 0) perGroup.set(group, left);
      else perGroup.delete(group);
    });
  }

  /** Counts a call until it is left, or over; undefined: too many wait. */
  function enter(connection: Connection, signal: AbortSignal): (() => void) | undefined {
    const kind = connection.isWide ? 'known' : 'strangers';
    if (waiting[kind] >= maxWaiting[kind]) return undefined;
    waiting[kind] += 1;
    let isCounted = true;
    const leave = () => {
      if (!isCounted) return;
      isCounted = false;
      signal.removeEventListener('abort', leave);
      waiting[kind] -= 1;
    };
    signal.addEventListener('abort', leave, { once: true });
    return leave;
  }

  async function answer(
    call: ActiveCall,
    method: Method,
    { begin, letIn }: { begin: (handler: Handler) => void; letIn: () => void },
  ): Promise<void> {
    let handler: Handler | undefined;
    try {
      handler = await method(call.head);
      if (call.head.signal.aborted) return;
      begin(handler);
      const limits = handler.isOpen === true ? limitsOfOpen : options;
      if ('unary' in handler) await answerUnary(call, handler.unary, limits);
      else await answerStream(call, handler, limits, letIn);
    } catch (error) {
      if (call.head.signal.aborted || error instanceof GrpcError) {
        call.end(error instanceof GrpcError ? error : cancelled());
        return;
      }
      options.onFault(error, call.head.path);
      call.end(new GrpcError('INTERNAL', 'The server failed.'));
    } finally {
      handler?.end?.();
    }
  }

  /** Undefined: it has been answered. */
  function methodOf(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): Method | undefined {
    const refusal = refusalOf(headers, methods);
    if (refusal === undefined) return methods.get(headers[':path'] ?? '');
    stream.on('error', () => undefined);
    if (stream.destroyed || stream.closed) return undefined;
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
      isClosing = true;
      // Whoever may be silent for as long as it likes would have the others' time; what knows of the stop ends itself.
      const cutOpen = setTimeout(() => {
        for (const call of calls) if (openCalls.has(call)) call.cut(isStopping());
      }, lastWordsMs);
      let cut = setTimeout(() => {
        for (const call of calls) call.cut(isStopping());
        // Their last words go out first. The sockets themselves: a session would wait for its client to hang up.
        cut = setTimeout(() => {
          for (const socket of sockets) socket.destroy();
        }, lastWordsMs);
      }, graceMs);
      await closed;
      clearTimeout(cutOpen);
      clearTimeout(cut);
      stopPace();
    },
  };
}

/** The method, which a call leaves those that wait with, be it let in or not. */
function leaving(method: Method, leave: () => void): Method {
  return async (head) => {
    try {
      return await method(head);
    } finally {
      leave();
    }
  };
}

interface Connection {
  calls: number;
  /** Of methods that are open to everybody. */
  openStreams: number;
  /** Whether as much may come at a time as from one that is known. */
  isWide: boolean;
  noteBroken(): void;
}

function countOpenStream(stream: ServerHttp2Stream, connection: Connection): void {
  if (connection.openStreams >= maxOpenStreams) {
    throw new GrpcError(
      'RESOURCE_EXHAUSTED',
      `A connection may have ${maxOpenStreams} such streams at a time.`,
    );
  }
  connection.openStreams += 1;
  stream.once('close', () => (connection.openStreams -= 1));
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

function isStopping(): GrpcError {
  return new GrpcError('UNAVAILABLE', 'The server is stopping.');
}

function isCrowded(): GrpcError {
  return new GrpcError('UNAVAILABLE', 'Too many calls wait to be let in at the moment.', {
    trailers: { 'retry-after': '1' },
  });
}

function cancelled(): GrpcError {
  return new GrpcError('CANCELLED', 'The call was cut.');
}
