import { expect, test } from 'vitest';
import { createAddressReader } from '../src/forwarded-address.js';

test.each([
  ['nobody is believed', [], '10.0.0.1', '203.0.113.1', '10.0.0.1'],
  ['a network', ['10.0.0.0/8'], '10.0.0.1', '203.0.113.1', '203.0.113.1'],
  ['an address', ['10.0.0.1'], '10.0.0.1', '203.0.113.1', '203.0.113.1'],
  ['a name', ['uniquelocal'], '::ffff:10.0.0.1', '2001:db8::1', '2001:db8::1'],
  ['another than the peer', ['10.0.0.2'], '10.0.0.1', '203.0.113.1', '10.0.0.1'],
  ['what an unknown one says before', ['loopback'], '::1', '1.1.1.1, 203.0.113.1', '203.0.113.1'],
  ['two in a row', ['loopback', '10.0.0.0/8'], '::1', '1.1.1.1, 10.0.0.9', '1.1.1.1'],
  ['what is no address', ['loopback'], '127.0.0.1', '1.1.1.1, unknown', '127.0.0.1'],
  ['one that says nothing', ['loopback'], '127.0.0.1', undefined, '127.0.0.1'],
])('%s', (_what, trusted, peer, forwardedFor, address) => {
  expect(createAddressReader(trusted)(peer, forwardedFor)).toBe(address);
});

test('what is no address cannot be trusted', () => {
  expect(() => createAddressReader(['proxy'])).toThrow();
});
