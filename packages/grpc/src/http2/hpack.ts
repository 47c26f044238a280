import { decodeHuffman } from './huffman.js';
import { Http2Error } from './http2-error.js';

/** Names in lower case; of several of one name the values, with commas between. */
export type Headers = Readonly<Record<string, string>>;

/** A block, read; `isSound` unless its headers are such as HTTP/2 does not have (RFC 9113, sections 8.2 and 8.3). */
export interface HeaderBlock {
  headers: Headers;
  isSound: boolean;
}

/** Reads the header blocks of one connection, in their order. */
export interface HeaderDecoder {
  /** Throws Http2Error. */
  decode(block: Buffer): HeaderBlock;
}

/** What a peer may keep by itself where we say nothing (RFC 7541, section 4.2; RFC 9113, section 6.5.2). */
const usualTableBytes = 4096;
/** An entry counts with so much beside its name and value (RFC 7541, section 4.1). */
const entryBytes = 32;

export function createHeaderDecoder(maxListBytes: number): HeaderDecoder {
  /** The newest first. */
  const table: HeaderEntry[] = [];
  let tableBytes = 0;
  let maxTableBytes = usualTableBytes;

  function evict(upTo: number): void {
    while (tableBytes > upTo) tableBytes -= sizeOf(table.pop() as HeaderEntry);
  }

  function keep(entry: HeaderEntry): void {
    const size = sizeOf(entry);
    evict(Math.max(maxTableBytes - size, 0));
    if (size > maxTableBytes) return;
    table.unshift(entry);
    tableBytes += size;
  }

  function entryAt(index: number): HeaderEntry {
    const entry = staticTable[index - 1] ?? table[index - 1 - staticTable.length];
    if (entry === undefined) throw broken();
    return entry;
  }

  /** A literal: its name by an index, or as a text where that is 0. */
  function literal(reader: Reader, prefixBits: number): HeaderEntry {
    const index = reader.integer(prefixBits);
    const name = index === 0 ? reader.text() : entryAt(index)[0];
    return [name, reader.text()];
  }

  return {
    decode(block) {
      const headers = Object.create(null) as Record<string, string>;
      const reader = readerOf(block);
      let listBytes = 0;
      let isSound = true;
      let hasUsual = false;
      while (reader.hasMore()) {
        const first = reader.peek();
        let entry: HeaderEntry;
        if (first >= 0x80) entry = entryAt(reader.integer(7));
        else if (first >= 0x40) keep((entry = literal(reader, 6)));
        else if (first >= 0x20) {
          const size = reader.integer(5);
          if (size > usualTableBytes || listBytes > 0) throw broken();
          maxTableBytes = size;
          evict(size);
          continue;
        } else entry = literal(reader, 4);
        listBytes += sizeOf(entry);
        if (listBytes > maxListBytes) {
          throw new Http2Error('ENHANCE_YOUR_CALM', 'the peer sends too many headers');
        }
        const [name, value] = entry;
        const isOfProtocol = name.startsWith(':');
        const before = headers[name];
        isSound &&= isOfProtocol ? !hasUsual && before === undefined : usualName.test(name);
        isSound &&= !ofConnections.has(name) && !breaksLines.test(value);
        hasUsual ||= !isOfProtocol;
        headers[name] = before === undefined ? value : `${before}, ${value}`;
      }
      return { headers, isSound };
    },
  };
}

const usualName = /^[a-z0-9!#$%&'*+\-.^_`|~]+$/;
const breaksLines = /[\0\r\n]/;
/** What HTTP/1 has, whose connections carry one request at a time. */
const ofConnections = new Set([
  ...['connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade'],
]);

/** Says that nothing is to be kept of what is sent: the first block after each change has to say how much is. */
export const keepNothing = Buffer.from([0x20]);

/** A block of headers, each by itself: what is sent so needs no memory at either side. */
export function encodeHeaders(entries: readonly HeaderEntry[]): Buffer {
  return Buffer.concat(
    entries.map(([name, value]) => {
      const index = staticIndexes.get(`${name}\n${value}`);
      if (index !== undefined) return Buffer.from([0x80 | index]);
      const nameIndex = staticIndexes.get(name) ?? 0;
      // An index of 0 says that the name follows.
      const named = nameIndex > 0 ? [] : [textOf(name)];
      return Buffer.concat([integerOf(nameIndex, 4), ...named, textOf(value)]);
    }),
  );
}

export type HeaderEntry = readonly [name: string, value: string];

interface Reader {
  hasMore(): boolean;
  peek(): number;
  integer(prefixBits: number): number;
  text(): string;
}

function readerOf(block: Buffer): Reader {
  let at = 0;

  function byte(): number {
    const value = block[at];
    if (value === undefined) throw broken();
    at += 1;
    return value;
  }

  function integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    let value = byte() & most;
    if (value < most) return value;
    // No number of ours is larger than four such bytes say.
    for (let shift = 0; shift < 28; shift += 7) {
      const next = byte();
      value += (next & 0x7f) * 2 ** shift;
      if (next < 0x80) return value;
    }
    throw broken();
  }

  return {
    hasMore: () => at < block.length,
    peek: () => block[at] ?? 0,
    integer,
    text() {
      const isHuffman = ((block[at] ?? 0) & 0x80) !== 0;
      const length = integer(7);
      if (at + length > block.length) throw broken();
      const bytes = block.subarray(at, at + length);
      at += length;
      const text = isHuffman ? decodeHuffman(bytes) : bytes.toString('latin1');
      if (text === undefined) throw broken();
      return text;
    },
  };
}

function integerOf(value: number, prefixBits: number): Buffer {
  const most = 2 ** prefixBits - 1;
  if (value < most) return Buffer.from([value]);
  const bytes = [most];
  let left = value - most;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  bytes.push(left);
  return Buffer.from(bytes);
}

function textOf(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return Buffer.concat([integerOf(bytes.length, 7), bytes]);
}

function sizeOf([name, value]: HeaderEntry): number {
  return name.length + value.length + entryBytes;
}

function broken(): Http2Error {
  return new Http2Error('COMPRESSION_ERROR', 'the headers of the peer cannot be read');
}

/** RFC 7541, appendix A. */
const staticTable: readonly HeaderEntry[] = [
  [':authority', ''],
  [':method', 'GET'],
  [':method', 'POST'],
  [':path', '/'],
  [':path', '/index.html'],
  [':scheme', 'http'],
  [':scheme', 'https'],
  ...['200', '204', '206', '304', '400', '404', '500'].map((status): HeaderEntry => [
    ':status',
    status,
  ]),
  ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'],
  ...[
    ...['accept-language', 'accept-ranges', 'accept', 'access-control-allow-origin', 'age'],
    ...['allow', 'authorization', 'cache-control', 'content-disposition', 'content-encoding'],
    ...['content-language', 'content-length', 'content-location', 'content-range'],
    ...['content-type', 'cookie', 'date', 'etag', 'expect', 'expires', 'from', 'host'],
    ...['if-match', 'if-modified-since', 'if-none-match', 'if-range', 'if-unmodified-since'],
    ...['last-modified', 'link', 'location', 'max-forwards', 'proxy-authenticate'],
    ...['proxy-authorization', 'range', 'referer', 'refresh', 'retry-after', 'server'],
    ...['set-cookie', 'strict-transport-security', 'transfer-encoding', 'user-agent', 'vary'],
    ...['via', 'www-authenticate'],
  ].map((name): HeaderEntry => [name, '']),
];

/** By name, and by name and value. */
const staticIndexes = new Map(
  staticTable.flatMap(([name, value], n) => [
    [`${name}\n${value}`, n + 1],
    [name, n + 1],
  ]),
);
