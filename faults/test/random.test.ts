import { expect, it } from 'vitest';
import { createRandom, type Random } from '../src/random.js';

const draw = (random: Random, count = 40) => Array.from({ length: count }, () => random.number());

it('draws the same of the same seed, and something else of another', () => {
  expect(draw(createRandom('1'))).toEqual(draw(createRandom('1')));
  const all = ['1', '2', '11', '1 1', ''].map((seed) => draw(createRandom(seed)).join());
  expect(new Set(all).size).toBe(all.length);
});

it('does not repeat itself', () => {
  expect(new Set(draw(createRandom('1'), 1_000)).size).toBeGreaterThan(990);
});

it('stays within 0 and 1, and comes near to both', () => {
  const numbers = draw(createRandom('bounds'), 10_000);
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(Math.min(...numbers)).toBeLessThan(0.001);
  expect(Math.max(...numbers)).toBeGreaterThan(0.999);
});

it('forks a source that is its own, however much was drawn before, and leaves its parent as it is', () => {
  const [one, two] = [createRandom('1'), createRandom('1')];
  draw(one, 7);
  expect(draw(one.fork('a'))).toEqual(draw(two.fork('a')));
  draw(two, 7);
  expect(draw(one)).toEqual(draw(two));
  const all = [one, one.fork('a'), one.fork('b'), one.fork('a').fork('a'), createRandom('a')];
  expect(new Set(all.map((random) => draw(random).join())).size).toBe(all.length);
});

it.each([
  [1, 6],
  [0, 1],
  [-2, 2],
  [3, 3],
])('draws every whole number between %i and %i, and none else', (least, most) => {
  const random = createRandom('between');
  const drawn = new Set(Array.from({ length: 500 }, () => random.between(least, most)));
  const wanted = Array.from({ length: most - least + 1 }, (_item, at) => least + at);
  expect([...drawn].sort((a, b) => a - b)).toEqual(wanted);
});

it('picks every item', () => {
  const random = createRandom('pick');
  const items = ['a', 'b', 'c', 'd', 'e'];
  const picked = new Set(Array.from({ length: 500 }, () => random.pick(items)));
  expect([...picked].sort()).toEqual(items);
});

it('takes a chance as often as is said', () => {
  const random = createRandom('chance');
  const taken = (share: number) =>
    Array.from({ length: 4_000 }, () => random.chance(share)).filter(Boolean).length / 4_000;
  expect(taken(0)).toBe(0);
  expect(taken(1)).toBe(1);
  expect(taken(0.15)).toBeCloseTo(0.15, 1);
});

it('draws as many bytes as are asked for, of all values', () => {
  const random = createRandom('bytes');
  for (const count of [0, 1, 4, 7, 8]) expect(random.bytes(count)).toHaveLength(count);
  expect(new Set(random.bytes(16_384)).size).toBe(256);
  // To the last one, too.
  const last = Array.from({ length: 20 }, () => random.bytes(7).subarray(4).toString('hex'));
  expect(new Set(last).size).toBe(20);
});
