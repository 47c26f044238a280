import {
  bareZip,
  get,
  post,
  smuggled,
  type HostileRequest,
  type Target,
} from './hostile-request.js';

type Answers = HostileRequest['answers'];

const refused: Answers = [[400, 'MALFORMED_REQUEST', 'last']];
const tooLarge: Answers = [[431, 'HEADERS_TOO_LARGE', 'last']];
const absent: Answers = [[404, 'NOT_FOUND']];
const noTask: Answers = [[554, 'TASK_NOT_FOUND']];

/** What stands for a header line in a GET. */
const brokenHeaders: [string, string][] = [
  ['a bare line feed', 'X: a\nY: b\r\n'],
  ['a bare carriage return', 'X: a\rY: b\r\n'],
  ['a folded line', 'X: a\r\n b\r\n'],
  ['a NUL', 'X: a\0b\r\n'],
  ['a control character in the name', 'X\x01: a\r\n'],
  ['a space in the name', 'X Y: a\r\n'],
  ['a space before the colon', 'X : a\r\n'],
  ['no colon', 'no header\r\n'],
  ['no name', ': a\r\n'],
];

const brokenLines: [string, string][] = [
  ['HTTP/0.9', 'GET /healthz\r\n'],
  ['HTTP/0.9, spelled out', 'GET /healthz HTTP/0.9\r\n\r\n'],
  ['HTTP/1.2', 'GET /healthz HTTP/1.2\r\nHost: localhost\r\n\r\n'],
  ['HTTP/2.0 as text', 'GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n'],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['the hello of TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n'],
  ['the banner of SSH', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['a method in small letters', 'get /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['an unknown method', 'SMUGGLE /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['a space in the address', 'GET /health z HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['raw bytes in the address', 'GET /\xe4 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['an address that is a server', 'GET localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['CONNECT', 'CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
];

const addresses: [string, Answers][] = [
  ['/../internal/consumers/x', absent],
  ['/api/../internal/consumers/x', absent],
  ['/api/%2e%2e/internal/consumers/x', absent],
  ['/api/tasks/..%2f..%2finternal%2fconsumers', noTask],
  ['/api/tasks/x%0d%0aX-Injected:%201', noTask],
  ['/api/tasks/%3Cscript%3E', noTask],
  ['//internal/consumers/x', absent],
  ['/api//tasks//', absent],
  ['/api/tasks/%00', noTask],
  ['/%zz', [[400, 'MALFORMED_REQUEST']]],
  ['/api/tasks/#?container_tag=busybox:1', refused],
  ['/api/models/#a', refused],
];

const givenTwice = [
  'Authorization: Bearer a',
  'Content-Type: application/zip',
  'If-None-Match: "a"',
  'Origin: http://localhost',
  'Range: bytes=0-1',
];

/** What a request line and headers can be made of. */
export const heads: HostileRequest[] = [
  ...brokenHeaders.map(([what, line]) => ({
    name: `a header with ${what}`,
    steps: (to: Target) => [get(to, line) + smuggled(to)],
    answers: refused,
  })),
  ...brokenLines.map(([what, text]) => ({
    name: what,
    steps: (to: Target) => [text + smuggled(to)],
    answers: refused,
  })),
  {
    name: 'bare line feeds all over',
    steps: (to) => [get(to).replaceAll('\r\n', '\n')],
    answers: refused,
  },
  ...addresses.map(([address, answers]) => ({
    name: `the address ${address}`,
    steps: (to: Target) => [get(to, '', address)],
    answers,
  })),
  {
    name: 'OPTIONS *',
    steps: ({ headers }) => [`OPTIONS * HTTP/1.1\r\n${headers}\r\n`],
    answers: [[405, 'METHOD_NOT_ALLOWED']],
  },
  {
    name: 'an absolute address of another server',
    steps: (to) => [get(to, '', 'http://internal.example/healthz')],
    answers: refused,
  },
  {
    name: 'an absolute address with a user',
    steps: (to) => [get(to, '', 'http://user@localhost/healthz')],
    answers: refused,
  },
  {
    name: 'an absolute address of this server',
    steps: (to) => [get(to, '', 'http://LOCALHOST/healthz')],
    answers: [[200]],
  },
  { name: 'no Host', steps: () => ['GET /healthz HTTP/1.1\r\n\r\n'], answers: refused },
  {
    name: 'two Hosts',
    steps: (to) => [get(to, 'Host: internal.example\r\n')],
    answers: refused,
  },
  ...['', 'localhost, evil', 'localhost/x', 'user@localhost', 'localhost:99:99'].map((host) => ({
    name: `Host: ${JSON.stringify(host)}`,
    steps: () => [`GET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
    answers: refused,
  })),
  ...givenTwice.map((line) => ({
    name: `${line}, twice`,
    steps: (to: Target) => [get(to, `${line}\r\n${line}\r\n`) + smuggled(to)],
    answers: refused,
  })),
  {
    name: 'a header of 40 KiB',
    steps: (to) => [get(to, `X: ${'x'.repeat(40_000)}\r\n`) + smuggled(to)],
    answers: tooLarge,
  },
  {
    name: 'an address of 40 KiB',
    steps: (to) => [get(to, '', `/${'x'.repeat(40_000)}`) + smuggled(to)],
    answers: tooLarge,
  },
  {
    name: '101 headers',
    steps: (to) => [get(to, 'X: y\r\n'.repeat(101)) + smuggled(to)],
    answers: tooLarge,
  },
  {
    name: 'headers without end',
    steps: (to) => [get(to, 'x:\r\n'.repeat(100_000)) + smuggled(to)],
    answers: tooLarge,
  },
  {
    name: 'an unknown expectation',
    steps: (to) => [post(to, `${bareZip}Content-Length: 5\r\nExpect: 200-ok\r\n`), smuggled(to)],
    answers: [[417, 'EXPECTATION_FAILED', 'last']],
  },
  {
    name: 'an expectation that is hidden in another',
    steps: (to) => [
      post(to, `${bareZip}Content-Length: 5\r\nExpect: x, 100-continue\r\n`),
      smuggled(to),
    ],
    answers: [[417, 'EXPECTATION_FAILED', 'last']],
  },
  {
    name: 'a body that is compressed',
    steps: (to) => [post(to, `${bareZip}Content-Encoding: gzip\r\nContent-Length: 5\r\n`, 'aaaaa')],
    answers: [[415, 'UNSUPPORTED_MEDIA_TYPE']],
  },
  ...['websocket', 'h2c'].map((protocol) => ({
    name: `an upgrade to ${protocol}`,
    steps: (to: Target) => [get(to, `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n`)],
    answers: [[200]] as Answers,
  })),
  {
    name: 'a GET with a body',
    only: 'public-api',
    steps: (to) => [get(to, 'Content-Length: 5\r\n', '/api/models/') + 'aaaaa'],
    answers: [[400, 'MALFORMED_REQUEST']],
  },
  {
    name: 'Connection that names headers of ours',
    steps: (to) => [
      post(
        to,
        `${bareZip}Connection: authorization, content-length, host\r\nContent-Length: 5\r\n`,
        'aaaaa',
      ),
    ],
    answers: [[422, 'ZIP_REFUSED']],
  },
  {
    name: 'headers that speak for the caller',
    only: 'public-api',
    steps: (to) => [
      get(to, 'X-HTTP-Method-Override: DELETE\r\n'),
      get(to, 'X-Forwarded-For: 127.0.0.1\r\n', '/api/models/'),
    ],
    // Who comes by a proxy may be anybody.
    answers: [[200], [403, 'FORBIDDEN']],
  },
  {
    name: 'a parameter twice',
    steps: ({ headers }) => [
      `POST /api/tasks/?human_readable_id=script&human_readable_id=%3Cb%3E HTTP/1.1\r\n${headers}Content-Length: 0\r\n\r\n`,
    ],
    answers: [[400, 'DUPLICATE_PARAMETER']],
  },
  {
    name: 'a parameter with a line break',
    steps: ({ headers }) => [
      `POST /api/tasks/?human_readable_id=a%0d%0aX-Injected:%201 HTTP/1.1\r\n${headers}Content-Length: 0\r\n\r\n`,
    ],
    answers: [[422, 'VALIDATION_FAILED']],
  },
  {
    name: 'empty lines before the request',
    steps: (to) => [`\r\n\r\n${get(to)}`],
    answers: [[200]],
  },
];
