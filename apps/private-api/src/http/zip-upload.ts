import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { SpaceReservation, StagingSpace } from '@inference-server/blob-store';
import { AppError } from '@inference-server/errors';
import { carriesBody, discardBody } from '@inference-server/service-kit';
import { isEncoded, readTextPart, type FormText } from './form-text.js';
import { invalidForm, readForm, type FormPart } from './read-form.js';

declare module 'fastify' {
  interface FastifyInstance {
    zipUploads: ZipUploadBounds;
  }
}

interface ZipUploadBounds {
  maxBytes: number;
  space: StagingSpace;
  /** What outputs leave free: less than posts, so that what runs can end when nothing new fits. */
  outputMinFreeBytes: number;
}

/** The zip of a request, whichever way it comes: the form part `zip_file`, or the bare body. */
export interface ZipUploadReader {
  /**
   * Hands the zip to `receive`; undefined when the request carries none. A form is read to its end:
   * when a part after the zip breaks the rules, what was received goes to `discard`. Throws
   * STORAGE_FULL and PAYLOAD_TOO_LARGE before a byte is asked for when the length was declared. A
   * form may have `text` beside the zip, or alone.
   */
  read<T>(
    receive: (zip: IncomingZip) => Promise<T>,
    discard: (received: T) => Promise<void>,
    text?: FormText,
  ): Promise<T | undefined>;
}

export interface IncomingZip {
  stream: Readable;
  /** Released when `receive` has ended. */
  space: SpaceReservation;
}

/** What a form may declare beside its zip; how much of it may come is {@link readForm}'s to say. */
const maxAroundZipBytes = 256 * 1024;
const formType = 'multipart/form-data';

export async function acceptZipUploads(
  app: FastifyInstance,
  options: ZipUploadBounds,
): Promise<void> {
  app.decorate('zipUploads', options);
  for (const type of ['application/zip', 'application/x-zip-compressed', formType]) {
    app.addContentTypeParser(type, (_request, payload, done) => {
      done(null, payload);
    });
  }
  // A request that is answered before its body was read: the rest is let through, so that a client
  // that writes everything before it reads gets its answer.
  app.addHook('onResponse', async (request) => {
    discardBody(request.raw);
  });
}

/** What the zip has at least, as far as the length of the body is declared (bytes). */
export function declaredBytesOf({ headers }: FastifyRequest): number {
  const length = Number(headers['content-length'] ?? 0);
  const isForm = headers['content-type']?.startsWith(formType) === true;
  return Math.max(0, length - (isForm ? maxAroundZipBytes : 0));
}

/** `output`: what a consumer brings of a run; everything else is `posted`. */
export function zipUploadOf(
  request: FastifyRequest,
  kind: 'posted' | 'output' = 'posted',
): ZipUploadReader {
  const { maxBytes, space, outputMinFreeBytes } = request.server.zipUploads;
  const minFreeBytes = kind === 'output' ? outputMinFreeBytes : undefined;
  return {
    async read(receive, discard, text) {
      if (!carriesBody(request.raw)) return undefined;
      const declaredBytes = declaredLength(request.raw);
      const isForm = isOfForm(request);
      if ((declaredBytes ?? 0) > maxBytes + (isForm ? maxAroundZipBytes : 0)) throw tooLarge();
      const reserved = await space.reserve(declaredBytes, minFreeBytes);
      try {
        const hand = (stream: Readable) => receive({ stream, space: reserved });
        if (isForm) return await readZipFile(request, hand, discard, text);
        if (isStream(request.body)) return await hand(request.body);
      } finally {
        reserved.release();
      }
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        'Send the zip as multipart/form-data in the part zip_file, or bare as application/zip.',
      );
    },
  };
}

function declaredLength({ headers }: IncomingMessage): number | undefined {
  const declared = headers['content-length'];
  return declared === undefined ? undefined : Number(declared);
}

/** The parser of the content type has handed the body over, so that it is one of those taken here. */
function isOfForm({ headers }: FastifyRequest): boolean {
  return /^multipart\/form-data\s*(?:;|$)/i.test(headers['content-type'] ?? '');
}

async function readZipFile<T>(
  request: FastifyRequest,
  receive: (zip: Readable) => Promise<T>,
  discard: (received: T) => Promise<void>,
  text: FormText | undefined,
): Promise<T | undefined> {
  const boundary = boundaryIn(request.headers['content-type'] ?? '');
  let received: { value: T } | undefined;
  try {
    let parts = 0;
    for await (const part of readForm(request.raw, boundary)) {
      parts += 1;
      if (parts > maxParts) throw invalidForm('The form has more parts than one zip_file.');
      if (part.name === text?.name) {
        await readTextPart(part, text);
        continue;
      }
      if (!isZip(part)) continue;
      if (received !== undefined) throw invalidForm('The part zip_file is there twice.');
      received = { value: await receive(part.content) };
    }
  } catch (error) {
    if (received !== undefined) await discard(received.value);
    throw error;
  }
  return received?.value;
}

const maxParts = 6;

/** One boundary, within what RFC 2046 (5.1.1) allows. */
function boundaryIn(contentType: string): string {
  const boundaries = contentType.matchAll(/;\s*boundary=(?:"([^"]*)"|([^\s;"]*))\s*(?=;|$)/gi);
  const [first, second] = boundaries;
  const boundary = first?.[1] ?? first?.[2] ?? '';
  const wellFormed = /^[\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?]$/.test(boundary);
  if (wellFormed && second === undefined) return boundary;
  throw new AppError('MALFORMED_REQUEST', 'The form needs one boundary of 1 to 70 characters.');
}

/** False for a file input that was left empty; throws on any part that is not the zip. */
function isZip({ name, fileName, encoding, isEmpty }: FormPart): boolean {
  if (name !== 'zip_file') {
    throw invalidForm('The form has a part of another name than zip_file.');
  }
  // What a browser's form sends comes without a name of a file, or with an empty one.
  if (isEmpty && (fileName ?? '') === '') return false;
  if (fileName === undefined) {
    throw invalidForm('The part zip_file is no file: it has no file name.');
  }
  if (isEncoded(encoding)) {
    throw invalidForm('The part zip_file has a Content-Transfer-Encoding.');
  }
  return true;
}

function tooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The file is larger than this server accepts.');
}

function isStream(body: unknown): body is Readable {
  return typeof (body as { pipe?: unknown }).pipe === 'function';
}
