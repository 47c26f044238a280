import { Readable } from 'node:stream';
import type { InvocationHead } from '@inference-server/contracts';

/** Of a stored invocation: what its head says, beside the id that it is found by. */
export type StoredHead = Pick<InvocationHead, 'metadata' | 'output_metadata'>;

/**
 * The JSON of an invocation, as the contract has it, around content that is never there as a whole. The
 * content is UTF-8 already.
 */
export function streamInvocation(
  id: number,
  { metadata, output_metadata }: StoredHead,
  content: Iterable<Buffer> | AsyncIterable<Buffer>,
): Readable {
  async function* json(): AsyncGenerator<Buffer | string> {
    yield `{"model_input":{"id":${id},"content":"`;
    for await (const chunk of content) yield* inSlices(chunk);
    const output = { id, metadata: output_metadata };
    yield `","metadata":${JSON.stringify(metadata)}},"model_output":${JSON.stringify(output)}}`;
  }
  return Readable.from(json(), { objectMode: false });
}

const sliceBytes = 64 * 1024;

function* inSlices(chunk: Buffer): Generator<Buffer> {
  for (let at = 0; at < chunk.length; at += sliceBytes) {
    yield escapeJson(chunk.subarray(at, at + sliceBytes));
  }
}

const quote = 0x22;
const backslash = 0x5c;
const firstPrintable = 0x20;

/** As it stands between the quotes of a JSON text. Bytes of characters beyond ASCII are let be. */
export function escapeJson(text: Buffer): Buffer {
  let plainTo = 0;
  let escaped: Buffer[] | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const byte = text[at] ?? 0;
    if (byte >= firstPrintable && byte !== quote && byte !== backslash) continue;
    escaped ??= [];
    escaped.push(text.subarray(plainTo, at), escapes[byte] ?? Buffer.alloc(0));
    plainTo = at + 1;
  }
  if (escaped === undefined) return text;
  return Buffer.concat([...escaped, text.subarray(plainTo)]);
}

/** By the byte. */
const escapes: Record<number, Buffer> = Object.fromEntries(
  [...Array.from({ length: firstPrintable }, (_, byte) => byte), quote, backslash].map((byte) => [
    byte,
    Buffer.from(JSON.stringify(String.fromCharCode(byte)).slice(1, -1)),
  ]),
);
