import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { describe, expect, onTestFinished, test } from 'vitest';
import { deferred, problemOf, problemType, send, startPair, uid } from './servers.js';

const path = '/api/tasks/?human_readable_id=a';

describe('MAX_UPLOAD_BYTES', () => {
  test('is held against the declared length before private-api hears of it', async () => {
    let heard = 0;
    const { url } = await startPair(() => (heard += 1), { maxUploadBytes: 1000 });
    const answer = await fetch(url + path, { method: 'POST', body: Buffer.alloc(1001) });
    expect(answer.status).toBe(413);
    expect(answer.headers.get('content-type')).toBe(problemType);
    expect(await problemOf(answer)).toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
      detail: expect.stringContaining('1000 bytes') as unknown,
    });
    expect(heard).toBe(0);
  });

  test('is held against the real length of a body that declares none', async () => {
    const cut = deferred();
    const { url } = await startPair(
      (request) => {
        request.on('error', () => cut.resolve());
        request.resume();
      },
      { maxUploadBytes: 1_000_000 },
    );
    const answer = await fetch(url + path, {
      method: 'POST',
      body: Readable.toWeb(Readable.from(chunks(40, 100_000))),
      duplex: 'half',
    });
    expect(answer.status).toBe(413);
    expect(await problemOf(answer)).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    await cut.promise;
  });

  test('lets a body of exactly the limit through, and the form around one', async () => {
    const { url } = await startPair(
      (request, response) => {
        request.resume().on('end', () => response.end('{}'));
      },
      { maxUploadBytes: 1000 },
    );
    const bare = await fetch(url + path, { method: 'POST', body: Buffer.alloc(1000) });
    expect(bare.status).toBe(200);
    const form = new FormData();
    form.set('zip_file', new Blob([Buffer.alloc(1000)]));
    expect((await fetch(url + path, { method: 'POST', body: form })).status).toBe(200);
  });
});

describe('bodies where none belongs', () => {
  test.each(['GET', 'DELETE'])('%s with a body is a 400', async (method) => {
    const { url } = await startPair((_request, response) => response.end('{}'));
    const answer = await send(
      `${url}/api/tasks/${uid}`,
      { method, headers: { 'content-length': 4, 'content-type': 'text/plain' } },
      'body',
    );
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'MALFORMED_REQUEST' });
  });

  test.each(['GET', 'DELETE'])('%s with a chunked body is a 400', async (method) => {
    const { url } = await startPair((_request, response) => response.end('{}'));
    const headers = { 'transfer-encoding': 'chunked' };
    const answer = await send(`${url}/api/tasks/${uid}`, { method, headers }, 'body');
    expect(answer.status).toBe(400);
  });
});

test('a parameter given twice is a 400 that names it', async () => {
  const { url } = await startPair((_request, response) => response.end('{}'));
  const answer = await fetch(`${url}/api/models/?a=1&a=2`);
  expect(answer.status).toBe(400);
  expect(await problemOf(answer)).toMatchObject({ code: 'DUPLICATE_PARAMETER', parameter: 'a' });
});

test('headers of more than 32 KiB are refused with a problem', async () => {
  const { url } = await startPair((_request, response) => response.end('{}'));
  const answer = await send(`${url}/api/models/`, { headers: { long: 'x'.repeat(40_000) } });
  expect(answer.status).toBe(431);
  expect(answer.headers['content-type']).toBe(problemType);
  expect(JSON.parse(answer.text)).toMatchObject({ code: 'HEADERS_TOO_LARGE' });
});

test('the sender of a refused body is read for a while and then cut', async () => {
  const { url } = await startPair(() => undefined, { anonymousRole: 'none' });
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  let answer = '';
  socket.on('data', (chunk) => (answer += chunk.toString()));
  socket.on('error', () => undefined);
  const closed = new Promise((resolve) => socket.on('close', resolve));

  socket.write(`POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${1024 ** 3}\r\n\r\n`);
  const block = Buffer.alloc(1024 ** 2);
  const writeOn = (): void => {
    while (socket.writable && socket.write(block)) continue;
  };
  socket.on('drain', writeOn);
  writeOn();
  await closed;

  expect(answer).toMatch(/^HTTP\/1.1 401 /);
  expect(socket.bytesWritten).toBeGreaterThan(64 * 1024 ** 2);
  expect(socket.bytesWritten).toBeLessThan(128 * 1024 ** 2);
});

function* chunks(count: number, bytes: number): Generator<Buffer> {
  for (let chunk = 0; chunk < count; chunk += 1) yield Buffer.alloc(bytes);
}
