import { expect, it } from 'vitest';
import { requestedRange } from '../src/http/byte-range.js';

const bytes = 100;
const huge = '9'.repeat(400);

it.each<[string | undefined, ReturnType<typeof requestedRange>]>([
  ['bytes=0-0', { start: 0, end: 0 }],
  ['bytes=0-99', { start: 0, end: 99 }],
  ['bytes=10-19', { start: 10, end: 19 }],
  ['bytes=99-', { start: 99, end: 99 }],
  ['bytes=10-', { start: 10, end: 99 }],
  ['bytes=10-1000', { start: 10, end: 99 }],
  [`bytes=10-${huge}`, { start: 10, end: 99 }],
  ['bytes=-1', { start: 99, end: 99 }],
  ['bytes=-100', { start: 0, end: 99 }],
  ['bytes=-1000', { start: 0, end: 99 }],
  [`bytes=-${huge}`, { start: 0, end: 99 }],
  ['BYTES=10-19', { start: 10, end: 19 }],
  ['bytes=,10-19 ,', { start: 10, end: 19 }],

  ['bytes=100-', 'unsatisfiable'],
  ['bytes=100-200', 'unsatisfiable'],
  [`bytes=${huge}-`, 'unsatisfiable'],
  ['bytes=-0', 'unsatisfiable'],

  [undefined, 'whole'],
  ['', 'whole'],
  ['bytes', 'whole'],
  ['bytes=', 'whole'],
  ['bytes=,', 'whole'],
  ['bytes=-', 'whole'],
  ['bytes=5', 'whole'],
  ['bytes=19-10', 'whole'],
  ['bytes=a-b', 'whole'],
  ['bytes=1x-2', 'whole'],
  ['bytes=0x1-0x2', 'whole'],
  ['bytes=1e1-', 'whole'],
  ['bytes=+1-2', 'whole'],
  ['bytes=1.0-2', 'whole'],
  ['bytes=--5', 'whole'],
  ['bytes=1-2-3', 'whole'],
  ['bytes=0-1,4-5', 'whole'],
  ['bytes=0-1, bytes=4-5', 'whole'],
  ['bytes=-0,100-', 'whole'],
  ['items=0-1', 'whole'],
  ['bytes 0-1', 'whole'],
])('%s', (header, range) => {
  expect(requestedRange(header, bytes)).toEqual(range);
});

it('finds nothing to send of nothing', () => {
  expect(requestedRange('bytes=0-', 0)).toBe('unsatisfiable');
  expect(requestedRange('bytes=-1', 0)).toBe('unsatisfiable');
});
