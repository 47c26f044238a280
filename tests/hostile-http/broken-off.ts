import { bareZip, post, zip, type HostileRequest, type Target } from './hostile-request.js';
import type { RawStep } from '@inference-server/testing';

const formStart =
  '--x\r\nContent-Disposition: form-data; name="zip_file"; filename="a.zip"\r\n\r\n';
const formType = 'Content-Type: multipart/form-data; boundary=x\r\n';
const length = 'Content-Length: 1000000\r\n';
const chunked = 'Transfer-Encoding: chunked\r\n';

/** How far the client comes. */
const stages: [string, (to: Target) => RawStep[]][] = [
  ['before a byte', () => []],
  ['in the request line', () => ['POST /api/ta']],
  ['in the headers', ({ headers }) => [`POST /api/tasks/ HTTP/1.1\r\n${headers}Content-`]],
  ['before the body', (to) => [post(to, bareZip + length)]],
  ['in the body', (to) => [post(to, bareZip + length, zip), Buffer.alloc(300_000)]],
  ['in a chunk', (to) => [post(to, bareZip + chunked, 'fffff\r\n'), Buffer.alloc(300_000)]],
  ['between chunks', (to) => [post(to, bareZip + chunked, '5\r\naaaaa\r\n')]],
  ['in the headers of a part', (to) => [post(to, formType + length, formStart.slice(0, 30))]],
  ['in a form', (to) => [post(to, formType + length, formStart), Buffer.alloc(300_000)]],
];

const slow = [[408, 'UPLOAD_TOO_SLOW', 'last']] as HostileRequest['answers'];

/** Clients that go away. */
export const brokenOff: HostileRequest[] = [
  ...(['close', 'reset'] as const).flatMap((how) =>
    stages.map(([stage, steps]) => ({
      name: `a ${how} ${stage}`,
      steps: (to: Target) => [...steps(to), { then: how }],
      answers: [],
    })),
  ),
  ...stages.slice(1).map(([stage, steps]) => ({
    name: `a half-close ${stage}`,
    steps: (to: Target) => [...steps(to), { then: 'end' as const }],
    answers: [[400, 'MALFORMED_REQUEST', 'last']] as HostileRequest['answers'],
  })),
  {
    name: 'a half-close before a byte',
    steps: () => [{ then: 'end' }],
    answers: [],
  },
];

/** Clients that take their time: each is cut, by the pace alone. */
export const slowBodies: HostileRequest[] = [
  {
    name: 'a body that falls silent',
    steps: (to) => [post(to, bareZip + length, zip)],
    answers: slow,
  },
  {
    name: 'a body of a byte now and then',
    steps: (to) => [post(to, bareZip + length, zip), { drip: 'a', everyMs: 100 }],
    answers: slow,
  },
  {
    name: 'chunks of a byte now and then',
    steps: (to) => [post(to, bareZip + chunked), { drip: '1\r\na\r\n', everyMs: 100 }],
    answers: slow,
  },
  {
    name: 'a form that falls silent before its file',
    steps: (to) => [post(to, formType + length, formStart.slice(0, 30))],
    answers: slow,
  },
  {
    name: 'a form that falls silent in its file',
    steps: (to) => [post(to, formType + length, formStart), zip],
    answers: slow,
  },
  {
    name: 'JSON of a byte now and then',
    only: 'private-api',
    steps: ({ consumerHeaders }) => [
      `PUT /internal/consumers/x HTTP/1.1\r\n${consumerHeaders}Content-Type: application/json\r\n${length}\r\n{`,
      { drip: ' ', everyMs: 100 },
    ],
    answers: slow,
  },
  {
    name: 'silence where the server waits to be asked for the body',
    steps: (to) => [post(to, `${bareZip}${length}Expect: 100-continue\r\n`)],
    answers: slow,
  },
  {
    name: 'a body that goes on after its refusal',
    steps: (to) => [
      post(to, 'Content-Type: text/csv\r\nContent-Length: 1000000\r\n', 'a'),
      { drip: 'a', everyMs: 100 },
    ],
    answers: [[415, 'UNSUPPORTED_MEDIA_TYPE']],
  },
];
