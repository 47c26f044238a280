import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyInstance } from 'fastify';
import { AppError } from '@inference-server/errors';
import { awaitsContinue } from './expect-continue.js';
import { carriesBody } from './request-body.js';

export interface UploadPace {
  /** What a body must bring in every window. */
  minBytes: number;
  windowMs: number;
}

interface Upload {
  request: IncomingMessage;
  response: ServerResponse;
  /** Where the window began. */
  since: number;
  bytesBefore: number;
  /** Its taker knows that it is over. */
  failed: boolean;
}

const looksPerWindow = 12;

/**
 * Ends bodies that come slower than `pace` with UPLOAD_TOO_SLOW. There is no bound on the time in
 * all. Only the sender is held to it: a window in which we did not take what had come is not judged.
 */
export function keepUploadPace(app: FastifyInstance, pace: UploadPace): void {
  const uploads = new Set<Upload>();
  app.server.on('request', (request, response) => {
    if (!carriesBody(request)) return;
    const upload = { request, response, failed: false, ...windowOf(request) };
    uploads.add(upload);
    request.once('close', () => uploads.delete(upload));
    // From its last byte on the silence is ours: a large zip may take us longer than a peer may be
    // quiet. Node sets the bound anew for the next request.
    request.once('end', () => request.socket.setTimeout(0));
  });
  const timer = setInterval(() => {
    for (const upload of uploads) {
      if (upload.request.complete || upload.request.destroyed) uploads.delete(upload);
      else judge(upload, pace);
    }
  }, pace.windowMs / looksPerWindow);
  timer.unref();
  // An upload without a body may be of what the server fetches by itself, for as long as that takes.
  app.addHook('onRequest', async ({ raw, routeOptions }) => {
    if (routeOptions.config.contract?.body?.kind !== 'zip-upload' || carriesBody(raw)) return;
    raw.socket.setTimeout(0);
  });
  // Also when another server of ours found it too slow: the rest would be no faster.
  app.addHook('onSend', async (_request, reply) => {
    if (reply.statusCode === 408) reply.raw.shouldKeepAlive = false;
  });
  app.addHook('onClose', () => clearInterval(timer));
}

function judge(upload: Upload, { minBytes, windowMs }: UploadPace): void {
  const { request, since, bytesBefore } = upload;
  const now = windowOf(request);
  if (!waitsForSender(upload)) {
    Object.assign(upload, now);
  } else if (now.since - since >= windowMs) {
    Object.assign(upload, now);
    if (now.bytesBefore - bytesBefore < minBytes) fail(upload, tooSlow(minBytes, windowMs));
  }
}

/** A full buffer means that we are the slow ones: Node has stopped to read from the connection. */
function waitsForSender({ request, response }: Upload): boolean {
  if (awaitsContinue(request)) return false;
  const taken = request.listenerCount('data') + request.listenerCount('readable') > 0;
  if (!taken && !response.headersSent) return false;
  return request.readableLength < request.readableHighWaterMark;
}

/**
 * Fails the body for whoever takes it, but leaves the connection, on which the answer goes out. When
 * there is no answer to come any more, the connection goes.
 */
function fail(upload: Upload, error: AppError): void {
  const { request, response } = upload;
  const told = upload.failed || response.headersSent || request.listenerCount('error') === 0;
  upload.failed = true;
  if (told) request.socket.destroy();
  else request.emit('error', error);
}

/** Bytes as they come over the connection, whether anyone takes them or not. */
function windowOf({ socket }: IncomingMessage): Pick<Upload, 'since' | 'bytesBefore'> {
  return { since: performance.now(), bytesBefore: socket.bytesRead };
}

function tooSlow(minBytes: number, windowMs: number): AppError {
  return new AppError(
    'UPLOAD_TOO_SLOW',
    `The body came with less than ${minBytes} bytes in ${windowMs / 1000} s.`,
  );
}
