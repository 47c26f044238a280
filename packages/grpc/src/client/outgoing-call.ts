import { statusNameOf, statusOfHttp, type StatusName } from '../codes.js';
import { createMessageReader, lengthOf, prefixOf, type MessageSink } from '../framing.js';
import { GrpcError, PeerError } from '../grpc-error.js';
import type { ClientSession } from '../http2/client-session.js';
import { encodeHeaders, type HeaderEntry, type Headers } from '../http2/hpack.js';
import { decodeStatusMessage, metadataOf, type Metadata } from '../metadata.js';
import { onceAt, writeTimeout } from '../timeout.js';

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
export function makeCall(
  session: ClientSession,
  headers: Buffer,
  call: OutgoingCall,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { signal, deadlineAt } = call;
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    let message: Buffer | undefined;
    let hasBegun = false;
    let httpStatus: number | undefined;
    let last: Headers = {};
    let stopTimer: (() => void) | undefined;

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
      signal?.removeEventListener('abort', onAbort);
      stopTimer?.();
      act();
    };
    const fail = (error: Error) => {
      stream.cancel();
      settle(() => reject(error));
    };
    const onAbort = () => fail(signal?.reason as Error);
    const body = [prefixOf(lengthOf(call.message)), ...call.message];
    const stream = session.request(headers, body, {
      headers(said) {
        // What is said before a response is none.
        if (said[':status']?.startsWith('1') === true) return;
        httpStatus ??= Number(said[':status']);
        last = said;
      },
      data(chunk) {
        // What no gRPC answered is no message.
        if (httpStatus !== 200) return true;
        try {
          const full = reader.push(chunk);
          full?.once('drain', () => stream.resume());
          return full === undefined;
        } catch (error) {
          fail(error as Error);
          return true;
        }
      },
      end() {
        settle(() => {
          const ended = answerOf(last);
          if (ended instanceof Error) reject(ended);
          else resolve(ended);
        });
      },
      lost: (error) => settle(() => reject(error)),
    });
    if (deadlineAt !== undefined) {
      const isLate = () => fail(new GrpcError('DEADLINE_EXCEEDED', 'The time is over.'));
      stopTimer = onceAt(deadlineAt, isLate);
    }
    signal?.addEventListener('abort', onAbort, { once: true });

    function answerOf(end: Headers): Answer | GrpcError {
      const code = end['grpc-status'];
      if (code === undefined) {
        if (httpStatus !== 200) return noGrpc(httpStatus);
        return new PeerError('the peer ended the call without a status', { neverTaken: false });
      }
      const status = statusNameOf(/^\d{1,2}$/.test(code) ? Number(code) : NaN);
      const isCut = reader.isWithin() || (status === 'OK' && !hasBegun);
      if (status === 'OK' && isCut) {
        return new GrpcError('INTERNAL', 'The answer is OK and has no whole message.');
      }
      const statusMessage = decodeStatusMessage(end['grpc-message'] ?? '');
      return { status, statusMessage, trailers: metadataOf(end), message };
    }
  });
}

/** The headers of calls to one peer: what does not change from call to call is made once for each path. */
export function headersTo(authority: string): (call: OutgoingCall) => Buffer {
  const usual = new Map<string, Buffer>();
  return ({ path, metadata, deadlineAt }) => {
    const block = usual.get(path) ?? encodeHeaders(usualHeaders(authority, path));
    usual.set(path, block);
    if (deadlineAt === undefined && metadata === undefined) return block;
    const more = Object.entries(metadata ?? {});
    if (deadlineAt !== undefined) {
      more.push(['grpc-timeout', writeTimeout(deadlineAt - performance.now())]);
    }
    return Buffer.concat([block, encodeHeaders(more)]);
  };
}

function usualHeaders(authority: string, path: string): HeaderEntry[] {
  return [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', authority],
    ['te', 'trailers'],
    ['content-type', 'application/grpc'],
    ['grpc-accept-encoding', 'identity'],
  ];
}

function noGrpc(httpStatus = NaN): GrpcError {
  return new GrpcError(statusOfHttp(httpStatus), `The peer answered with HTTP ${httpStatus}.`);
}
