import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { createPartRooms } from '../src/part-room.js';
import { joinParts } from '../src/parts.js';

/** Reads parts of these lengths, and keeps them. */
function* reader(lengths: readonly number[], parts: Buffer[]): Generator<number, void, Buffer> {
  for (const length of lengths) parts.push(yield length);
}

const roomOf = (bytes: number) =>
  createPartRooms({ budget: createByteBudget(0), trustedBytes: 0, strangerBytes: bytes }).open({
    isTrusted: () => false,
    cut: () => undefined,
  });

test.each([1, 7, 1_448, 65_536])('parts come whole of chunks of %i bytes', (chunkBytes) => {
  const all = randomBytes(300_000);
  const lengths = [1, 63, 2, 100_000, 2, 7, 150_000, 2, 40_000];
  const parts: Buffer[] = [];
  const joined = joinParts(reader([...lengths, 20_000], parts), roomOf(300_000));
  for (let at = 0; at < all.length; at += chunkBytes) {
    joined.push(all.subarray(at, at + chunkBytes));
    while (joined.next() === 'given');
  }
  let at = 0;
  for (const [n, length] of lengths.entries()) {
    expect(parts[n]?.equals(all.subarray(at, (at += length)))).toBe(true);
  }
});

test('what is not there whole takes little more than its bytes', () => {
  const joined = joinParts(reader([2 ** 24], []), roomOf(2 ** 24));
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const taken = () => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = taken();
  let missing = 0;
  for (let n = 0; n < 500_000; n += 1) {
    joined.push(Buffer.from(new ArrayBuffer(1)));
    if (joined.next() === 'missing') missing += 1;
  }
  expect(missing).toBe(500_000);
  // As they came, each would take 200 bytes: 100 MiB.
  expect(taken() - before).toBeLessThan(50 * 2 ** 20);
  joined.drop();
});

test('where a message is at its end, and has not begun, is told', () => {
  function* messages(): Generator<number, void, Buffer> {
    for (;;) {
      yield 0;
      const [length = 0] = yield 1;
      if (length > 0) yield length;
    }
  }
  const joined = joinParts(messages(), roomOf(10));
  const amid = [joined.amid()];
  for (const byte of [2, 7, 7, 0, 1]) {
    joined.push(Buffer.from([byte]));
    while (joined.next() === 'given');
    amid.push(joined.amid());
  }
  expect(amid).toEqual([undefined, 1, 1, undefined, undefined, 3]);
});
