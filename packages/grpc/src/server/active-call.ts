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
  /** Whether it was answered before its request was read: of a reset that comes then nothing is told. */
  isCutShort: boolean;
  /** Ends it for a reason of the server's own. */
  cut(error: GrpcError): void;
  /** Begins the answer, if that has not happened. */
  respond(): void;
  writeMessage(parts: readonly Buffer[]): boolean;
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
        if (!stream.destroyed && !stream.closed) stream.sendTrailers(trailers);
      });
    },
    writeMessage(parts) {
      call.respond();
      return writeParts(stream, parts);
    },
    end(error, own = {}) {
      if (isEnded) return;
      isEnded = true;
      stopTimer?.();
      if (stream.destroyed || stream.closed) return;
      trailers = trailersOf(error, own);
      if (stream.headersSent) stream.end();
      else stream.respond({ ...answerHead, ...trailers }, { endStream: true });
      // What still comes of the request is not waited for.
      call.isCutShort = !stream.readableEnded;
      if (call.isCutShort) stream.close(constants.NGHTTP2_NO_ERROR);
    },
  };

  const isLate = () =>
    call.cut(new GrpcError('DEADLINE_EXCEEDED', 'The time that the caller gave is over.'));
  const stopTimer = deadlineAt === undefined ? undefined : onceAt(deadlineAt, isLate);
  stream.on('error', () => undefined);
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
const copiedBytes = 16 * 1024;

function writeParts(stream: ServerHttp2Stream, parts: readonly Buffer[]): boolean {
  const bytes = lengthOf(parts);
  if (bytes <= copiedBytes) return stream.write(Buffer.concat([prefixOf(bytes), ...parts]));
  stream.cork();
  let hasRoom = stream.write(prefixOf(bytes));
  for (const part of parts) hasRoom = stream.write(part);
  stream.uncork();
  return hasRoom;
}
