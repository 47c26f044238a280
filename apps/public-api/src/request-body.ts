import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';

/** How much of a refused body is read, so that its sender gets to read the answer. */
const maxDiscardedBytes = 64 * 1024 ** 2;
const maxDiscardingMs = 60_000;

const bufferedBytes = 256 * 1024;

/** Whether a body follows the headers. */
export function carriesBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
}

/**
 * The body of `message` as a stream of at most `maxBytes`; past them it fails with
 * PAYLOAD_TOO_LARGE. Its taker may drop it at any time: the connection stays, and the rest of the
 * body is discarded. Hence no `pipeline`, which would destroy the message, its connection and with
 * them the answer that the sender has not read yet.
 */
export function takeBody(message: IncomingMessage, maxBytes: number): Readable {
  let bytes = 0;
  const body = new Readable({
    highWaterMark: bufferedBytes,
    read: () => message.resume(),
    destroy: (error, done) => {
      message.off('data', pass);
      if (!message.readableEnded) discardBody(message);
      done(error);
    },
  });
  message.on('data', pass);
  message.once('end', () => body.push(null));
  message.once('error', (error) => body.destroy(error));
  return body;

  function pass(chunk: Buffer): void {
    bytes += chunk.length;
    if (bytes > maxBytes) body.destroy(tooLarge(maxBytes));
    else if (!body.push(chunk)) message.pause();
  }
}

/**
 * Reads what is left of a body and throws it away. Many clients write their whole body before they
 * look for the answer, and a connection closed under them loses it. A sender that goes on for too
 * long is cut.
 */
export function discardBody(message: IncomingMessage): void {
  if (message.destroyed) return;
  let bytes = 0;
  const cut = () => message.socket.destroy();
  const overdue = setTimeout(cut, maxDiscardingMs);
  message.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > maxDiscardedBytes) cut();
  });
  message.once('close', () => clearTimeout(overdue));
  message.resume();
}

export function tooLarge(maxBytes: number): AppError {
  return new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${maxBytes} bytes (MAX_UPLOAD_BYTES).`,
  );
}
