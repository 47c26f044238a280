import { isUtf8 } from 'node:buffer';
import type { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';

export interface HeadedBodyRead {
  head: Buffer;
  /** The rest, as it comes; it is UTF-8, or reading it throws VALIDATION_FAILED. */
  content: AsyncGenerator<Buffer, void>;
  /** Lets go of the stream, so that somebody else may read what is left of it. */
  close(): Promise<void>;
}

/**
 * The head of a body that the contract calls `headed`; its content is not read yet. Throws
 * MALFORMED_REQUEST where it is cut short, PAYLOAD_TOO_LARGE for a longer head. The stream stays open: an
 * answer may have to go out on its connection.
 */
export async function readHeadedBody(
  body: Readable,
  maxHeadBytes: number,
): Promise<HeadedBodyRead> {
  const chunks = chunksOf(body);
  let rest: Buffer = Buffer.alloc(0);
  const take = async (bytes: number): Promise<Buffer> => {
    const taken = [rest];
    let have = rest.length;
    while (have < bytes) {
      const next = await chunks.next();
      if (next.done === true) throw cutShort();
      taken.push(next.value);
      have += next.value.length;
    }
    const all = taken.length === 1 ? rest : Buffer.concat(taken);
    rest = all.subarray(bytes);
    return all.subarray(0, bytes);
  };

  const close = async (): Promise<void> => {
    await chunks.return();
  };
  try {
    const length = (await take(4)).readUInt32BE();
    if (length > maxHeadBytes) {
      throw new AppError('PAYLOAD_TOO_LARGE', `The head is larger than ${maxHeadBytes} bytes.`);
    }
    const head = await take(length);
    return { head, content: textOf(rest, chunks), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function* chunksOf(body: Readable): AsyncGenerator<Buffer, void> {
  try {
    yield* body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw cutShort(error);
  }
}

/** What it passes on is checked without a string of it being made. */
async function* textOf(first: Buffer, others: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  let begun = Buffer.alloc(0);
  const check = (chunk: Buffer) => {
    const text = begun.length === 0 ? chunk : Buffer.concat([begun, chunk]);
    const end = endOfWhole(text);
    if (!isUtf8(text.subarray(0, end))) throw noText();
    begun = Buffer.from(text.subarray(end));
  };
  if (first.length > 0) {
    check(first);
    yield first;
  }
  for await (const chunk of others) {
    check(chunk);
    yield chunk;
  }
  if (begun.length > 0) throw noText();
}

/** Where the last character ends that is there whole, as far as it may be one. */
function endOfWhole(text: Buffer): number {
  for (let back = 1; back <= Math.min(3, text.length); back += 1) {
    const byte = text[text.length - back] ?? 0;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const bytes = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return bytes > back ? text.length - back : text.length;
  }
  return text.length;
}

function noText(): AppError {
  return new AppError('VALIDATION_FAILED', 'The content is no UTF-8.', {
    extensions: { parameter: 'content' },
  });
}

function cutShort(cause?: unknown): AppError {
  return new AppError('MALFORMED_REQUEST', 'The body ended before it was complete.', { cause });
}
