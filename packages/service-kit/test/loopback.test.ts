import { expect, test } from 'vitest';
import { isLoopbackAddress } from '../src/addresses.js';

test.each(['localhost', '127.0.0.1', '127.255.0.9', '::1', '::ffff:127.0.0.1'])(
  'only this machine reaches %s',
  (address) => expect(isLoopbackAddress(address)).toBe(true),
);

test.each([
  '',
  '0.0.0.0',
  '::',
  '10.127.0.0.1',
  '127.0.0.1.example',
  '::ffff:10.0.0.1',
  '192.0.2.1',
])('others reach %s, too', (address) => expect(isLoopbackAddress(address)).toBe(false));
