import { describe, expect, it } from 'vitest';
import { get, post, startProbe } from './probe-server.js';

const five = 'Content-Length: 5\r\nExpect: 100-continue\r\n';

describe('Expect: 100-continue', () => {
  it('is met when the body is read', async () => {
    const { exchange } = await startProbe();
    const steps = [post('/read', five), { awaiting: /100 Continue/ }, 'aaaaa'];
    const { answers } = await exchange(steps, 1);
    expect(answers).toMatchObject([{ status: 200, body: '{"bytes":5}', isLast: false }]);
  });

  it('is met for JSON', async () => {
    const { exchange } = await startProbe();
    const head = post('/json', 'Content-Length: 2\r\nExpect: 100-Continue\r\n');
    const { answers } = await exchange(
      [head.replace('application/zip', 'application/json'), { awaiting: /100 Continue/ }, '{}'],
      1,
    );
    expect(answers).toMatchObject([{ status: 200, body: '{"body":{}}' }]);
  });

  it.each([
    ['/refused', 550],
    ['/nothing', 404],
  ])('is not met by %s, and the connection is closed', async (path, status) => {
    const { exchange } = await startProbe();
    const { answers, heard } = await exchange([post(path, five)]);
    expect(answers).toMatchObject([{ status, isLast: true }]);
    expect(heard).not.toContain('100 Continue');
  });

  it('is no hindrance to a body that comes unasked', async () => {
    const { exchange } = await startProbe();
    const { answers } = await exchange([post('/read', five, 'aaaaa') + get('/ping')], 2);
    expect(answers).toMatchObject([{ status: 200 }, { status: 200 }]);
  });

  it('is met only when it is its turn to be answered', async () => {
    const { exchange, release } = await startProbe();
    const exchanging = exchange(
      [get('/held') + post('/read', five), { awaiting: /100 Continue/ }, 'aaaaa'],
      2,
    );
    release();
    const { heard } = await exchanging;
    expect(heard.indexOf('held')).toBeLessThan(heard.indexOf('100 Continue'));
  });

  it('means nothing under HTTP/1.0', async () => {
    const { exchange } = await startProbe();
    const head = post('/read', five, 'aaaaa').replace('HTTP/1.1', 'HTTP/1.0');
    const { answers, heard } = await exchange([head], 1);
    expect(answers).toMatchObject([{ status: 200 }]);
    expect(heard).not.toContain('100 Continue');
  });
});

describe('any other expectation', () => {
  it.each(['200-ok', '100-continue, 200-ok', ''])('%s is not met', async (expectation) => {
    const { exchange, executed } = await startProbe();
    const head = post('/read', `Content-Length: 5\r\nExpect: ${expectation}\r\n`);
    const { answers } = await exchange([head]);
    expect(answers).toMatchObject([{ status: 417, code: 'EXPECTATION_FAILED', isLast: true }]);
    expect(executed).toEqual([]);
  });
});
