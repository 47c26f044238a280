import { AppError } from '@inference-server/errors';
import { readDocument } from './plain-document.js';
import { objectOf } from './plain-inputs.js';
import { lengthOfPlain } from './text-form.js';

/** Values of MessagePack may stand in each other as deep as they like; those of JSON are looked at before. */
const maxDepth = 64;

/**
 * Inputs by name of a JSON document where no contract says what they are: whole numbers are exact, as bigints
 * where need be, and {"base64": "…"} is bytes. `what` it is, for errors. Throws MALFORMED_REQUEST of what is no
 * JSON, and VALIDATION_FAILED of what is no object.
 */
export function valuesOfJson(document: string | Buffer, what: string): Record<string, unknown> {
  const given = objectOf(readDocument(undefined, document, what));
  if (given === undefined) throw noObject(what);
  return replaceIn(given, bytesOfBase64) as Record<string, unknown>;
}

export function noObject(what: string): AppError {
  return new AppError(
    'VALIDATION_FAILED',
    `${what} must be a JSON object with each input by its name.`,
  );
}

/** Undefined of what is not {"base64": "…"}. */
export function bytesOfBase64(value: object): Uint8Array | undefined {
  if (!Object.hasOwn(value, 'base64')) return undefined;
  if (lengthOfPlain(value) === undefined) return undefined;
  return asBytes(Buffer.from((value as { base64: string }).base64, 'base64'));
}

/** A Buffer would make a list of numbers of itself wherever JSON is made of it. */
export function asBytes({ buffer, byteOffset, byteLength }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * The same values with what `replace` gives for a list or an object in its place; undefined leaves it. `path`: the
 * names and indices that lead to it.
 */
export function replaceIn(
  value: unknown,
  replace: (value: object, path: readonly string[]) => unknown,
  path: string[] = [],
): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const instead = path.length === 0 ? undefined : replace(value, path);
  if (instead !== undefined) return instead;
  if (value instanceof Uint8Array) return value;
  if (path.length > maxDepth) {
    throw new AppError('VALIDATION_FAILED', `The values stand in each other too deep.`);
  }
  const replaced = (item: unknown, name: string) => {
    path.push(name);
    const next = replaceIn(item, replace, path);
    path.pop();
    return next;
  };
  if (Array.isArray(value)) {
    const list = value as unknown[];
    // Most are of numbers, which are let be.
    if (!list.some((item) => typeof item === 'object')) return list;
    const items = list.map((item, index) => replaced(item, String(index)));
    return items.every((item, index) => item === list[index]) ? list : items;
  }
  const entries: [string, unknown][] = Object.entries(value);
  const items = entries.map(([name, item]) => [name, replaced(item, name)] as const);
  const isSame = items.every(([, item], index) => item === entries[index]?.[1]);
  // Not by assignment: a name may be __proto__.
  return isSame ? value : Object.fromEntries(items);
}
