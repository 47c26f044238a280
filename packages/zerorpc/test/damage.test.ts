import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeEvent } from '../src/event.js';
import { FormError } from '../src/outline.js';
import { encodeValue } from '../src/values.js';

const bounds = { maxDepth: 16, maxValues: 1_000 };

/** Whose name our reader refuses as a key. */
const key = fc.string().filter((name) => name !== '__proto__');
/** Values that MessagePack has. */
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { maxDepth: 4 },
    ...[fc.constant(null), fc.boolean(), fc.integer(), fc.double(), fc.string({ unit: 'binary' })],
    ...[fc.uint8Array(), fc.array(tie('any')), fc.dictionary(key, tie('any'))],
  ),
})).any;

const message = fc
  .tuple(fc.dictionary(fc.string(), value), fc.string(), value)
  .map(([header, name, args]) =>
    Buffer.from(encode([{ message_id: 'id', v: 3, ...header }, name, args])),
  );

/** What is not read is refused by a FormError, and by nothing else. */
function read(frame: Buffer): unknown {
  try {
    return decodeEvent(frame, bounds).readArgs();
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    return error;
  }
}

test('a frame of whatever bytes is read or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void read(Buffer.from(bytes))),
  );
});

test('a message with damage is read or refused', () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(message, damage, fc.nat(), (frame, changes, end) => {
      for (const [at, byte] of changes) frame[at % frame.length] = byte;
      read(frame);
      read(frame.subarray(0, end % frame.length));
    }),
    { numRuns: 2_000 },
  );
});

test('what is written is read again', () => {
  fc.assert(
    fc.property(value, (args) => {
      const head = { message_id: new Uint8Array([1]), v: 3 };
      const written = encodeValue([head, 'name', args], 16);
      const other = decode(written, { useBigInt64: true }) as unknown[];
      expect(read(written)).toEqual(other[2]);
    }),
  );
});
