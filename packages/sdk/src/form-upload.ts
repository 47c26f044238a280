import { Readable } from 'node:stream';
import type { ZipUpload } from './zip-upload.js';

/** A form of a text, and of a zip where there is one, which is not held in memory. */
export function openForm(
  text: { name: string; value: string },
  zip: ZipUpload | undefined,
): ZipUpload & { contentType: string } {
  const boundary = `form-${globalThis.crypto.randomUUID()}`;
  const head = Buffer.from(
    `--${boundary}\r\nContent-Disposition: form-data; name="${text.name}"\r\n\r\n${text.value}\r\n` +
      (zip === undefined
        ? ''
        : `--${boundary}\r\nContent-Disposition: form-data; name="zip_file"; filename="model.zip"\r\n` +
          'Content-Type: application/zip\r\n\r\n'),
  );
  const end = Buffer.from(`${zip === undefined ? '' : '\r\n'}--${boundary}--\r\n`);
  const zipBytes = zip === undefined ? 0 : bytesOf(zip);
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: Readable.toWeb(
      Readable.from(all(head, zip, end), { objectMode: false }),
    ) as ZipUpload['body'],
    bytes: zipBytes === undefined ? undefined : head.length + zipBytes + end.length,
    failure: () => zip?.failure(),
    close: async () => zip?.close(),
  };
}

async function* all(
  head: Buffer,
  zip: ZipUpload | undefined,
  end: Buffer,
): AsyncGenerator<Uint8Array> {
  yield head;
  const content = zip && new Response(zip.body).body;
  if (content) yield* content as AsyncIterable<Uint8Array>;
  yield end;
}

function bytesOf({ bytes, body }: ZipUpload): number | undefined {
  if (body instanceof Blob) return body.size;
  return body instanceof Uint8Array ? body.byteLength : bytes;
}
