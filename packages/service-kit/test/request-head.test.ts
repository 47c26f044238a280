import { describe, expect, it } from 'vitest';
import { get, post, startProbe } from './probe-server.js';

const refused = { status: 400, code: 'MALFORMED_REQUEST', isLast: true };

describe('a head', () => {
  it.each([
    ['a header of ours twice', get('/ping', 'Range: bytes=0-1\r\nrange: bytes=2-3\r\n')],
    ['two Hosts', get('/ping', 'host: localhost\r\n')],
    ['no Host', 'GET /ping HTTP/1.1\r\n\r\n'],
    ['a Host out of form', 'GET /ping HTTP/1.1\r\nHost: a/b\r\n\r\n'],
    ['another server in its address', get('http://other/ping')],
    ['a coding before chunked', post('/read', 'Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n')],
    ['chunks under HTTP/1.0', 'POST /read HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['another version', 'GET /ping HTTP/2.0\r\nHost: localhost\r\n\r\n'],
  ])('with %s is refused, and what follows it is not executed', async (_what, head) => {
    const { exchange, executed } = await startProbe();
    const { answers } = await exchange([head + get('/ping')]);
    expect(answers).toMatchObject([refused]);
    expect(executed).toEqual([]);
  });

  it('is refused also where the address cannot be read', async () => {
    const { exchange, executed } = await startProbe();
    const unreadable = post('/%zz', 'Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n');
    const { answers } = await exchange([unreadable + get('/ping')]);
    expect(answers).toMatchObject([refused]);
    expect(executed).toEqual([]);
  });

  it('may have 100 headers', async () => {
    const { exchange } = await startProbe();
    const { answers } = await exchange([get('/ping', 'X: y\r\n'.repeat(99))], 1);
    expect(answers).toMatchObject([{ status: 200 }]);
  });

  it.each([
    ['101 headers', 'X: y\r\n'.repeat(100)],
    ['1,500 headers, more than Node counts', 'X:\r\n'.repeat(1_500)],
    ['a header over 32 KiB', `X: ${'y'.repeat(32 * 1024)}\r\n`],
  ])('must not have %s', async (_what, fields) => {
    const { exchange } = await startProbe();
    const { answers } = await exchange([get('/ping', fields)]);
    expect(answers).toMatchObject([{ status: 431, code: 'HEADERS_TOO_LARGE', isLast: true }]);
  });

  it.each([
    ['HTTP/1.0 without a Host', 'GET /ping HTTP/1.0\r\n\r\n'],
    ['an absolute address', get('http://LOCALHOST/ping')],
    ['a header of the sender’s own twice', get('/ping', 'X: 1\r\nX: 2\r\n')],
    ['an upgrade', get('/ping', 'Connection: Upgrade\r\nUpgrade: h2c\r\n')],
  ])('may have %s', async (_what, head) => {
    const { exchange } = await startProbe();
    expect((await exchange([head], 1)).answers).toMatchObject([{ status: 200 }]);
  });

  it('may announce chunks in any letters', async () => {
    const { exchange } = await startProbe();
    const { answers } = await exchange(
      [post('/read', 'Transfer-Encoding: Chunked\r\n', '1\r\na\r\n0\r\n\r\n')],
      1,
    );
    expect(answers).toMatchObject([{ status: 200, body: '{"bytes":1}' }]);
  });

  it('must not announce a compressed body', async () => {
    const { exchange } = await startProbe();
    const fields = 'Content-Encoding: gzip\r\nContent-Length: 1\r\n';
    const { answers } = await exchange([post('/read', fields, 'a') + get('/ping')], 2);
    expect(answers).toMatchObject([
      { status: 415, code: 'UNSUPPORTED_MEDIA_TYPE' },
      { status: 200, body: '{"pong":true}' },
    ]);
  });
});

describe('headers that do not come to an end', () => {
  it.each([
    ['nothing', []],
    ['some', ['GET /ping HTTP/1.1\r\nX: ']],
    ['a byte now and then', ['GET /ping HTTP/1.1\r\nX: ', { drip: 'x', everyMs: 50 }]],
  ])('%s: cut in time', async (_what, steps) => {
    const { exchange } = await startProbe({ headersTimeoutMs: 500 });
    const started = performance.now();
    const { answers } = await exchange(steps);
    expect(answers).toMatchObject([{ status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true }]);
    expect(performance.now() - started).toBeGreaterThan(450);
  });

  it('do not cut the answer that is held before them', async () => {
    const { exchange, release } = await startProbe({ headersTimeoutMs: 300 });
    setTimeout(release, 1_500);
    const { answers } = await exchange([`${get('/held')}GET /ping HTTP/1.1\r\nX: `]);
    expect(answers).toMatchObject([{ status: 200, body: '{"held":true}', isLast: true }]);
  });
});
