import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import multipart, { type Multipart } from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { SpaceReservation, StagingSpace } from '@inference-server/blob-store';
import { AppError, messageOf } from '@inference-server/errors';
import { carriesBody, discardBody } from '@inference-server/service-kit';

declare module 'fastify' {
  interface FastifyInstance {
    zipUploads: { maxBytes: number; space: StagingSpace };
  }
}

/** The zip of a request, whichever way it comes: the form part `zip_file`, or the bare body. */
export interface ZipUploadReader {
  /**
   * Hands the zip to `receive`; undefined when the request carries none. A form is read to its end:
   * when a part after the zip breaks the rules, what was received goes to `discard`. Throws
   * STORAGE_FULL and PAYLOAD_TOO_LARGE before a byte is asked for when the length was declared.
   */
  read<T>(
    receive: (zip: IncomingZip) => Promise<T>,
    discard: (received: T) => Promise<void>,
  ): Promise<T | undefined>;
}

export interface IncomingZip {
  stream: Readable;
  /** Released when `receive` has ended. */
  space: SpaceReservation;
}

/** All of a form but the zip: preamble, epilogue, the parts' headers, parts that do not count. */
const maxAroundZipBytes = 256 * 1024;

export async function acceptZipUploads(
  app: FastifyInstance,
  options: { maxBytes: number; space: StagingSpace },
): Promise<void> {
  app.decorate('zipUploads', options);
  await app.register(multipart, {
    limits: {
      fileSize: options.maxBytes + 1,
      files: 2,
      fields: 4,
      parts: 6,
      headerPairs: 32,
      fieldSize: 1024,
    },
  });
  for (const type of ['application/zip', 'application/x-zip-compressed']) {
    app.addContentTypeParser(type, (_request, payload, done) => {
      done(null, payload);
    });
  }
  // A request that is answered before its body was read: the rest is let through, so that a client
  // that writes everything before it reads gets its answer.
  app.addHook('onResponse', async (request) => {
    request.raw.unpipe();
    discardBody(request.raw);
  });
}

export function zipUploadOf(request: FastifyRequest): ZipUploadReader {
  const { maxBytes, space } = request.server.zipUploads;
  return {
    async read(receive, discard) {
      if (!carriesBody(request.raw)) return undefined;
      const declaredBytes = declaredLength(request.raw);
      const isForm = request.isMultipart();
      if ((declaredBytes ?? 0) > maxBytes + (isForm ? maxAroundZipBytes : 0)) throw tooLarge();
      const reserved = await space.reserve(declaredBytes);
      try {
        const hand = (stream: Readable) => receive({ stream, space: reserved });
        if (isForm) return await readForm(request, hand, discard);
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

async function readForm<T>(
  request: FastifyRequest,
  receive: (zip: Readable) => Promise<T>,
  discard: (received: T) => Promise<void>,
): Promise<T | undefined> {
  requireBoundary(request.headers['content-type'] ?? '');
  const around = boundAround(request.raw);
  let received: { value: T } | undefined;
  try {
    for await (const part of request.parts()) {
      const file = await fileOf(part);
      if (file === undefined) continue;
      if (received !== undefined)
        throw invalidForm('The part zip_file is there twice.', 'zip_file');
      around.zip = file;
      received = { value: await receive(file) };
      if (file.truncated) throw tooLarge();
    }
  } catch (error) {
    if (received !== undefined) await discard(received.value);
    throw formError(error);
  } finally {
    around.stop();
  }
  return received?.value;
}

/** One boundary, within what RFC 2046 (5.1.1) allows. */
function requireBoundary(contentType: string): void {
  const [first, second] = contentType.matchAll(/;\s*boundary=(?:"([^"]*)"|([^\s;"]*))/gi);
  const boundary = first?.[1] ?? first?.[2] ?? '';
  const wellFormed = /^[\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?]$/.test(boundary);
  if (wellFormed && second === undefined) return;
  throw new AppError('MALFORMED_REQUEST', 'The form needs one boundary of 1 to 70 characters.');
}

interface FilePart extends Readable {
  truncated: boolean;
  bytesRead: number;
}

/** Fails the body when more comes than the zip and what may stand around it: the parser skips that. */
function boundAround(message: IncomingMessage): { zip: FilePart | undefined; stop: () => void } {
  let bytes = 0;
  const count = (chunk: Buffer): void => {
    bytes += chunk.length;
    if (bytes - (around.zip?.bytesRead ?? 0) <= maxAroundZipBytes) return;
    message.off('data', count);
    message.emit('error', invalidForm('The form holds too much beside its file.', 'zip_file'));
  };
  const around = { zip: undefined as FilePart | undefined, stop: () => message.off('data', count) };
  message.on('data', count);
  return around;
}

/** The stream of the part zip_file; undefined for an empty file input; throws on any other part. */
async function fileOf(part: Multipart): Promise<FilePart | undefined> {
  if (part.fieldname !== 'zip_file') {
    throw invalidForm('The form has a part of another name than zip_file.', 'zip_file');
  }
  if (part.type === 'field') {
    // What a browser's form sends for a file input that was left empty.
    if (part.value === '') return undefined;
    throw invalidForm('The part zip_file is no file: it has no file name.', 'zip_file');
  }
  if (!['7bit', '8bit', 'binary'].includes(part.encoding)) {
    throw invalidForm('The part zip_file has a Content-Transfer-Encoding.', 'zip_file');
  }
  // A file input that was left empty comes without a file name and without bytes.
  return part.filename || !(await isEmpty(part.file)) ? part.file : undefined;
}

/** Looks at the first bytes without taking them. */
async function isEmpty(stream: Readable): Promise<boolean> {
  if (stream.readableLength === 0 && !stream.readableEnded) {
    await Promise.race([once(stream, 'readable'), once(stream, 'end')]);
  }
  const bytes = stream.read() as Buffer | null;
  if (bytes === null) return true;
  stream.unshift(bytes);
  return false;
}

function formError(error: unknown): unknown {
  if (error instanceof AppError) return error;
  const { code } = error as { code?: string };
  if (code === 'FST_REQ_FILE_TOO_LARGE') return tooLarge();
  if (code === 'FST_PARTS_LIMIT' || code === 'FST_FILES_LIMIT' || code === 'FST_FIELDS_LIMIT') {
    return invalidForm('The form has more parts than one zip_file.', 'zip_file');
  }
  if (code === 'FST_PROTO_VIOLATION') {
    return invalidForm('The form has a part of another name than zip_file.', 'zip_file');
  }
  return new AppError('MALFORMED_REQUEST', `The form cannot be read: ${formFault(error)}.`, {
    cause: error,
  });
}

/** The parser's own words where they are known, none that could echo the body. */
function formFault(error: unknown): string {
  const known = [
    'Unexpected end of form',
    'Malformed part header',
    'Multipart: Boundary not found',
  ];
  return known.find((text) => text === messageOf(error))?.toLowerCase() ?? 'it is cut or malformed';
}

function invalidForm(detail: string, parameter: string): AppError {
  return new AppError('INVALID_FORM', detail, { extensions: { parameter } });
}

function tooLarge(): AppError {
  return new AppError('PAYLOAD_TOO_LARGE', 'The file is larger than this server accepts.');
}

function isStream(body: unknown): body is Readable {
  return typeof (body as { pipe?: unknown }).pipe === 'function';
}
