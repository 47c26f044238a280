/** How values stand as plain ones where not everybody who gets them has a form for all. */
export interface Telling {
  /** Bytes that are no text. */
  bytes(bytes: Buffer): unknown;
  /** Whether UTF-8 with a zero byte in it is text, too. */
  hasZeroInText: boolean;
  /** A whole number that a number of JavaScript does not hold. */
  long(value: bigint): unknown;
  notFinite(value: number): unknown;
  /** Whether a number that is given may be none or infinite: one of JSON is so by being beyond all. */
  takesNotFinite: boolean;
}

/** As the plain HTTP form has them. */
export const inJson: Telling = {
  bytes: (bytes) => ({ base64: bytes.toString('base64') }),
  hasZeroInText: true,
  long: String,
  notFinite: String,
  takesNotFinite: false,
};

/** As values of JavaScript, for a form like MessagePack that has all of them. */
export const asValues: Telling = {
  // A Buffer would make a list of numbers of itself wherever JSON is made of it.
  bytes: (bytes) => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  hasZeroInText: true,
  long: (value) => value,
  notFinite: (value) => value,
  takesNotFinite: true,
};

/**
 * As values, where bytes become files: a volume should be one whatever its voxels are, and one of nothing but small
 * numbers is UTF-8.
 */
export const asValuesAndFiles: Telling = { ...asValues, hasZeroInText: false };

/** Values that were told as such, in JSON as the plain HTTP form has them. */
export function jsonOfValues(values: unknown): string {
  return JSON.stringify(values, toldInJson);
}

function toldInJson(this: unknown, key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return inJson.long(value);
  if (typeof value === 'number' && !Number.isFinite(value)) return inJson.notFinite(value);
  if (typeof value !== 'object') return value;
  // What a Buffer makes of itself stands in `value` by now.
  const given = (this as Record<string, unknown>)[key];
  if (!(given instanceof Uint8Array)) return value;
  return inJson.bytes(Buffer.from(given.buffer, given.byteOffset, given.byteLength));
}
