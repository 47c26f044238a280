import { expect, test } from 'vitest';
import { statusNameOf } from '../src/codes.js';
import { decodeStatusMessage, encodeStatusMessage } from '../src/metadata.js';
import { readTimeout, writeTimeout } from '../src/timeout.js';

test('texts of a status survive their encoding', () => {
  for (const text of ['', 'plain', '100 %', 'für\r\n', '日本 🙂', '%41']) {
    const encoded = encodeStatusMessage(text);
    expect(encoded).toMatch(/^[\x20-\x7e]*$/);
    expect(decodeStatusMessage(encoded)).toBe(text);
  }
  expect(decodeStatusMessage('%zz%4')).toBe('%zz%4');
});

test('times are read and written', () => {
  expect(readTimeout('20S')).toBe(20_000);
  expect(readTimeout('99999999H')).toBe(99_999_999 * 3_600_000);
  for (const wrong of ['', '5', 'S', '123456789S', '-1S', '1.5S', '1s']) {
    expect(readTimeout(wrong)).toBeUndefined();
  }
  for (const timeoutMs of [0, 0.5, 7, 99_999, 1e9, 1e13]) {
    const text = writeTimeout(timeoutMs);
    const read = readTimeout(text) ?? NaN;
    expect(read).toBeGreaterThanOrEqual(timeoutMs);
    expect(read).toBeLessThan(timeoutMs * 1.01 + 1e7);
  }
  expect(writeTimeout(-5)).toBe('0u');
});

test('a number without a meaning is UNKNOWN', () => {
  expect([statusNameOf(0), statusNameOf(16), statusNameOf(99), statusNameOf(NaN)]).toEqual([
    ...['OK', 'UNAUTHENTICATED', 'UNKNOWN', 'UNKNOWN'],
  ]);
});
