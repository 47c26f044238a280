import { randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { createByteBudget } from '../src/limits.js';
import { createPartRooms } from '../src/part-room.js';
import { joinParts } from '../src/parts.js';

/** Reads parts of these lengths, and keeps them. */
function* reader(lengths: readonly number[], parts: Buffer[]): Generator<number, void, Buffer> {
  for (const length of lengths) parts.push(yield length);
}

const roomOf = (bytes: number) =>
  createPartRooms({ budget: createByteBudget(0), strangerBytes: bytes }).open({
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

test('what is not there whole takes no more than twice its bytes, and a little', () => {
  const joined = joinParts(reader([2 ** 24], []), roomOf(2 ** 24));
  const byte = Buffer.from('x');
  const before = process.memoryUsage().rss;
  let missing = 0;
  for (let n = 0; n < 2_000_000; n += 1) {
    joined.push(byte);
    if (joined.next() === 'missing') missing += 1;
  }
  expect(missing).toBe(2_000_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 2 ** 20);
});
