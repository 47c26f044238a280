import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';
import { discardBody } from '@inference-server/service-kit';

const bufferedBytes = 256 * 1024;

/**
 * The body of `message` as a stream of at most `maxBytes`; past them it fails with
 * PAYLOAD_TOO_LARGE. Nothing is asked of the sender before the stream is read. Its taker may drop it
 * at any time: the connection stays, and the rest of the body is discarded. Hence no `pipeline`,
 * which would destroy the message, its connection and with them the answer that the sender has not
 * read yet.
 */
export function takeBody(message: IncomingMessage, maxBytes: number): Readable {
  let bytes = 0;
  let taken = false;
  const body = new Readable({
    highWaterMark: bufferedBytes,
    read: () => {
      if (!taken) message.on('data', pass);
      taken = true;
      message.resume();
    },
    destroy: (error, done) => {
      message.off('data', pass);
      discardBody(message);
      done(error);
    },
  });
  message.once('end', () => body.push(null));
  message.once('error', (error) => body.destroy(error));
  return body;

  function pass(chunk: Buffer): void {
    bytes += chunk.length;
    if (bytes > maxBytes) body.destroy(tooLarge(maxBytes));
    else if (!body.push(chunk)) message.pause();
  }
}

export function tooLarge(maxBytes: number): AppError {
  return new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${maxBytes} bytes (MAX_UPLOAD_BYTES).`,
  );
}
