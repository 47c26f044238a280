import { AppError } from '@inference-server/errors';
import { invalidForm, type FormPart } from './read-form.js';

/** A part of a form that is text: of a field, or of a file. */
export interface FormText {
  name: string;
  maxBytes: number;
  /** Not called for a field that was left empty. Throws when the text has come already. */
  take: (text: string) => void;
}

/** Throws VALIDATION_FAILED for a part that is too long, INVALID_FORM for one that is no text. */
export async function readTextPart(
  { content, encoding }: FormPart,
  { name, maxBytes, take }: FormText,
): Promise<void> {
  if (isEncoded(encoding)) {
    throw invalidForm(`The part ${name} has a Content-Transfer-Encoding.`, name);
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of content as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      throw new AppError('VALIDATION_FAILED', `${name} is longer than ${maxBytes} bytes.`, {
        extensions: { parameter: name },
      });
    }
    chunks.push(chunk);
  }
  if (bytes > 0) take(textOf(Buffer.concat(chunks), name));
}

/** Other than as it is; in what only mail needs. */
export function isEncoded(encoding: string): boolean {
  return !['7bit', '8bit', 'binary'].includes(encoding);
}

function textOf(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw invalidForm(`The part ${name} is no UTF-8.`, name, error);
  }
}
