import { describe, expect, it } from 'vitest';
import { get, post, startProbe } from './probe-server.js';

const refused = { status: 400, code: 'MALFORMED_REQUEST', isLast: true };

describe('what is no HTTP', () => {
  it('is answered with a problem', async () => {
    const { exchange } = await startProbe();
    expect((await exchange(['\x16\x03\x01\r\n\r\n'])).answers).toMatchObject([refused]);
  });

  it('ends a body in place of its answer', async () => {
    const { exchange, executed } = await startProbe();
    const { answers } = await exchange([
      post('/read', 'Transfer-Encoding: chunked\r\n', '5\r\naaaaa\r\n'),
      'no size\r\n\r\n',
      get('/ping'),
    ]);
    expect(answers).toMatchObject([refused]);
    expect(executed).toEqual([]);
  });

  it('is answered also to a sender that goes on and on', async () => {
    const { exchange } = await startProbe();
    const { answers } = await exchange([
      post('/read', 'Transfer-Encoding: chunked\r\n', 'no size\r\n'),
      Buffer.alloc(8 * 1024 ** 2),
    ]);
    expect(answers).toMatchObject([refused]);
  });

  it('is not answered in the middle of another answer, which comes whole', async () => {
    const { exchange, executed, release } = await startProbe();
    const exchanging = exchange([`${get('/held')}no request\r\n\r\n`, 'and more', 'and more']);
    release();
    expect((await exchanging).answers).toMatchObject([{ status: 200, isLast: true }]);
    expect(executed).toEqual(['held']);
  });

  it('lets every earlier request be answered', async () => {
    const { exchange, release } = await startProbe();
    const exchanging = exchange([`${get('/held')}${get('/ping')}no request\r\n\r\n`]);
    release();
    const { answers } = await exchanging;
    expect(answers.map(({ body }) => body)).toEqual(['{"held":true}', '{"pong":true}']);
  });

  it('closes without a word after a body was refused that it belongs to', async () => {
    const { exchange } = await startProbe();
    const { answers } = await exchange([
      post('/refused', 'Transfer-Encoding: chunked\r\n', '5\r\naaaaa\r\n'),
      { awaiting: /550 / },
      'no size\r\n\r\n',
    ]);
    expect(answers).toMatchObject([{ status: 550 }]);
  });

  it('is a request to be a proxy', async () => {
    const { exchange } = await startProbe();
    const tunnel = 'CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n';
    expect((await exchange([tunnel])).answers).toMatchObject([refused]);
  });
});
