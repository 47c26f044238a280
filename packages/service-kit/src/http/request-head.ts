import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { AppError } from '@inference-server/errors';
import { carriesBody } from './request-body.js';

/** Their size, with that of the address, is bounded by Node's parser (maxHeaderSize). */
const maxHeaders = 100;

/**
 * Refuses heads that two readers could understand in two ways, or that are out of bounds, before
 * any route sees them, and ends the connection: what follows on it is not read as a request any
 * more, since its sender and we may not agree where the body ends.
 */
export function refuseFaultyHeads(app: FastifyInstance): void {
  const faults = new WeakMap<IncomingMessage, AppError>();
  const ending = new WeakSet<Socket>();
  // Before Fastify's own listener and at once: the next request may stand in the same packet.
  app.server.prependListener('request', (request, response) => {
    const fault = ending.has(request.socket) ? afterTheEnd() : faultOfHead(request);
    if (fault === undefined) return;
    faults.set(request, fault);
    ending.add(request.socket);
    response.shouldKeepAlive = false;
  });
  app.addHook('onRequest', async ({ raw }) => {
    const fault = faults.get(raw);
    if (fault !== undefined) throw fault;
    refuseCompressed(raw);
  });
}

/** What is wrong with the head of a request; undefined: nothing. */
function faultOfHead(request: IncomingMessage): AppError | undefined {
  const { headers, httpVersion, rawHeaders, url = '' } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') {
    return malformed('The version must be HTTP/1.1.');
  }
  if (rawHeaders.length > 2 * maxHeaders) {
    return new AppError('HEADERS_TOO_LARGE', `There are more than ${maxHeaders} headers.`);
  }
  const twice = headerGivenTwice(rawHeaders);
  if (twice !== undefined) return malformed(`The header ${twice} is there twice.`);
  if (httpVersion === '1.0') {
    if (headers['transfer-encoding'] !== undefined) {
      return malformed('HTTP/1.0 knows no Transfer-Encoding.');
    }
  } else if (headers.host === undefined) {
    return malformed('The header Host is missing.');
  } else if (headers.expect !== undefined && !/^100-continue$/i.test(headers.expect)) {
    return new AppError('EXPECTATION_FAILED', 'The only expectation met here is 100-continue.');
  }
  return faultOfAddress(url, headers.host) ?? faultOfFraming(request);
}

const givenOnce = new Set([
  'authorization',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'expect',
  'host',
  'idempotency-key',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'inference-caller',
  'origin',
  'proxy-authorization',
  'range',
  'transfer-encoding',
  'x-token',
]);

/** Node keeps the first of some and joins others: of these, neither is what the sender meant. */
function headerGivenTwice(rawHeaders: readonly string[]): string | undefined {
  const seen = new Set<string>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? '').toLowerCase();
    if (seen.has(name)) return name;
    if (givenOnce.has(name)) seen.add(name);
  }
  return undefined;
}

/** An address in absolute form names the server itself (RFC 9112, 3.2.2): as Host does, or not at all. */
function faultOfAddress(url: string, host: string | undefined): AppError | undefined {
  if (host !== undefined && !/^(?:[\w.~-]+|\[[\da-f:.]+\])(?::\d{1,5})?$/i.test(host)) {
    return malformed('The header Host is out of form.');
  }
  // Some readers end an address there, and others go on: a rule for the one would not be that of the other.
  if (url.includes('#')) return malformed('An address holds no fragment.');
  const authority = /^[a-z][a-z\d+.-]*:\/\/([^/?#]*)/i.exec(url)?.[1];
  if (authority === undefined || authority.toLowerCase() === host?.toLowerCase()) return undefined;
  return malformed('The address and the header Host name different servers.');
}

function faultOfFraming(request: IncomingMessage): AppError | undefined {
  const { 'transfer-encoding': transferEncoding, 'content-length': contentLength } =
    request.headers;
  if (transferEncoding !== undefined) {
    if (contentLength !== undefined) {
      return malformed('Content-Length and Transfer-Encoding exclude each other.');
    }
    if (!/^chunked$/i.test(transferEncoding)) {
      return malformed('The only Transfer-Encoding taken here is chunked.');
    }
  }
  return undefined;
}

/** Where the body ends is beyond doubt: it is let through, as that of any refused request. */
function refuseCompressed(request: IncomingMessage): void {
  const { 'content-encoding': encoding = 'identity' } = request.headers;
  if (!carriesBody(request) || /^identity$/i.test(encoding)) return;
  throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'The body must come without Content-Encoding.');
}

function afterTheEnd(): AppError {
  return malformed('An earlier request on this connection was refused.');
}

function malformed(detail: string): AppError {
  return new AppError('MALFORMED_REQUEST', detail);
}
