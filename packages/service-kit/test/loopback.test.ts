import { expect, test } from 'vitest';
import { isLoopbackAddress, networkOf } from '../src/addresses.js';

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
  // NAT64 reaches no loopback address: somebody says so.
  '64:ff9b::7f00:1',
])('others reach %s, too', (address) => expect(isLoopbackAddress(address)).toBe(false));

test.each([
  ['192.0.2.1', '192.0.2.1'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::ffff:c000:201', '192.0.2.1'],
  ['64:ff9b::192.0.2.1', '192.0.2.1'],
  ['64:FF9B:0:0::c000:201', '192.0.2.1'],
  // The local-use prefix of RFC 8215, and another network beside: no IPv4 is known to be in it.
  ['64:ff9b:1::c000:201', '64:ff9b:1:0::/64'],
  ['64:ff9b::1:0:0', '64:ff9b:0:0::/64'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['no address', 'no address'],
])('%s is counted as %s', (address, network) => expect(networkOf(address)).toBe(network));
