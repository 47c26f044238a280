import type { IncomingHttpHeaders } from 'node:http';
import { describe, expect, it } from 'vitest';
import { chooseAnswer } from '../src/http/conditions.js';
import { formatHttpDate, parseHttpDate } from '../src/http/http-date.js';

const etag = '"0123abcd"';
const blob = { etag, modifiedAt: new Date('1994-11-06T08:49:37.900Z'), bytes: 100 };
const before = 'Sun, 06 Nov 1994 08:49:36 GMT';
const same = 'Sun, 06 Nov 1994 08:49:37 GMT';
const after = 'Sun, 06 Nov 1994 08:49:38 GMT';
const part = { status: 206, range: { start: 0, end: 9 } };

describe('the answer to a GET', () => {
  it.each<[IncomingHttpHeaders, number]>([
    [{}, 200],
    [{ 'if-match': etag }, 200],
    [{ 'if-match': '*' }, 200],
    [{ 'if-match': `"other", ${etag}` }, 200],
    [{ 'if-match': `"a,b",${etag},"c"` }, 200],
    [{ 'if-match': '"other"' }, 412],
    [{ 'if-match': `W/${etag}` }, 412],
    [{ 'if-match': '0123abcd' }, 412],
    [{ 'if-match': '' }, 412],
    [{ 'if-match': `"x 0123abcd y"` }, 412],

    [{ 'if-unmodified-since': before }, 412],
    [{ 'if-unmodified-since': same }, 200],
    [{ 'if-unmodified-since': after }, 200],
    [{ 'if-unmodified-since': 'yesterday' }, 200],
    // If-Match goes before it.
    [{ 'if-match': etag, 'if-unmodified-since': before }, 200],
    [{ 'if-match': '"other"', 'if-unmodified-since': after }, 412],

    [{ 'if-none-match': etag }, 304],
    [{ 'if-none-match': `W/${etag}` }, 304],
    [{ 'if-none-match': `"other", W/${etag}` }, 304],
    [{ 'if-none-match': ' * ' }, 304],
    [{ 'if-none-match': '"other"' }, 200],
    [{ 'if-none-match': '0123abcd' }, 200],
    // A list that cannot be read as a whole names nothing.
    [{ 'if-none-match': `junk${etag}` }, 200],
    [{ 'if-none-match': `"a"${etag}` }, 200],
    [{ 'if-none-match': `${etag}, junk` }, 200],
    [{ 'if-none-match': `, "a,b" ,, ${etag} ,` }, 304],
    [{ 'if-match': '' }, 412],
    [{ 'if-match': `${etag};` }, 412],

    [{ 'if-modified-since': before }, 200],
    [{ 'if-modified-since': same }, 304],
    [{ 'if-modified-since': after }, 304],
    [{ 'if-modified-since': '1994-11-07' }, 200],
    // If-None-Match goes before it.
    [{ 'if-none-match': '"other"', 'if-modified-since': after }, 200],
    [{ 'if-none-match': etag, 'if-modified-since': before }, 304],

    // What must hold goes before what need not be sent, and both before the range.
    [{ 'if-match': '"other"', 'if-none-match': etag, range: 'bytes=0-9' }, 412],
    [{ 'if-match': etag, 'if-none-match': etag, range: 'bytes=0-9' }, 304],
    [{ 'if-none-match': etag, range: 'bytes=100-' }, 304],
    [{ range: 'bytes=100-' }, 416],
    [{ range: 'bytes=0-1,3-4' }, 200],

    [{ 'if-range': '"other"' }, 200],
    [{ 'if-range': '"other"', range: 'bytes=0-9' }, 200],
    [{ 'if-range': '"other"', range: 'bytes=100-' }, 200],
    [{ 'if-range': `W/${etag}`, range: 'bytes=0-9' }, 200],
    [{ 'if-range': before, range: 'bytes=0-9' }, 200],
    [{ 'if-range': after, range: 'bytes=0-9' }, 200],
    [{ 'if-range': 'yesterday', range: 'bytes=0-9' }, 200],
    [{ 'if-range': etag, range: 'bytes=100-' }, 416],
  ])('%j: %i', (headers, status) => {
    expect(chooseAnswer('GET', headers, blob)).toEqual({ status });
  });

  it.each<IncomingHttpHeaders>([
    { range: 'bytes=0-9' },
    { range: 'bytes=0-9', 'if-range': etag },
    { range: 'bytes=0-9', 'if-range': same },
    { range: 'bytes=0-9', 'if-match': etag, 'if-none-match': '"other"' },
  ])('%j: the part', (headers) => {
    expect(chooseAnswer('GET', headers, blob)).toEqual(part);
  });
});

it('knows conditions of a HEAD, and no range', () => {
  expect(chooseAnswer('HEAD', { range: 'bytes=0-9' }, blob)).toEqual({ status: 200 });
  expect(chooseAnswer('HEAD', { range: 'bytes=100-' }, blob)).toEqual({ status: 200 });
  expect(chooseAnswer('HEAD', { 'if-none-match': etag }, blob)).toEqual({ status: 304 });
  expect(chooseAnswer('HEAD', { 'if-match': '"other"' }, blob)).toEqual({ status: 412 });
});

it('takes no longer for a long list', () => {
  const started = performance.now();
  chooseAnswer('GET', { 'if-none-match': '"'.repeat(16_383) }, blob);
  chooseAnswer('GET', { 'if-none-match': 'W/"'.repeat(5_000) }, blob);
  chooseAnswer('GET', { range: `bytes=${'1-,'.repeat(5_000)}` }, blob);
  expect(performance.now() - started).toBeLessThan(100);
});

describe('an HTTP-date', () => {
  const ms = Date.UTC(1994, 10, 6, 8, 49, 37);

  it('is read in its three forms, whatever zone this is', () => {
    expect(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT')).toBe(ms);
    expect(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT')).toBe(ms);
    expect(parseHttpDate('Sun Nov  6 08:49:37 1994')).toBe(ms);
    expect(parseHttpDate('Wed Nov 16 08:49:37 1994')).toBe(ms + 10 * 86_400_000);
  });

  it.each([
    '',
    'yesterday',
    '1994-11-06T08:49:37Z',
    '784111777',
    '6 Nov 1994',
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 +0200',
    'Sun, 06 Nov 1994 25:61:61 GMT',
    'Sun, 99 Nov 1994 08:49:37 GMT',
    'Sun, 06 Foo 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 GMT and more',
  ])('is nothing else: %j', (text) => {
    expect(parseHttpDate(text)).toBeUndefined();
  });

  it('is written in whole seconds', () => {
    expect(formatHttpDate(blob.modifiedAt)).toBe(same);
  });
});
