import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import { abortedByClient, discardBody } from '@inference-server/service-kit';
import { isLate, noRoom } from '../../core/predict-call.js';

/** What a request may take while it lasts, and until when (performance.now()). */
export interface RequestBounds {
  deadlineAt: number;
  /** Aborts then, or when the client goes. */
  signal: AbortSignal;
  /** Throws TOO_MANY_REQUESTS, or `tooMuch` where it would not even fit if there were nothing else. */
  take(bytes: number, tooMuch: () => AppError): void;
  /** Takes what is missing until so many are taken in all. Throws likewise. */
  takeInAll(bytes: number, tooMuch: () => AppError): void;
}

/** What a request has taken is given back with its end, however it ends. */
export function boundRequest(
  reply: FastifyReply,
  bounds: { budget: ByteBudget; maxQueuedBytes: number; maxCallMs: number },
): RequestBounds {
  const { budget, maxQueuedBytes, maxCallMs } = bounds;
  const { raw: response } = reply;
  const over = new AbortController();
  const gone = abortedByClient(reply);
  const onGone = () => over.abort(gone.reason);
  const late = setTimeout(() => over.abort(isLate()), maxCallMs);
  let held = 0;
  if (gone.aborted) onGone();
  else gone.addEventListener('abort', onGone, { once: true });
  response.once('close', () => {
    clearTimeout(late);
    budget.give(held);
    held = 0;
  });
  const take: RequestBounds['take'] = (bytes, tooMuch) => {
    // Of one that is over nothing would be given back.
    if (response.closed) throw brokenOff();
    if (held + bytes > maxQueuedBytes) throw tooMuch();
    if (!budget.take(bytes)) throw noRoom();
    held += bytes;
  };
  return {
    deadlineAt: performance.now() + maxCallMs,
    signal: over.signal,
    take,
    takeInAll: (bytes, tooMuch) => take(Math.max(bytes - held, 0), tooMuch),
  };
}

/**
 * The body, whole; or why it is refused, which is no throw: Fastify would close the connection under its sender,
 * who then never reads why.
 */
export async function readBody(
  { raw, headers }: FastifyRequest,
  {
    signal,
    take,
    maxBytes,
  }: { signal: AbortSignal; take: (bytes: number) => void; maxBytes: number },
): Promise<Buffer | AppError> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const refusal = await new Promise<AppError | undefined>((resolve) => {
    const onAbort = () => end(signal.reason as AppError);
    const onClose = () => end(brokenOff());
    const onEnd = () => end(undefined);
    const onError = (error: Error) => end(error instanceof AppError ? error : brokenOff(error));
    const onData = (chunk: Buffer) => {
      try {
        bytes += chunk.length;
        if (bytes > maxBytes) throw tooLarge();
        take(chunk.length);
        chunks.push(chunk);
      } catch (error) {
        onError(error as Error);
      }
    };
    const end = (error: AppError | undefined) => {
      signal.removeEventListener('abort', onAbort);
      raw.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onError);
      if (error !== undefined) raw.on('error', () => undefined);
      resolve(error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    raw.on('data', onData).once('end', onEnd).once('close', onClose).on('error', onError);
    if (signal.aborted) onAbort();
    else if (raw.destroyed) end(brokenOff());
    else if (Number(headers['content-length'] ?? 0) > maxBytes) end(tooLarge());
    else raw.resume();
  });
  if (refusal === undefined) return Buffer.concat(chunks, bytes);
  discardBody(raw);
  return refusal;
}

export function tooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The body is too large.');
}

function brokenOff(cause?: Error): AppError {
  return new AppError('MALFORMED_REQUEST', 'The body breaks off.', { cause });
}
