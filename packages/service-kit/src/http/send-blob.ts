import type { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppError } from '@inference-server/errors';
import type { ByteRange } from './byte-range.js';
import { chooseAnswer } from './conditions.js';
import { cutWhenStalled } from './cut-when-stalled.js';
import { formatHttpDate } from './http-date.js';

/** A stored zip, and the way to its bytes. */
export interface SendableBlob {
  /** Lower-case hexadecimal. */
  sha256: string;
  bytes: number;
  /** Since when it is what it is. */
  modifiedAt: Date;
  /** Throws when the bytes are gone. Nothing is read from a stream that is destroyed unread. */
  open(range?: ByteRange): Promise<Readable>;
}

/**
 * Answers GET and HEAD with a blob, or with the part of it, or the 304, that the request's headers
 * ask for. Throws PRECONDITION_FAILED and RANGE_NOT_SATISFIABLE. The blob is opened in any case:
 * bytes that are gone are gone under every method and condition.
 */
export async function sendBlob(
  request: FastifyRequest,
  reply: FastifyReply,
  blob: SendableBlob,
  {
    fileName,
    stalledMs,
    beforeFirstByte,
    onLastByte,
  }: {
    fileName?: string;
    stalledMs?: number;
    /** Waited for before any byte of the blob goes out; what it throws is the answer instead. */
    beforeFirstByte?: () => Promise<void>;
    /** Called when the last byte of the blob went out: with the whole of it, or its last part. */
    onLastByte?: () => void;
  } = {},
): Promise<FastifyReply> {
  const { bytes, modifiedAt } = blob;
  const etag = `"${blob.sha256}"`;
  const choice = chooseAnswer(request.method, request.headers, { etag, modifiedAt, bytes });
  const range = choice.status === 206 ? choice.range : undefined;
  const stream = await blob.open(range);
  const isSent = request.method !== 'HEAD' && (choice.status === 200 || choice.status === 206);
  if (!isSent) stream.destroy();

  if (choice.status === 412) {
    throw new AppError('PRECONDITION_FAILED', 'The zip that is stored is not the one asked for.');
  }
  if (choice.status === 416) {
    reply.header('content-range', `bytes */${bytes}`);
    throw new AppError('RANGE_NOT_SATISFIABLE', `The zip has only ${bytes} bytes.`);
  }
  if (isSent) {
    await beforeFirstByte?.().catch((error: unknown) => {
      stream.destroy();
      throw error;
    });
  }
  reply.code(choice.status).headers({
    etag,
    'last-modified': formatHttpDate(modifiedAt),
    'accept-ranges': 'bytes',
    // Whoever keeps a copy asks before using it: the task may have been deleted. A proxy that packs
    // or converts would send other bytes than the digest and the ranges tell of.
    'cache-control': 'private, no-cache, no-transform',
  });
  if (choice.status === 304) return reply.send();
  reply.type('application/zip');
  if (fileName !== undefined) {
    reply.header('content-disposition', `attachment; filename="${fileName}"`);
  }
  const { start, end } = range ?? { start: 0, end: bytes - 1 };
  reply.header('content-length', end - start + 1);
  if (range !== undefined) reply.header('content-range', `bytes ${start}-${end}/${bytes}`);
  if (!isSent) return reply.send();
  if (onLastByte !== undefined && end === bytes - 1) reply.raw.once('finish', onLastByte);
  cutWhenStalled(reply, stalledMs);
  return reply.send(stream);
}
