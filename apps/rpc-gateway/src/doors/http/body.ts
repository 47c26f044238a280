import type { ServerResponse } from 'node:http';
import type { FastifyRequest } from 'fastify';
import { AppError } from '@inference-server/errors';
import type { ByteBudget } from '@inference-server/grpc';
import { discardBody } from '@inference-server/service-kit';
import { isLate } from '../../core/call-bounds.js';
import { noRoom } from '../../core/predict-call.js';

/** What a request may take while it lasts, and until when (performance.now()). */
export interface RequestBounds {
  deadlineAt: number;
  /** Throws TOO_MANY_REQUESTS. */
  take(bytes: number): void;
}

/** Bounds of the request that `response` answers. What it has taken is given back with its end, however it ends. */
export function boundRequest(
  response: ServerResponse,
  { budget, maxCallMs }: { budget: ByteBudget; maxCallMs: number },
): RequestBounds {
  let held = 0;
  response.once('close', () => {
    budget.give(held);
    held = 0;
  });
  return {
    deadlineAt: performance.now() + maxCallMs,
    take(bytes) {
      // Of one that is over nothing would be given back.
      if (response.closed) throw brokenOff();
      if (!budget.take(bytes)) throw noRoom();
      held += bytes;
    },
  };
}

/**
 * The body, whole; or why it is refused, which is no throw: Fastify would close the connection under its sender,
 * who then never reads why.
 */
export async function readBody(
  { raw, headers }: FastifyRequest,
  { deadlineAt, take, maxBytes }: RequestBounds & { maxBytes: number },
): Promise<Buffer | AppError> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const refusal = await new Promise<AppError | undefined>((resolve) => {
    const late = setTimeout(() => end(isLate()), deadlineAt - performance.now());
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
      clearTimeout(late);
      raw.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onError);
      if (error !== undefined) raw.on('error', () => undefined);
      resolve(error);
    };
    raw.on('data', onData).once('end', onEnd).once('close', onClose).on('error', onError);
    if (raw.destroyed) end(brokenOff());
    else if (Number(headers['content-length'] ?? 0) > maxBytes) end(tooLarge());
    else raw.resume();
  });
  if (refusal === undefined) return Buffer.concat(chunks, bytes);
  discardBody(raw);
  return refusal;
}

function tooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The body is too large.');
}

function brokenOff(cause?: Error): AppError {
  return new AppError('MALFORMED_REQUEST', 'The body breaks off.', { cause });
}
