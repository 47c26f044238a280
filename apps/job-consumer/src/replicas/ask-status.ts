import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectSocket } from 'node:net';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';

export interface Address {
  host: string;
  port: number;
}

/**
 * Whether a runtime serves: by its own `Status`, and where it has none by answering that it has none. Undefined:
 * it does; else why not. Rejects with the signal's reason.
 */
export async function askStatus(
  address: Address,
  signal: AbortSignal,
): Promise<string | undefined> {
  const bounds = joinSignals(signal, AbortSignal.timeout(answerWithinMs));
  const socket = connectSocket(address);
  const session = connect(`http://${address.host}:${address.port}`, {
    createConnection: () => socket,
  });
  // It also fails its streams, which are waited for.
  session.on('error', () => undefined);
  try {
    return verdictOn(await call(session, bounds.signal));
  } catch (error) {
    signal.throwIfAborted();
    if (bounds.signal.aborted) return `It does not answer within ${answerWithinMs / 1000} s.`;
    return `It does not answer by gRPC: ${messageOf(error)}`;
  } finally {
    session.destroy();
    // A session that is destroyed leaves one that is not connected yet.
    socket.destroy();
    bounds.release();
  }
}

const answerWithinMs = 2_000;
const maxBytes = 64 * 1024;

interface Answer {
  httpStatus: number;
  /** As gRPC has it; undefined: it sent none. */
  grpcStatus: number | undefined;
  message: Buffer;
}

function call(session: ClientHttp2Session, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(
      {
        [constants.HTTP2_HEADER_METHOD]: 'POST',
        [constants.HTTP2_HEADER_PATH]: '/tensorflow.serving.PredictionService/Status',
        'content-type': 'application/grpc',
        te: 'trailers',
      },
      { signal },
    );
    const answer: Answer = { httpStatus: 0, grpcStatus: undefined, message: Buffer.alloc(0) };
    const note = (headers: Record<string, unknown>) => {
      const status = Number(headers['grpc-status']);
      if (Number.isInteger(status)) answer.grpcStatus = status;
    };
    stream.on('response', (headers) => {
      answer.httpStatus = headers[':status'] ?? 0;
      note(headers);
    });
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => {
      answer.message = Buffer.concat([answer.message, chunk]);
      if (answer.message.length <= maxBytes) return;
      stream.destroy(new AppError('PAYLOAD_TOO_LARGE', 'Its answer to Status is too long.'));
    });
    stream.on('error', reject);
    stream.on('close', () => {
      if (answer.httpStatus === 0) reject(new AppError('SERVICE_UNAVAILABLE', 'It hung up.'));
      else resolve(answer);
    });
    // An empty message: not compressed, of no bytes.
    stream.end(Buffer.alloc(5));
  });
}

function verdictOn({ httpStatus, grpcStatus, message }: Answer): string | undefined {
  // What knows nothing of the path, as gRPC maps it.
  const status = grpcStatus ?? (httpStatus === 404 ? unimplemented : undefined);
  if (status === unimplemented) return undefined;
  if (status === undefined) return `It answered Status with HTTP ${httpStatus}, and not by gRPC.`;
  if (status !== 0) return `It answered Status with grpc-status ${status}.`;
  return readStatus(message.subarray(5)) === notServing ? 'Its Status is NOT_SERVING.' : undefined;
}

const unimplemented = 12;
const notServing = 2;

/** Field 1 of the answer; where it is left out it is 0 (UNKNOWN), which older runtimes say for good. */
function readStatus(message: Buffer): number {
  for (let at = 0; at < message.length;) {
    const tag = message[at] ?? 0;
    const value = message[at + 1] ?? 0;
    if (tag === 0x08) return value;
    // Another field, of a length: the second is a text.
    if ((tag & 7) !== 2 || value > 127) return 0;
    at += 2 + value;
  }
  return 0;
}
