import { once } from 'node:events';
import type { Readable } from 'node:stream';
import multipart, { type Multipart } from '@fastify/multipart';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { AppError, messageOf } from '@inference-server/errors';

/** The zip of a request, whichever way it comes: the form part `zip_file`, or the bare body. */
export interface ZipUploadReader {
  /**
   * Hands the zip's bytes to `receive`; undefined when the request carries none. A form is read to
   * its end: when a part after the zip breaks the rules, what was received goes to `discard`.
   */
  read<T>(
    receive: (zip: Readable) => Promise<T>,
    discard: (received: T) => Promise<void>,
  ): Promise<T | undefined>;
}

export async function acceptZipUploads(app: FastifyInstance, maxBytes: number): Promise<void> {
  await app.register(multipart, {
    limits: {
      fileSize: maxBytes + 1,
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
    if (!request.raw.readableEnded) {
      request.raw.unpipe();
      request.raw.resume();
    }
  });
}

export function zipUploadOf(request: FastifyRequest): ZipUploadReader {
  return {
    async read(receive, discard) {
      if (request.isMultipart()) return readForm(request, receive, discard);
      if (request.body === undefined || request.body === null) return undefined;
      if (!isStream(request.body)) {
        throw new AppError(
          'UNSUPPORTED_MEDIA_TYPE',
          'Send the zip as multipart/form-data in the part zip_file, or bare as application/zip.',
        );
      }
      return receive(request.body);
    },
  };
}

async function readForm<T>(
  request: FastifyRequest,
  receive: (zip: Readable) => Promise<T>,
  discard: (received: T) => Promise<void>,
): Promise<T | undefined> {
  let received: { value: T } | undefined;
  try {
    for await (const part of request.parts()) {
      const file = await fileOf(part);
      if (file === undefined) continue;
      if (received !== undefined)
        throw invalidForm('The part zip_file is there twice.', 'zip_file');
      received = { value: await receive(file) };
      if (file.truncated) throw tooLarge();
    }
  } catch (error) {
    if (received !== undefined) await discard(received.value);
    throw formError(error);
  }
  return received?.value;
}

/** The stream of the part zip_file; undefined for an empty file input; throws on any other part. */
async function fileOf(part: Multipart): Promise<(Readable & { truncated: boolean }) | undefined> {
  if (part.fieldname !== 'zip_file') {
    throw invalidForm('The form has a part of another name than zip_file.', 'zip_file');
  }
  if (part.type === 'field') {
    // What a browser's form sends for a file input that was left empty.
    if (part.value === '') return undefined;
    throw invalidForm('The part zip_file is no file: it has no file name.', 'zip_file');
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
