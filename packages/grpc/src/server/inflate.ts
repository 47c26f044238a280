import { createGunzip, createInflate } from 'node:zlib';
import { GrpcError } from '../grpc-error.js';

/** What a call's `grpc-encoding` may say. */
export const encodings = ['identity', 'gzip', 'deflate'] as const;
export type Encoding = (typeof encodings)[number];

/** A compressed message as it was; `grow` is told of each piece before it is kept, and throws to end it. */
export async function inflate(
  message: Buffer,
  encoding: Encoding,
  { grow, signal }: { grow: (bytes: number) => void; signal: AbortSignal },
): Promise<Buffer> {
  if (encoding === 'identity') {
    throw new GrpcError('INTERNAL', 'A message is compressed, and grpc-encoding names no way.');
  }
  const inflater = encoding === 'gzip' ? createGunzip() : createInflate();
  inflater.end(message);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of inflater as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      grow(chunk.length);
      chunks.push(chunk);
    }
  } catch (error) {
    if (signal.aborted || error instanceof GrpcError) throw error;
    throw new GrpcError('INTERNAL', `A message cannot be inflated (${encoding}).`, {
      cause: error,
    });
  }
  return Buffer.concat(chunks);
}
