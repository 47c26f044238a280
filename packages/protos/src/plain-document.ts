import { parse } from 'lossless-json';
import type { ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { faultOf, faults, hasLongNumber } from './document-scan.js';

/**
 * Reads a JSON document with inputs. Where an input has numbers of 64 bits and the text has one that a
 * number of JavaScript may not hold, a bigint stands for it; JSON.parse is about three times as fast. Where no
 * contract says what it has, every input may have them. `what` it is, for errors.
 */
export function readDocument(
  fields: readonly ModelField[] | undefined,
  document: string | Buffer,
  what = 'The body',
): unknown {
  const text = checkedText(document, what);
  const isExact = (fields === undefined || hasLong(fields)) && hasLongNumber(text);
  if (isExact) refuseLong(text, `${what} has whole numbers of 16 digits and more, and`);
  return parsed(what, () => (isExact ? parseExactly(text, exactNumber) : JSON.parse(text)));
}

/** This parser takes 0.2 s for a million characters, of texts too, and a hundred bytes of memory for each of them. */
const maxExactLength = 8 * 1024 ** 2;

/** A number that was written with a fraction or an exponent, be it a whole one. */
export class WrittenDouble {
  constructor(readonly value: number) {}
}

/** Likewise, where it counts how a number was written; a number or a bigint is a whole one. */
export function readWrittenDocument(document: Buffer, what: string): unknown {
  const text = checkedText(document, what);
  refuseLong(text, `${what} is to become tensors, and has`);
  return parsed(what, () => parseExactly(text, writtenNumber));
}

function checkedText(document: string | Buffer, what: string): string {
  const text = typeof document === 'string' ? document : utf8Text(document, what);
  const fault = faultOf(text);
  if (fault === undefined) return text;
  const isTooMuch = fault === 'many' || fault === 'wide' || fault === 'diverse';
  const code = isTooMuch ? 'VALIDATION_FAILED' : 'MALFORMED_REQUEST';
  throw new AppError(code, `${what} is not read: ${faults[fault]}.`);
}

function refuseLong(text: string, why: string): void {
  if (text.length <= maxExactLength) return;
  throw new AppError('PAYLOAD_TOO_LARGE', `${why} more than ${maxExactLength} characters.`);
}

function parseExactly(text: string, parseNumber: (digits: string) => unknown): unknown {
  return parse(text, undefined, { parseNumber, onDuplicateKey: () => undefined });
}

function parsed(what: string, read: () => unknown): unknown {
  try {
    return read();
  } catch {
    // The texts of parsers repeat what they were given.
    throw new AppError('MALFORMED_REQUEST', `${what} is no JSON.`);
  }
}

function utf8Text(bytes: Buffer, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new AppError('MALFORMED_REQUEST', `${what} is no JSON.`);
  }
}

function hasLong(fields: readonly ModelField[]): boolean {
  return fields.some(
    ({ dtype, subfields }) =>
      dtype === 'DT_INT64' || dtype === 'DT_UINT64' || hasLong(subfields ?? []),
  );
}

function exactNumber(digits: string): number | bigint {
  const number = Number(digits);
  if (Number.isSafeInteger(number) || !/^-?\d+$/.test(digits)) return number;
  // A number of thousands of digits is none of 64 bits.
  return digits.length > 25 ? number : BigInt(digits);
}

function writtenNumber(digits: string): number | bigint | WrittenDouble {
  const number = exactNumber(digits);
  return typeof number === 'bigint' || /^-?\d+$/.test(digits) ? number : new WrittenDouble(number);
}
