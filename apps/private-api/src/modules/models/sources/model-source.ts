import { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';

/**
 * Where the zip of a model is fetched from that was registered with a `model_url`. What may be fetched is the
 * operator's to say: a URL that is out of form, not allowed or names nothing is VALIDATION_FAILED; a source
 * that does not answer, or breaks off, is SERVICE_UNAVAILABLE; an aborted call throws the signal's reason. No
 * error tells of the URL, nor of what is where it leads.
 */
export interface ModelSource {
  open(url: string, signal: AbortSignal): Promise<OpenSource>;
}

export interface OpenSource {
  /** Read it to its end or destroy it: it holds the source open. */
  stream: Readable;
  /** As far as the source says. */
  bytes?: number;
}

/** The bytes of `from` as `chunks` has them; what goes wrong with them is told as what a source does. */
export function sourceStream(
  from: Readable,
  chunks: AsyncIterable<Buffer>,
  signal: AbortSignal,
): Readable {
  const stream = Readable.from(withFaults(chunks, signal), { objectMode: false });
  // One that was never read has not begun with its source.
  stream.once('close', () => from.on('error', () => undefined).destroy());
  return stream;
}

async function* withFaults(
  chunks: AsyncIterable<Buffer>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof AppError ? error : sourceAway('broke off', error);
  }
}

export function refusedUrl(why: string, cause?: unknown): AppError {
  return new AppError('VALIDATION_FAILED', `model_url ${why}.`, {
    cause,
    extensions: { parameter: 'model_url' },
  });
}

export function nothingThere(cause?: unknown): AppError {
  return refusedUrl('names nothing that is there', cause);
}

export function sourceAway(detail: string, cause?: unknown): AppError {
  return new AppError('SERVICE_UNAVAILABLE', `The source of model_url ${detail}.`, {
    cause,
    retryAfterS: 10,
  });
}
