import { randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { createHeaderDecoder, encodeHeaders } from '../src/http2/hpack.js';
import { bareServer, connectTo } from './servers.js';

const decode = (...blocks: string[]) => {
  const decoder = createHeaderDecoder(64 * 1024);
  return blocks.map((block) => ({ ...decoder.decode(Buffer.from(block, 'hex')).headers })).at(-1);
};

const request = {
  ':method': 'GET',
  ':scheme': 'http',
  ':path': '/',
  ':authority': 'www.example.com',
};

/** RFC 7541, appendices C.2, C.3 and C.4. */
test.each([
  ['a literal with a new name', ['400a637573746f6d2d6b65790d637573746f6d2d686561646572'], { 'custom-key': 'custom-header' }], // prettier-ignore
  ['a literal that is not kept', ['040c2f73616d706c652f70617468'], { ':path': '/sample/path' }],
  ['a literal that is never kept', ['100870617373776f726406736563726574'], { password: 'secret' }],
  ['an index', ['82'], { ':method': 'GET' }],
  ['plain text', ['828684410f7777772e6578616d706c652e636f6d'], request],
  ['Huffman', ['828684418cf1e3c2e5f23a6ba0ab90f4ff'], request],
  [
    'what was kept before',
    ['828684418cf1e3c2e5f23a6ba0ab90f4ff', '828684be5886a8eb10649cbf'],
    { ...request, 'cache-control': 'no-cache' },
  ],
  ['one name twice', ['0001610162', '00016101620001610163'], { a: 'b, c' }],
])('%s is read', (_what, blocks, headers) => {
  expect(decode(...blocks)).toEqual(headers);
});

test.each([
  ['an index of nothing', '80'],
  ['an index beyond all', 'bf'],
  ['a number without an end', 'ff'],
  ['a number that is too long', 'ffffffffffff7f'],
  ['a text that is cut', '000561'],
  ['a table larger than it may be', '3fe21f'],
  ['a size behind a header', '8220'],
  ['Huffman filled up with zeros', '0001618100'],
  ['Huffman filled up with a byte', '0001618207ff'],
  ['an end within a text', '00016184ffffffff'],
])('%s is none', (_what, block) => {
  expect(() => decode(block)).toThrow('cannot be read');
});

test('headers are bounded, also those that an index repeats', () => {
  const kept = Buffer.concat([Buffer.from('40016164', 'hex'), Buffer.alloc(100, 97)]).toString(
    'hex',
  );
  expect(() => decode(kept, 'be'.repeat(1_000))).toThrow('too many headers');
});

test.each<[string, [string, string][]]>([
  ['of a connection', [['transfer-encoding', 'chunked']]],
  ['with a name in capitals', [['X', '1']]],
  ['with a blank in its name', [['x a', '1']]],
  ['without a name', [['', '1']]],
  ['with a line in its value', [['x', '1\r\ny: 2']]],
  ['with a zero in its value', [['x', '\0']]],
  ['of the protocol behind others', [['x', '1'], [':status', '200']]], // prettier-ignore
  ['of the protocol twice', [[':status', '200'], [':status', '200']]], // prettier-ignore
])('a header %s is not sound', (_what, entries) => {
  expect(createHeaderDecoder(1_000).decode(encodeHeaders(entries)).isSound).toBe(false);
});

test('what ours writes, it reads', () => {
  const entries: [string, string][] = [
    [':method', 'POST'],
    [':path', `/${'a'.repeat(20_000)}`],
    ['grpc-timeout', '1S'],
    ['x', 'ÿ'],
  ];
  const { headers, isSound } = createHeaderDecoder(64 * 1024).decode(encodeHeaders(entries));
  expect(isSound).toBe(true);
  expect(Object.entries(headers).join() === entries.join()).toBe(true);
});

test('headers as another maker writes them, call after call of one connection', async () => {
  const sent: Record<string, string>[] = [];
  const address = await bareServer((stream) => {
    const trailers: Record<string, string> = { 'grpc-status': '5' };
    for (let n = randomInt(12); n > 0; n -= 1) {
      // Any byte that a value may have, so that each has its place in the code; some come again.
      const text = randomInt(3) === 0 ? 'again' : randomBytes(randomInt(1, 200)).toString('latin1');
      // eslint-disable-next-line no-control-regex
      const value = text.replace(/[\x00-\x1f\x7f]/g, '').trim();
      trailers[`x-${randomInt(40)}`] = value;
    }
    sent.push(trailers);
    stream.respond(
      { ':status': 200, 'content-type': 'application/grpc', ...trailers },
      { endStream: true },
    );
  });
  const peer = connectTo(address);
  for (let n = 0; n < 300; n += 1) {
    const { trailers } = await peer.call({ path: '/t.T/Any', message: [], maxAnswerBytes: 1 });
    expect({ ...trailers, 'grpc-status': '5' }).toEqual(sent.at(-1));
  }
});
