import { AppError } from '@inference-server/errors';
import { blockBytes } from './tar-header.js';

/** What one header block says. */
export interface TarFields {
  name: string;
  linkName: string;
  /** One character: the kind of entry, or that the block announces a part of the next one. */
  type: string;
  mode: number;
  /** As it is stated: a folder may state one and has no content. */
  bytes: number;
  modified: Date;
}

/** Undefined for an empty block. Throws INTERNAL when the checksum or a number is wrong. */
export function readTarFields(block: Buffer): TarFields | undefined {
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const isGnu = block.toString('latin1', 257, 265) === 'ustar  \0';
  if (!isUstar && !isGnu) {
    if (isEmpty(block)) return undefined;
    throw damaged('a header is of an unknown form');
  }
  if (checksumOf(block) !== numberAt(block, 148, 8)) throw damaged('a checksum is wrong');
  const prefix = isUstar ? textAt(block, 345, 155) : '';
  const name = textAt(block, 0, 100);
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    linkName: textAt(block, 157, 100),
    // Tars from before POSIX have NUL for files.
    type: block[156] === 0 ? '0' : block.toString('latin1', 156, 157),
    mode: numberAt(block, 100, 8),
    bytes: requireLength(numberAt(block, 124, 12)),
    modified: new Date(1000 * numberAt(block, 136, 12)),
  };
}

/** The records of a pax header; the last of a key counts. Throws INTERNAL when one is damaged. */
export function readPaxRecords(content: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < content.length;) {
    const blank = content.indexOf(0x20, at);
    const digits = content.toString('latin1', at, Math.min(blank, at + 8));
    const end = at + Number(digits);
    const equals = content.indexOf(0x3d, blank);
    const isWhole =
      /^[0-9]+$/.test(digits) && blank < equals && equals < end && content[end - 1] === 0x0a;
    if (!isWhole) throw damaged('an extended header is wrong');
    records.set(
      content.toString('utf8', blank + 1, equals),
      content.toString('utf8', equals + 1, end - 1),
    );
    at = end;
  }
  return records;
}

/** A length as a pax record states it. Throws INTERNAL when it is none. */
export function readPaxLength(digits: string): number {
  return requireLength(/^[0-9]+$/.test(digits) ? Number(digits) : NaN);
}

/** The text up to the first NUL, as GNU's headers for long names hold it. */
export function readText(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end === -1 ? bytes.length : end);
}

export function isEmpty(bytes: Buffer): boolean {
  return bytes.equals(empty.subarray(0, bytes.length));
}

export function damaged(how: string): AppError {
  return new AppError('INTERNAL', `reading a tar: ${how}`);
}

const empty = Buffer.alloc(blockBytes);

function requireLength(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) throw damaged('a length is wrong');
  return value;
}

/** The sum of the block's bytes, with blanks in the checksum's own place. */
function checksumOf(block: Buffer): number {
  let sum = 8 * 0x20;
  for (let at = 0; at < blockBytes; at += 1) {
    if (at < 148 || at >= 156) sum += block[at] ?? 0;
  }
  return sum;
}

function textAt(block: Buffer, at: number, length: number): string {
  return readText(block.subarray(at, at + length));
}

/** Octal digits, or GNU's two's complement behind a set first bit; NaN for anything else. */
function numberAt(block: Buffer, at: number, length: number): number {
  const field = block.subarray(at, at + length);
  const first = field[0] ?? 0;
  if ((first & 0x80) === 0) {
    const digits = field
      .toString('latin1')
      .replace(/[\0 ]+$/, '')
      .trimStart();
    return /^[0-7]*$/.test(digits) ? parseInt(digits || '0', 8) : NaN;
  }
  const bits = BigInt(`0x${field.toString('hex')}`) & ~(1n << BigInt(8 * length - 1));
  return Number(BigInt.asIntN(8 * length - 1, bits));
}
