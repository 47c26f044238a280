import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { AppError, messageOf } from '@inference-server/errors';

/** A zip: the path of a file, bytes in memory, or a stream that is read once. */
export type ZipSource = string | Blob | Uint8Array | Readable | ReadableStream<Uint8Array>;

type Body = NonNullable<RequestInit['body']>;

export interface ZipUpload {
  body: Body;
  /** Undefined: not known, or told by fetch itself (bytes in memory). */
  bytes: number | undefined;
  /** Why the source could not be read to its end, if so. */
  failure(): AppError | undefined;
  close(): Promise<void>;
}

/** Opens a zip for one request. Whoever opens it closes it. Throws MALFORMED_REQUEST for a bad path. */
export async function openZip(source: ZipSource): Promise<ZipUpload> {
  if (typeof source === 'string') return openFile(source);
  if (source instanceof Readable) return openStream(source);
  return {
    body: source as Body,
    bytes: undefined,
    failure: () => undefined,
    close: () => Promise.resolve(),
  };
}

async function openFile(path: string): Promise<ZipUpload> {
  const { size } = await stat(path).catch((error: unknown) => {
    throw unreadable(error);
  });
  return { ...openStream(createReadStream(path, { highWaterMark: 256 * 1024 })), bytes: size };
}

function openStream(stream: Readable): ZipUpload {
  let failure: AppError | undefined;
  // The request fails as well then, but says only that it failed.
  stream.once('error', (error) => (failure ??= unreadable(error)));
  return {
    body: Readable.toWeb(stream) as Body,
    bytes: undefined,
    failure: () => failure,
    close: async () => {
      if (stream.closed) return;
      const closed = new Promise((resolve) => stream.once('close', resolve));
      stream.destroy();
      await closed;
    },
  };
}

function unreadable(cause: unknown): AppError {
  return new AppError('MALFORMED_REQUEST', `The zip cannot be read: ${messageOf(cause)}`, {
    cause,
  });
}
