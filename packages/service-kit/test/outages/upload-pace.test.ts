import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { get, post, startProbe } from '../probe-server.js';

/** 2,000 bytes a second at least. */
const pace = { minBytes: 1_000, windowMs: 500 };
const long = 'Content-Length: 100000\r\n';
const tooSlow = { status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true };

describe('a body', () => {
  it.each([
    ['that is silent from the start', [post('/read', long)]],
    ['that falls silent', [post('/read', long, 'x'.repeat(10_000))]],
    ['of a byte now and then', [post('/read', long), { drip: 'x', everyMs: 20 }]],
    [
      'of small chunks now and then',
      [post('/read', 'Transfer-Encoding: chunked\r\n'), { drip: '1\r\nx\r\n', everyMs: 20 }],
    ],
    [
      'of JSON, a byte now and then',
      [
        post('/json', long).replace('application/zip', 'application/json'),
        { drip: ' ', everyMs: 20 },
      ],
    ],
  ])('%s is cut with a 408', async (_what, steps) => {
    const { exchange } = await startProbe({ pace });
    const started = performance.now();
    expect((await exchange(steps)).answers).toMatchObject([tooSlow]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it('above the pace comes whole, however long it takes', async () => {
    const { exchange } = await startProbe({ pace });
    const { answers } = await exchange(
      [
        post('/read', 'Content-Length: 12000\r\n'),
        { drip: 'x'.repeat(200), everyMs: 50, times: 60 },
      ],
      1,
    );
    expect(answers).toMatchObject([{ status: 200, body: '{"bytes":12000}' }]);
  });

  it.each([
    ['does not read', '/later'],
    ['begins to read and pauses', '/paused'],
  ])('that the server %s is not to blame', async (_what, path) => {
    const { exchange, release } = await startProbe({ pace });
    const length = 16 * 1024 ** 2;
    const exchanging = exchange(
      [post(path, `Content-Length: ${length}\r\n`), Buffer.alloc(length)],
      1,
    );
    await sleep(4 * pace.windowMs);
    release();
    expect((await exchanging).answers).toMatchObject([
      { status: 200, body: `{"bytes":${length}}` },
    ]);
  });

  it('that comes slowly is not to blame before anybody wants it', async () => {
    const { exchange, release } = await startProbe({ pace });
    const exchanging = exchange(
      [post('/later', 'Content-Length: 50\r\n'), { drip: 'x', everyMs: 20, times: 50 }],
      1,
    );
    await sleep(6 * pace.windowMs);
    release();
    expect((await exchanging).answers).toMatchObject([{ status: 200, body: '{"bytes":50}' }]);
  });

  it('that is there may be looked at for longer than a connection may be silent', async () => {
    const { exchange, release } = await startProbe({ pace, silenceMs: 200 });
    const checked = exchange([post('/checked', 'Content-Length: 5\r\n', 'bytes')], 1);
    // Nothing was sent with this one: it is cut.
    expect((await exchange([get('/held')], 1)).answers).toEqual([]);
    await sleep(400);
    release();
    expect((await checked).answers).toMatchObject([{ status: 200, body: '{"bytes":5}' }]);
  });

  it('that was never asked for is not to blame', async () => {
    const { exchange, release } = await startProbe({ pace });
    const exchanging = exchange(
      [post('/later', `${long}Expect: 100-continue\r\n`), { awaiting: /100 / }, Buffer.alloc(1e5)],
      1,
    );
    await sleep(4 * pace.windowMs);
    release();
    expect((await exchanging).answers).toMatchObject([{ status: 200 }]);
  });

  it('that goes on slowly after its refusal is cut', async () => {
    const { exchange } = await startProbe({ pace });
    const { answers } = await exchange([post('/refused', long), { drip: 'x', everyMs: 20 }]);
    expect(answers).toMatchObject([{ status: 550 }]);
  });
});
