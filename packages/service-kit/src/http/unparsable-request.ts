import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { AppError } from '@inference-server/errors';
import { problemOf, problemType } from './problem-reply.js';
import { notStored, securityHeaders } from './security-headers.js';

/** How long a refused sender may go on, so that it gets to read why. */
const lingerMs = 1_000;

interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  /** The connection ends with its answer. */
  isLast: boolean;
}

/** The last exchange of each connection: it tells what a fault on the connection belongs to. */
const lastExchanges = new WeakMap<Duplex, Exchange>();

/** Has faults of the parser set against what else happens on their connection. */
export function watchExchanges({ server }: FastifyInstance): void {
  server.prependListener('request', (request, response) => {
    lastExchanges.set(request.socket, { request, response, isLast: false });
  });
  // Node has let go of the connection: nothing else would answer.
  server.on('connect', (_request, socket) => {
    socket.on('error', () => undefined);
    refuse(socket, new AppError('MALFORMED_REQUEST', 'This server is no proxy.'));
  });
}

/**
 * Answers what Node's parser refuses, before there is a request to reply to, and ends the
 * connection: a problem body here too. An answer that is under way is never written into.
 */
export function answerUnparsable(error: Error & { code?: string }, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) return;
  const last = lastExchanges.get(socket);
  if (last === undefined || isOver(last)) {
    refuse(socket, refusalOf(error.code));
  } else if (last.request.complete) {
    endAfter(last, socket);
  } else if (isNextToAnswer(last)) {
    refuse(socket, refusalOf(error.code));
  } else {
    socket.destroy();
  }
}

/** A whole request, and then a fault: its answer is the last one. */
function endAfter(exchange: Exchange, socket: Duplex): void {
  if (exchange.isLast) return;
  exchange.isLast = true;
  exchange.response.shouldKeepAlive = false;
  exchange.response.once('close', () => endSoon(socket, ''));
}

function isOver({ request, response }: Exchange): boolean {
  return request.complete && response.writableFinished;
}

/** Whether the next bytes to the client are those of this answer (earlier ones have been sent). */
function isNextToAnswer({ response }: Exchange): boolean {
  return response.socket !== null && !response.headersSent;
}

function refuse(socket: Duplex, error: AppError): void {
  const problem = problemOf(error);
  const body = JSON.stringify(problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `content-type: ${problemType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    ...Object.entries({ ...securityHeaders, ...notStored }).map(
      ([name, value]) => `${name}: ${value}`,
    ),
    'connection: close',
  ];
  endSoon(socket, [...head, '', body].join('\r\n'));
}

/** Ends our side; what still comes is read for a moment and dropped. */
function endSoon(socket: Duplex, lastWords: string): void {
  socket.end(lastWords);
  const overdue = setTimeout(() => socket.destroy(), lingerMs);
  socket.once('close', () => clearTimeout(overdue));
}

function refusalOf(code: string | undefined): AppError {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return new AppError('HEADERS_TOO_LARGE', 'Address and headers are longer than 32 KiB.');
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new AppError('UPLOAD_TOO_SLOW', 'The headers did not arrive in time.');
    case 'HPE_INVALID_EOF_STATE':
      return new AppError('MALFORMED_REQUEST', 'The request ended before it was complete.');
    default:
      return new AppError('MALFORMED_REQUEST', 'The request breaks the rules of HTTP/1.1.');
  }
}
