import type { Telling } from './telling.js';

/** What a value of DT_STRING has to be, for whoever gave something else. */
export const textWanted = 'a string, or {"base64": "…"} with bytes';

/** How text and bytes stand in JSON. */
export const textSchema = {
  anyOf: [
    { type: 'string' },
    {
      type: 'object',
      properties: {
        base64: {
          type: 'string',
          pattern: '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$',
        },
      },
      required: ['base64'],
      additionalProperties: false,
    },
  ],
};

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Text where the bytes are UTF-8. */
export function plainText(bytes: Buffer, telling: Telling): unknown {
  if (!telling.hasZeroInText && bytes.includes(0)) return telling.bytes(bytes);
  try {
    return utf8.decode(bytes);
  } catch {
    return telling.bytes(bytes);
  }
}

/** How many bytes a value has; undefined of what is no text and no bytes. */
export function lengthOfPlain(value: unknown): number | undefined {
  // Half of a surrogate pair has no UTF-8: it would become another character.
  if (typeof value === 'string') {
    return /\p{Surrogate}/u.test(value) ? undefined : Buffer.byteLength(value, 'utf8');
  }
  if (value instanceof Uint8Array) return value.byteLength;
  if (typeof value !== 'object' || value === null) return undefined;
  const { base64 } = value as { base64?: unknown };
  if (typeof base64 !== 'string' || Object.keys(value).length !== 1) return undefined;
  return isBase64(base64) ? Buffer.byteLength(base64, 'base64') : undefined;
}

/** Writes the bytes of a value that has them. */
export function writePlain(value: unknown, into: Buffer, at: number): void {
  if (typeof value === 'string') into.write(value, at, 'utf8');
  else if (value instanceof Uint8Array) into.set(value, at);
  else into.write((value as { base64: string }).base64, at, 'base64');
}

/** Without a group that repeats: that would not stand a text of many megabytes. */
function isBase64(text: string): boolean {
  const padded = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return text.length % 4 === 0 && !/[^A-Za-z0-9+/]/.test(text.slice(0, text.length - padded));
}
