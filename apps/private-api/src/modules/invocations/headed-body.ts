import type { Readable } from 'node:stream';
import { AppError } from '@inference-server/errors';

export interface HeadedBodyRead {
  head: Buffer;
  /** The rest, as it comes; it is UTF-8, or reading it throws VALIDATION_FAILED. */
  content: AsyncGenerator<Buffer, void>;
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

  const length = (await take(4)).readUInt32BE();
  if (length > maxHeadBytes) {
    throw new AppError('PAYLOAD_TOO_LARGE', `The head is larger than ${maxHeadBytes} bytes.`);
  }
  const head = await take(length);
  return { head, content: textOf(rest, chunks) };
}

async function* chunksOf(body: Readable): AsyncGenerator<Buffer, void> {
  try {
    yield* body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw cutShort(error);
  }
}

async function* textOf(first: Buffer, others: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const check = (chunk: Buffer, stream: boolean) => {
    try {
      decoder.decode(chunk, { stream });
    } catch (error) {
      throw new AppError('VALIDATION_FAILED', 'The content is no UTF-8.', {
        cause: error,
        extensions: { parameter: 'content' },
      });
    }
  };
  if (first.length > 0) {
    check(first, true);
    yield first;
  }
  for await (const chunk of others) {
    check(chunk, true);
    yield chunk;
  }
  check(Buffer.alloc(0), false);
}

function cutShort(cause?: unknown): AppError {
  return new AppError('MALFORMED_REQUEST', 'The body ended before it was complete.', { cause });
}
