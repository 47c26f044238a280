import {
  bareZip,
  get,
  post,
  smuggled,
  zip,
  type HostileRequest,
  type Target,
} from './hostile-request.js';

type Answers = HostileRequest['answers'];

const refused: Answers = [[400, 'MALFORMED_REQUEST', 'last']];
const refusedZip: Answers = [[422, 'ZIP_REFUSED']];

const contentLengths = ['5, 5', '+5', '0x5', '5 5', '-1', '', '5;', '9'.repeat(24), '\xb2'];

const transferEncodings = [
  'gzip, chunked',
  'chunked, identity',
  'identity',
  'xchunked',
  'chunked;q=1',
  '"chunked"',
  '\x0bchunked',
  '\r\n chunked',
  'chunked\r\nTransfer-Encoding: chunked',
  'chunked\r\nTransfer-Encoding: identity',
  'identity\r\nTransfer-Encoding: chunked',
];

const brokenChunks: [string, string][] = [
  ['a negative size', '-5\r\naaaaa\r\n0\r\n\r\n'],
  ['a size of 2^68', '100000000000000000\r\naaaaa'],
  ['a size with 0x', '0x5\r\naaaaa\r\n0\r\n\r\n'],
  ['a size with a space', '5 \r\naaaaa\r\n0\r\n\r\n'],
  ['a size that is too small', '3\r\naaaaa\r\n0\r\n\r\n'],
  ['no size', '\r\naaaaa\r\n0\r\n\r\n'],
  ['bare line feeds', '5\naaaaa\n0\n\n'],
  ['an endless extension', `5;a=${'x'.repeat(20_000)}\r\naaaaa\r\n0\r\n\r\n`],
  ['trailers that frame anew', '5\r\naaaaa\r\n0\r\nContent-Length: 9\r\n\r\n'],
  ['trailers without a colon', '5\r\naaaaa\r\n0\r\nno trailer\r\n\r\n'],
];

const oddButWhole: [string, string][] = [
  ['an extension', '5;name="value"\r\naaaaa\r\n0\r\n\r\n'],
  ['20,000 leading zeros', `${'0'.repeat(20_000)}5\r\naaaaa\r\n0\r\n\r\n`],
  ['trailers that name the caller', '5\r\naaaaa\r\n0\r\nAuthorization: Bearer x\r\n\r\n'],
];

/** Where does a body end? Whatever leaves room for two opinions is refused, and nothing after it read. */
export const framing: HostileRequest[] = [
  {
    name: 'Content-Length beside Transfer-Encoding',
    steps: (to) => [
      chunked(to, 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
    ],
    answers: refused,
  },
  {
    name: 'Transfer-Encoding beside Content-Length',
    steps: (to) => [
      chunked(to, 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'),
    ],
    answers: refused,
  },
  ...contentLengths.map((value) => ({
    name: `Content-Length: ${JSON.stringify(value)}`,
    steps: (to: Target) => [chunked(to, `Content-Length: ${value}\r\n`, 'aaaaa')],
    answers: refused,
  })),
  ...['5', '6'].map((second) => ({
    name: `Content-Length: 5 and then ${second}`,
    steps: (to: Target) => [
      chunked(to, `Content-Length: 5\r\nContent-Length: ${second}\r\n`, 'aaaaa'),
    ],
    answers: refused,
  })),
  ...transferEncodings.map((value) => ({
    name: `Transfer-Encoding: ${JSON.stringify(value)}`,
    steps: (to: Target) => [chunked(to, `Transfer-Encoding: ${value}\r\n`, '0\r\n\r\n')],
    answers: refused,
  })),
  {
    name: 'Transfer-Encoding with a space before its colon',
    steps: (to) => [chunked(to, 'Transfer-Encoding : chunked\r\n', '0\r\n\r\n')],
    answers: refused,
  },
  {
    name: 'Transfer_Encoding, which is another header',
    steps: (to) => [
      post(to, `${bareZip}Transfer_Encoding: chunked\r\nContent-Length: 5\r\n`, '0\r\n\r\n'),
    ],
    answers: refusedZip,
  },
  {
    name: 'Transfer-Encoding under HTTP/1.0',
    steps: (to) => [
      `POST /api/tasks/ HTTP/1.0\r\n${to.headers}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      smuggled(to),
    ],
    answers: refused,
  },
  ...brokenChunks.map(([what, chunks]) => ({
    name: `chunks with ${what}`,
    steps: (to: Target) => [chunked(to, 'Transfer-Encoding: chunked\r\n', chunks)],
    answers: refused,
  })),
  {
    name: 'chunks with 40 KiB of trailers',
    steps: (to) => [
      chunked(to, 'Transfer-Encoding: chunked\r\n', `0\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`),
    ],
    answers: [[431, 'HEADERS_TOO_LARGE', 'last']],
  },
  ...oddButWhole.map(([what, chunks]) => ({
    name: `chunks with ${what}`,
    steps: (to: Target) => [post(to, `${bareZip}Transfer-Encoding: chunked\r\n`, chunks)],
    answers: refusedZip,
  })),
  {
    name: 'a fault of the chunks after a whole zip',
    steps: (to) => [
      post(to, `${bareZip}Transfer-Encoding: chunked\r\n`, `${zip.length.toString(16)}\r\n`),
      zip,
      '\r\nno size\r\n\r\n',
      smuggled(to),
    ],
    answers: refused,
  },
  {
    name: 'a second request inside the body of a refused one',
    steps: (to) => [
      post(
        to,
        `Content-Type: text/csv\r\nContent-Length: ${smuggled(to).length}\r\n`,
        smuggled(to),
      ),
    ],
    answers: [[415, 'UNSUPPORTED_MEDIA_TYPE']],
  },
  {
    name: 'a second request in the packet of a refused head',
    steps: (to) => [get(to, 'Host: localhost\r\n'), smuggled(to)],
    answers: refused,
  },
  {
    name: 'a second request after Connection: close',
    steps: (to) => [get(to, 'Connection: close\r\n') + smuggled(to)],
    answers: [[200, undefined, 'last']],
  },
  {
    name: 'no request after a whole one',
    steps: (to) => [`${get(to)}no request at all\r\n\r\n`],
    answers: [[200, undefined, 'last']],
  },
  {
    name: 'more bytes than were declared',
    steps: (to) => [post(to, `${bareZip}Content-Length: ${zip.length - 9}\r\n`, zip), smuggled(to)],
    answers: [[422, 'ZIP_REFUSED', 'last']],
  },
  {
    name: 'fewer bytes than were declared',
    steps: (to) => [
      post(to, `${bareZip}Content-Length: ${zip.length + 9}\r\n`, zip),
      { then: 'end' },
    ],
    answers: refused,
  },
];

/** A post that ought to be refused, and behind it what ought never to be read. */
function chunked(to: Target, fields: string, body: string): Buffer {
  return Buffer.concat([post(to, bareZip + fields, body), Buffer.from(smuggled(to))]);
}
