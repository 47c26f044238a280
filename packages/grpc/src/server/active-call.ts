import { once } from 'node:events';
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { statusCodes } from '../codes.js';
import { lengthOf, prefixOf } from '../framing.js';
import { GrpcError } from '../grpc-error.js';
import { encodeStatusMessage, metadataOf, type Metadata } from '../metadata.js';
import { onceAt, readTimeout } from '../timeout.js';
import { encodings, type Encoding } from './inflate.js';
import type { CallHead } from './method.js';

/** A call that is under way, as the server sees it. */
export interface ActiveCall {
  readonly stream: ServerHttp2Stream;
  readonly head: CallHead;
  readonly encoding: Encoding;
  /** Bytes of messages that have come. */
  received: number;
  /** Whether its sender is to go on; it is held to a pace then. */
  awaitsSender: boolean;
  /** How often all that was written had gone out. */
  drained: number;
  /** Whether it was answered before its request was read: of a reset that comes then nothing is told. */
  isCutShort: boolean;
  /** Ends it for a reason of the server's own. */
  cut(error: GrpcError): void;
  /** Begins the answer, if that has not happened. */
  respond(): void;
  /** Waits for a caller that takes what is written slowly. Throws why the call has ended in between. */
  writeMessage(parts: readonly Buffer[]): Promise<void>;
  /** Ends it with a status, once. */
  end(error: GrpcError | undefined, trailers?: Metadata): void;
}

/** Opens a call. Throws the GrpcError that is its answer when its headers are out of form. */
export function openCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { path, peerAddress }: { path: string; peerAddress: string },
): ActiveCall {
  const over = new AbortController();
  const timeout = headers['grpc-timeout'];
  const timeoutMs = typeof timeout === 'string' ? readTimeout(timeout) : undefined;
  const deadlineAt = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const named = headers['grpc-encoding'] ?? 'identity';
  const encoding = encodings.find((name) => name === named);
  let trailers: Metadata = {};
  let isEnded = false;

  const call: ActiveCall = {
    stream,
    encoding: encoding ?? 'identity',
    received: 0,
    awaitsSender: false,
    drained: 0,
    isCutShort: false,
    head: {
      path,
      metadata: metadataOf(headers),
      authority: headers[':authority'] ?? headers.host ?? '',
      peerAddress,
      deadlineAt,
      signal: over.signal,
      cut: (error) => call.cut(error),
    },
    cut(error) {
      over.abort(error);
      call.end(error);
    },
    respond() {
      if (stream.headersSent || stream.destroyed || stream.closed) return;
      stream.respond(answerHead, { waitForTrailers: true });
      stream.once('wantTrailers', () => {
        if (stream.destroyed || stream.closed) return;
        sendable(trailers, (sent) => stream.sendTrailers(sent));
        // They are dropped where a reset is asked for before they have gone to the socket, which is after this.
        setImmediate(closeUnread);
      });
    },
    async writeMessage(parts) {
      const { signal } = over;
      for (const piece of piecesOf(parts)) {
        if (stream.writableNeedDrain)
          await once(stream, 'drain', { signal }).catch(() => undefined);
        signal.throwIfAborted();
        call.respond();
        stream.write(piece);
      }
    },
    end(error, own = {}) {
      if (isEnded) return;
      isEnded = true;
      stopTimer?.();
      if (stream.destroyed || stream.closed) return;
      trailers = trailersOf(error, own);
      call.isCutShort = !stream.readableEnded;
      if (stream.headersSent) {
        stream.end();
        return;
      }
      sendable(trailers, (sent) => stream.respond({ ...answerHead, ...sent }, { endStream: true }));
      closeUnread();
    },
  };

  /** What still comes of the request is not waited for. */
  function closeUnread(): void {
    if (call.isCutShort && !stream.closed) stream.close(constants.NGHTTP2_NO_ERROR);
  }

  const isLate = () =>
    call.cut(new GrpcError('DEADLINE_EXCEEDED', 'The time that the caller gave is over.'));
  const stopTimer = deadlineAt === undefined ? undefined : onceAt(deadlineAt, isLate);
  stream.on('error', () => undefined);
  stream.on('drain', () => (call.drained += 1));
  stream.once('close', () => {
    stopTimer?.();
    if (!isEnded) over.abort(new GrpcError('CANCELLED', 'The caller has gone.'));
    isEnded = true;
  });
  if (timeout !== undefined && timeoutMs === undefined) {
    call.cut(new GrpcError('INTERNAL', 'grpc-timeout is out of form.'));
  } else if (encoding === undefined) {
    call.cut(new GrpcError('UNIMPLEMENTED', 'Messages may be compressed by gzip or deflate.'));
  }
  return call;
}

const answerHead = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-accept-encoding': encodings.join(','),
};

/** A model may have said what HTTP/2 does not carry: its caller hears that then. */
function sendable(trailers: Metadata, send: (trailers: Metadata) => void): void {
  try {
    send(trailers);
  } catch {
    send(trailersOf(new GrpcError('INTERNAL', 'The answer has trailers that cannot be sent.'), {}));
  }
}

function trailersOf(error: GrpcError | undefined, own: Metadata): Metadata {
  if (error === undefined) return { ...own, 'grpc-status': '0' };
  return {
    ...error.trailers,
    'grpc-status': String(statusCodes[error.status]),
    'grpc-message': encodeStatusMessage(error.message.slice(0, maxMessageLength)),
  };
}

/** Of the text of a status: trailers that are too large are never read. */
const maxMessageLength = 2_000;
/** Of what is written at a time: it is told to be taken when all of it is. */
const pieceBytes = 64 * 1024;

/** A message with its prefix; what is small goes out as one frame. */
function* piecesOf(parts: readonly Buffer[]): Generator<Buffer> {
  const bytes = lengthOf(parts);
  if (bytes <= pieceBytes) {
    yield Buffer.concat([prefixOf(bytes), ...parts]);
    return;
  }
  yield prefixOf(bytes);
  for (const part of parts) {
    for (let at = 0; at < part.length; at += pieceBytes) yield part.subarray(at, at + pieceBytes);
  }
}
