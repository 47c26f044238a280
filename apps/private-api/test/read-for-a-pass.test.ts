import { expect, it } from 'vitest';
import { needs } from '@inference-server/testing';
import { askOf, openBooks } from '../src/dispatcher/policy.js';
import type { ReadyConsumer } from '../src/dispatcher/books.js';
import { gpu } from './capacities.js';

const one = needs({ use_gpu: true });
const pair = needs({ use_gpu: true, gpu_count: 2 });
const of = (id: string, process = 'p'): ReadyConsumer => ({ id, ...gpu(10, { process }) });
const [a, b, c] = [of('a'), of('b'), of('c')];
const elsewhere = [of('x', 'q'), of('y', 'q')];

it.each([
  ['one of which only one has room', one, [a, b], ['b'], ['a']],
  ['one of which two have room', one, [a, b, c], ['c'], []],
  ['one that nobody else could run', one, [a], [], []],
  ['one of which none has room', one, [a, b], ['a', 'b'], []],
  [
    'two of which two have room, and more elsewhere are taken',
    pair,
    [a, b, ...elsewhere],
    ['x'],
    ['a', 'b'],
  ],
  ['two of which three have room', pair, [a, b, c], [], []],
  ['two of which two have room, and two elsewhere', pair, [a, b, ...elsewhere], [], []],
  ['two that nobody else could run', pair, [a, b], [], []],
  ['two of which one has room', pair, [a, b, c], ['b', 'c'], []],
])(
  'nothing is read that shuns whom it cannot do without, of those that want %s',
  (_what, wants, there, taken, expected) => {
    const busy = taken.map((consumerId) => ({ consumerId, lenders: [], seq: 0, needs: one }));
    expect(askOf('version', wants, openBooks(there, busy))?.notShunning).toEqual(expected);
  },
);
