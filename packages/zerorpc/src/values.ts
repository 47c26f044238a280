// @msgpack/msgpack and not msgpackr: it makes nothing but what the format has (msgpackr has extensions of its own, by
// which a message makes errors, sets and records), refuses the key __proto__, and is a quarter of the code, without
// native parts. Both take lists by the length that they claim (see outline.ts), and both write whole numbers beyond
// 32 bits as floats where 64-bit integers are bigints (see `exact`).
import { toUSVString } from 'node:util';
import { Decoder, DecodeError, Encoder } from '@msgpack/msgpack';
import { FormError } from './outline.js';

/** Extensions have no meaning between us and a client, dates included. */
const noExtensions = {
  tryToEncode: () => null,
  decode: (): never => {
    throw new DecodeError('Extensions are not taken.');
  },
};

const decoder = new Decoder({
  useBigInt64: true,
  extensionCodec: noExtensions,
  mapKeyConverter(key) {
    if (typeof key === 'string') return key;
    if (typeof key === 'number' || typeof key === 'bigint') return String(key);
    throw new DecodeError('The keys of a map are texts or numbers.');
  },
});

/**
 * What stands in bytes that an outline has passed. Bytes within it are a part of the same memory. A byte order mark at
 * the begin of a text of more than 200 bytes is left out: the decoder's way.
 */
export function decodeValue(bytes: Buffer): unknown {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    throw new FormError('The values are out of form.', { cause: error });
  }
}

/** Throws a TypeError or a RangeError for what cannot be told in MessagePack. */
export function encodeValue(value: unknown, maxDepth: number): Buffer {
  const told = exact(value, maxDepth);
  const bytes = encoder.encodeSharedRef(told);
  if (bytes.length <= smallBytes) return Buffer.from(bytes);
  // It would keep the room of the largest message that it has made.
  encoder = newEncoder();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const smallBytes = 16 * 1024;
let encoder = newEncoder();

/** How deep values are is looked at before they are encoded. */
function newEncoder(): Encoder {
  return new Encoder({ useBigInt64: true, maxDepth: 1_000, extensionCodec: noExtensions });
}

/** The same value, in a form that the encoder writes exactly. What needs no change is not copied. */
function exact(value: unknown, depthLeft: number): unknown {
  switch (typeof value) {
    case 'number':
      return Number.isSafeInteger(value) && Math.abs(value) > 0x7fffffff ? BigInt(value) : value;
    case 'bigint':
      return exactInteger(value);
    case 'string':
      // Half of a pair would make bytes that are no UTF-8, and a client that reads nothing of the answer.
      return toUSVString(value);
    case 'undefined':
    case 'boolean':
      return value;
    case 'object':
      if (value === null || value instanceof Uint8Array) return value;
      if (depthLeft <= 0) throw new RangeError('The values stand in each other too deep.');
      return Array.isArray(value)
        ? exactList(value, depthLeft - 1)
        : exactObject(value, depthLeft - 1);
    default:
      throw new TypeError('A function or a symbol cannot be told in MessagePack.');
  }
}

function exactInteger(value: bigint): bigint | number {
  if (value < -(2n ** 63n) || value >= 2n ** 64n) {
    throw new RangeError('An integer has more than 64 bits.');
  }
  const isShort = value <= 0x7fffffffn && value >= -0x80000000n;
  return isShort ? Number(value) : value;
}

function exactList(list: readonly unknown[], depthLeft: number): readonly unknown[] {
  let copy: unknown[] | undefined;
  for (let n = 0; n < list.length; n += 1) {
    const own = exact(list[n], depthLeft);
    if (own !== list[n] && !Number.isNaN(own)) (copy ??= [...list])[n] = own;
  }
  return copy ?? list;
}

function exactObject(value: object, depthLeft: number): object {
  if (ArrayBuffer.isView(value)) throw new TypeError('Numbers are told as a plain list.');
  const entries =
    value instanceof Map ? [...(value as Map<unknown, unknown>)] : Object.entries(value);
  if (!(value instanceof Map) && !isPlain(value)) {
    throw new TypeError('Only plain objects can be told in MessagePack.');
  }
  // Keys are the object's own, whatever they are called.
  const copy = Object.create(null) as Record<string, unknown>;
  for (const [key, one] of entries) copy[exact(String(key), 0) as string] = exact(one, depthLeft);
  return copy;
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}
