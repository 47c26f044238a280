import { createGunzip, createInflate } from 'node:zlib';
import { GrpcError } from '../grpc-error.js';

/** What a call's `grpc-encoding` may say. */
export const encodings = ['identity', 'gzip', 'deflate'] as const;
export type Encoding = (typeof encodings)[number];

export interface InflatedRoom {
  /** Told of each piece before it is kept; throws to end it. */
  grow(bytes: number): void;
  /** While the pieces are put together, they are there twice: throws to end it, and gives what ends that. */
  double(bytes: number): () => void;
}

/** A compressed message as it was. */
export async function inflate(
  message: Buffer,
  encoding: Encoding,
  { room, signal }: { room: InflatedRoom; signal: AbortSignal },
): Promise<Buffer> {
  if (encoding === 'identity') {
    throw new GrpcError('INTERNAL', 'A message is compressed, and grpc-encoding names no way.');
  }
  const inflater = encoding === 'gzip' ? createGunzip() : createInflate();
  inflater.end(message);
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of inflater as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      room.grow(chunk.length);
      chunks.push(chunk);
      bytes += chunk.length;
    }
  } catch (error) {
    if (signal.aborted || error instanceof GrpcError) throw error;
    throw new GrpcError('INTERNAL', `A message cannot be inflated (${encoding}).`, {
      cause: error,
    });
  }
  const single = room.double(bytes);
  try {
    return Buffer.concat(chunks, bytes);
  } finally {
    single();
  }
}
