import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import { statusNameOf, statusOfHttp, type StatusName } from '../codes.js';
import { createMessageReader, lengthOf, prefixOf, type MessageSink } from '../framing.js';
import { GrpcError, PeerError } from '../grpc-error.js';
import { decodeStatusMessage, metadataOf, type Metadata } from '../metadata.js';
import { onceAt, writeTimeout } from '../timeout.js';
import type { PeerSession } from './peer-session.js';

export interface OutgoingCall {
  /** `/package.Service/Method` */
  path: string;
  /** Goes out in this order, as one message; nothing of it is copied unless it is small. */
  message: readonly Buffer[];
  metadata?: Metadata;
  /** When the caller waits no longer (performance.now()). */
  deadlineAt?: number | undefined;
  signal?: AbortSignal | undefined;
  maxAnswerBytes: number;
  /** Asked when an answer begins: what it gives takes the answer as it comes; undefined: it is put together. */
  sinkFor?: (messageBytes: number) => MessageSink | undefined;
}

/** How the peer answered, be it OK or not. */
export interface Answer {
  status: StatusName;
  statusMessage: string;
  trailers: Metadata;
  /** Undefined: there was none, or a sink has taken it. */
  message: Buffer | undefined;
}

/**
 * Makes a unary call on a session. Throws PeerError where the peer gives no status, GrpcError where its
 * answer is none or comes too late, or the signal's reason.
 */
export function makeCall(session: PeerSession, call: OutgoingCall): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { signal, deadlineAt } = call;
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    let stream: ClientHttp2Stream;
    try {
      stream = session.http2.request(headersOf(call));
    } catch (error) {
      reject(new PeerError(whyLost(error), { neverTaken: true, cause: error }));
      return;
    }
    session.calls += 1;
    let message: Buffer | undefined;
    let hasBegun = false;
    let end: IncomingHttpHeaders | undefined;
    let httpStatus = 200;
    let cause: unknown;
    let isSettled = false;

    const reader = createMessageReader({
      begin(bytes, isCompressed) {
        if (hasBegun) throw new GrpcError('INTERNAL', 'The answer has more than one message.');
        hasBegun = true;
        if (isCompressed) throw new GrpcError('INTERNAL', 'The answer is compressed.');
        if (bytes > call.maxAnswerBytes) {
          const limit = `The answer is larger than ${call.maxAnswerBytes} bytes.`;
          throw new GrpcError('RESOURCE_EXHAUSTED', limit);
        }
        return call.sinkFor?.(bytes);
      },
      take: (whole) => (message = whole),
    });

    const settle = (act: () => void) => {
      if (isSettled) return;
      isSettled = true;
      signal?.removeEventListener('abort', onAbort);
      stopTimer?.();
      act();
    };
    const fail = (error: Error) => {
      settle(() => reject(error));
      stream.close(constants.NGHTTP2_CANCEL);
    };
    const onAbort = () => fail(signal?.reason as Error);
    const stopTimer =
      deadlineAt === undefined
        ? undefined
        : onceAt(deadlineAt, () => fail(new GrpcError('DEADLINE_EXCEEDED', 'The time is over.')));

    signal?.addEventListener('abort', onAbort, { once: true });
    stream.on('error', (error) => {
      cause ??= error;
    });
    stream.on('response', (headers) => {
      httpStatus = Number(headers[':status']);
      if ('grpc-status' in headers) end = headers;
    });
    stream.on('trailers', (trailers: IncomingHttpHeaders) => {
      end = trailers;
    });
    stream.on('data', (chunk: Buffer) => {
      // What no gRPC answered is no message.
      if (isSettled || httpStatus !== 200) return;
      try {
        const full = reader.push(chunk);
        if (full === undefined) return;
        stream.pause();
        full.once('drain', () => stream.resume());
      } catch (error) {
        fail(error as Error);
      }
    });
    stream.on('end', () => {
      if (end !== undefined) finish(end);
      else if (httpStatus !== 200) fail(noGrpc(httpStatus));
    });
    stream.on('close', () => {
      session.calls -= 1;
      // Node keeps a client's stream until a full garbage collection (measured on 20.20): not the call with it.
      stream.removeAllListeners();
      if (end === undefined) settle(() => reject(lost(session, stream, cause)));
      else finish(end);
    });
    send(stream, call.message);

    function finish(headers: IncomingHttpHeaders): void {
      const status = statusNameOf(Number(headers['grpc-status'] ?? NaN));
      const isCut = reader.isWithin() || (status === 'OK' && !hasBegun);
      if (status === 'OK' && isCut) {
        fail(new GrpcError('INTERNAL', 'The answer is OK and has no whole message.'));
        return;
      }
      const text = headers['grpc-message'];
      const statusMessage = decodeStatusMessage(typeof text === 'string' ? text : '');
      settle(() => resolve({ status, statusMessage, trailers: metadataOf(headers), message }));
    }
  });
}

function headersOf({ path, metadata, deadlineAt }: OutgoingCall) {
  return {
    ...metadata,
    ':method': 'POST',
    ':path': path,
    te: 'trailers',
    'content-type': 'application/grpc',
    'grpc-accept-encoding': 'identity',
    ...(deadlineAt !== undefined && {
      'grpc-timeout': writeTimeout(deadlineAt - performance.now()),
    }),
  };
}

/** Small messages are copied together: that costs less than another write. */
const copiedBytes = 16 * 1024;

function send(stream: ClientHttp2Stream, parts: readonly Buffer[]): void {
  const bytes = lengthOf(parts);
  const framed = [prefixOf(bytes), ...parts];
  if (bytes <= copiedBytes) {
    stream.end(Buffer.concat(framed));
    return;
  }
  stream.cork();
  for (const part of framed) stream.write(part);
  stream.end();
}

function noGrpc(httpStatus: number): GrpcError {
  return new GrpcError(statusOfHttp(httpStatus), `The peer answered with HTTP ${httpStatus}.`);
}

/**
 * A call without an answer. No handler has seen it when there never was a connection, when the peer says so of
 * the call (REFUSED_STREAM), or, as it sends the connection away, that it took only earlier ones.
 */
function lost(session: PeerSession, stream: ClientHttp2Stream, cause: unknown): PeerError {
  const { id, rstCode } = stream;
  const why = session.cause() ?? cause;
  const lastTaken = session.lastTakenStream();
  const neverTaken =
    !session.isConnected() ||
    id === undefined ||
    rstCode === constants.NGHTTP2_REFUSED_STREAM ||
    (lastTaken !== undefined && id > lastTaken);
  const text = why === undefined ? `the peer ended the call with ${rstCode}` : whyLost(why);
  return new PeerError(text, { neverTaken, cause: why });
}

function whyLost(error: unknown): string {
  const { code } = error as { code?: unknown };
  const text = error instanceof Error ? error.message : String(error);
  return typeof code === 'string' && !text.includes(code) ? `${text} (${code})` : text;
}
