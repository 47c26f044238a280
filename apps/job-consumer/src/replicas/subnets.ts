import { createHash } from 'node:crypto';

/** Of a network's addresses: first and last, as numbers. */
interface Range {
  first: number;
  last: number;
}

/**
 * The subnets of a block (10.213.0.0/16) that nobody has any address of, in the order of a ring that begins where
 * the name says: those who look at once begin elsewhere. Each has 16 addresses: the bridge's, one for all
 * that leads nowhere, a replica's, and some for gateways.
 */
export function* freeSubnets(
  block: string,
  taken: readonly string[],
  name: string,
): Generator<string> {
  const { first, last } = rangeOf(block);
  const count = Math.max(1, Math.floor((last - first + 1) / size));
  const others = taken.map(rangeOf);
  const start = createHash('sha256').update(name).digest().readUInt32BE() % count;
  for (let step = 0; step < count; step += 1) {
    const at = first + ((start + step) % count) * size;
    const isFree = others.every((other) => other.last < at || other.first > at + size - 1);
    if (isFree) yield `${textOf(at)}/${bits}`;
  }
}

/** Whether it is a block of IPv4 addresses, from its first one on, with room for a subnet. */
export function isBlock(text: string): boolean {
  const [, ...parts] = blockForm.exec(text) ?? [];
  if (parts.length === 0) return false;
  const [length = 0, ...octets] = [parts[4], ...parts.slice(0, 4)].map(Number);
  if (octets.some((octet) => octet > 255) || length < 8 || length > bits) return false;
  return textOf(rangeOf(text).first) === octets.join('.');
}

const bits = 28;
const size = 2 ** (32 - bits);
const blockForm = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/;

function rangeOf(block: string): Range {
  const [address = '', length = '32'] = block.split('/', 2);
  const count = 2 ** (32 - Number(length));
  const number = Buffer.from(address.split('.').map(Number)).readUInt32BE();
  const first = number - (number % count);
  return { first, last: first + count - 1 };
}

function textOf(address: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(address);
  return bytes.join('.');
}
