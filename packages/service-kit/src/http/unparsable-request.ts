import type { Socket } from 'node:net';
import { AppError } from '@inference-server/errors';
import { problemOf, problemType } from './problem-reply.js';

/**
 * Answers what Node's parser refuses, before there is a request to reply to, and ends the
 * connection: a problem body here too.
 */
export function answerUnparsable(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const problem = problemOf(new AppError('MALFORMED_REQUEST', detailOf(error.code)));
  const body = JSON.stringify(problem);
  if (socket.writable) {
    socket.write(
      [
        `HTTP/1.1 ${problem.status} Bad Request`,
        `content-type: ${problemType}`,
        `content-length: ${Buffer.byteLength(body)}`,
        'connection: close',
        '',
        body,
      ].join('\r\n'),
    );
  }
  socket.destroySoon();
}

function detailOf(code: string | undefined): string {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return 'The headers are longer than 16 KiB.';
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return 'The headers did not arrive in time.';
    default:
      return 'The request is not HTTP/1.1.';
  }
}
