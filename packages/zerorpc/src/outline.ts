import { isUtf8 } from 'node:buffer';

/** A frame that is no MessagePack, or none that anybody waits for. */
export class FormError extends Error {
  override readonly name = 'FormError';
}

export interface Outline {
  /** Where the value that begins at `at` ends. Throws a FormError when it is out of form or of the bounds. */
  skip(at: number, depth?: number): number;
  /** Takes the head of a list or a map: how many elements or pairs it has, and where the first begins. */
  enter(at: number, kind: 'list' | 'map'): { count: number; at: number };
  /** What the values that were passed take of the memory when they are read, at most, about. */
  cost(): number;
}

/** What a value takes beside its bytes, about. A map's pair takes its place in a table, too. */
const costs = { other: 24, string: 40, bin: 112, list: 64, map: 64 };
const pairCost = 48;

/**
 * Goes through a frame without making anything of it. The decoder makes a list as long as it says that it is before
 * anything of it came, and knows no bound on depth: only what passed here is decoded.
 */
export function outlineOf(
  frame: Buffer,
  { maxDepth, maxValues }: { maxDepth: number; maxValues: number },
): Outline {
  let values = 0;
  let cost = 0;

  function skip(at: number, depth = 0): number {
    values += 1;
    if (values > maxValues) throw new FormError(`A message has more than ${maxValues} values.`);
    const { kind, start, bytes, elements } = headAt(frame, at);
    cost += costs[kind];
    if (kind === 'string') return checkedText(start, checked(start + bytes));
    if (elements === 0) return checked(start + bytes);
    if (kind === 'map') cost += (elements / 2) * pairCost;
    if (depth >= maxDepth) throw new FormError('Lists and maps stand in each other too deep.');
    // Each element has a byte at least.
    checked(start + elements);
    let end = start;
    for (let left = elements; left > 0; left -= 1) end = skip(end, depth + 1);
    return end;
  }

  function checked(end: number): number {
    if (end > frame.length) throw new FormError('A value goes beyond the end of the message.');
    return end;
  }

  function checkedText(start: number, end: number): number {
    if (isUtf8(frame.subarray(start, end))) return end;
    throw new FormError('A string is no UTF-8.');
  }

  return {
    skip,
    enter(at, kind) {
      const head = headAt(frame, at);
      if (head.kind !== kind) throw new FormError(`There is no ${kind} where one is expected.`);
      checked(head.start + head.elements);
      return { count: kind === 'map' ? head.elements / 2 : head.elements, at: head.start };
    },
    cost: () => cost,
  };
}

interface Head {
  kind: keyof typeof costs;
  /** Where its content begins, how many bytes it has, or how many values. */
  start: number;
  bytes: number;
  elements: number;
}

/** The content of a string or of bin: ids come as both. undefined: something else stands there. */
export function textAt(frame: Buffer, at: number): Buffer | undefined {
  const { kind, start, bytes } = headAt(frame, at);
  return kind === 'string' || kind === 'bin' ? frame.subarray(start, start + bytes) : undefined;
}

function headAt(frame: Buffer, at: number): Head {
  const byte = frame[at];
  if (byte === undefined) throw new FormError('The message ends within a value.');
  if (byte <= 0x7f || byte >= 0xe0) return other(at, 0);
  if (byte <= 0x8f) return map(at + 1, byte & 0x0f);
  if (byte <= 0x9f) return list(at + 1, byte & 0x0f);
  if (byte <= 0xbf) return content('string', at + 1, byte & 0x1f);
  const fixed = fixedBytes.get(byte);
  if (fixed !== undefined) return other(at, fixed);
  switch (byte) {
    case 0xc4:
      return content('bin', at + 2, lengthAt(frame, at, 1));
    case 0xc5:
      return content('bin', at + 3, lengthAt(frame, at, 2));
    case 0xc6:
      return content('bin', at + 5, lengthAt(frame, at, 4));
    case 0xd9:
      return content('string', at + 2, lengthAt(frame, at, 1));
    case 0xda:
      return content('string', at + 3, lengthAt(frame, at, 2));
    case 0xdb:
      return content('string', at + 5, lengthAt(frame, at, 4));
    case 0xc7:
      return other(at, 2 + lengthAt(frame, at, 1));
    case 0xc8:
      return other(at, 3 + lengthAt(frame, at, 2));
    case 0xc9:
      return other(at, 5 + lengthAt(frame, at, 4));
    case 0xdc:
      return list(at + 3, lengthAt(frame, at, 2));
    case 0xdd:
      return list(at + 5, lengthAt(frame, at, 4));
    case 0xde:
      return map(at + 3, lengthAt(frame, at, 2));
    case 0xdf:
      return map(at + 5, lengthAt(frame, at, 4));
    default:
      throw new FormError('There is a byte that MessagePack does not use.');
  }
}

function lengthAt(frame: Buffer, at: number, size: 1 | 2 | 4): number {
  if (at + 1 + size > frame.length) throw new FormError('The message ends within a value.');
  return frame.readUIntBE(at + 1, size);
}

function other(at: number, bytes: number): Head {
  return { kind: 'other', start: at + 1, bytes, elements: 0 };
}

function content(kind: 'string' | 'bin', start: number, bytes: number): Head {
  return { kind, start, bytes, elements: 0 };
}

function list(start: number, elements: number): Head {
  return { kind: 'list', start, bytes: 0, elements };
}

function map(start: number, pairs: number): Head {
  return { kind: 'map', start, bytes: 0, elements: 2 * pairs };
}

/** nil, booleans, floats, integers and extensions of fixed size: how many bytes follow. */
const fixedBytes: ReadonlyMap<number, number> = new Map([
  ...[0xc0, 0xc2, 0xc3].map((byte) => [byte, 0] as const),
  ...[0xca, 0xce, 0xd2].map((byte) => [byte, 4] as const),
  ...[0xcb, 0xcf, 0xd3].map((byte) => [byte, 8] as const),
  ...[0xcc, 0xd0].map((byte) => [byte, 1] as const),
  ...[0xcd, 0xd1].map((byte) => [byte, 2] as const),
  ...[0, 1, 2, 3, 4].map((n) => [0xd4 + n, 1 + 2 ** n] as const),
]);
