import { expect, it } from 'vitest';
import { startProbe } from './probe-server.js';

const body = JSON.stringify({ text: 'x'.repeat(3 * 1024 ** 2) });
const ping = 'GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n';

it.each([
  ['declared', `Content-Length: ${body.length}`, body],
  [
    'in chunks',
    'Transfer-Encoding: chunked',
    `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
  ],
])('who sends a JSON body that is too large reads why: %s', async (_what, framing, sent) => {
  const { exchange } = await startProbe();
  const head = `POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
  const { answers } = await exchange([`${head}${framing}\r\n\r\n`, sent, ping], 2);
  expect(answers).toMatchObject([
    { status: 413, code: 'PAYLOAD_TOO_LARGE', isLast: false },
    { status: 200 },
  ]);
});

it('a connection that its sender wants closed is said to close', async () => {
  const { exchange } = await startProbe();
  const head = `POST /json HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
  const fields = `Connection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
  const { answers } = await exchange([`${head}${fields}`, body]);
  expect(answers).toMatchObject([{ status: 413, isLast: true }]);
});
