import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { rawExchange, type RawStep } from '@inference-server/testing';
import { deferred, startPair } from '../servers.js';

const uploadPace = { minBytes: 1_000, windowMs: 500 };
const head = (fields: string) =>
  `POST /api/tasks/?human_readable_id=a HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`;

async function exchange(url: string, steps: RawStep[], expected = Infinity) {
  return rawExchange(Number(new URL(url).port), steps, { expected });
}

describe('a slow caller', () => {
  test.each<[string, RawStep[]]>([
    ['silence', []],
    ['a byte now and then', [{ drip: 'x', everyMs: 20 }]],
  ])('is cut with a 408, and private-api freed: %s', async (_what, steps) => {
    const freed = deferred<Error>();
    const { url } = await startPair((request) => void request.on('error', freed.resolve), {
      uploadPace,
    });
    const { answers } = await exchange(url, [head('Content-Length: 100000\r\n'), 'some', ...steps]);
    expect(answers).toMatchObject([{ status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true }]);
    expect(await freed.promise).toMatchObject({ code: 'ECONNRESET' });
  });

  test('above the pace may take as long as it takes', async () => {
    const { url } = await startPair(
      (request, response) => void request.resume().on('end', () => response.end('{}')),
      { uploadPace },
    );
    const { answers } = await exchange(
      url,
      [head('Content-Length: 12000\r\n'), { drip: 'x'.repeat(200), everyMs: 50, times: 60 }],
      1,
    );
    expect(answers).toMatchObject([{ status: 200 }]);
  });
});

describe('a slow private-api', () => {
  test('that reads nothing for long is not its caller’s fault', async () => {
    const go = deferred();
    const { url } = await startPair(
      (request, response) => {
        void go.promise.then(() => request.resume().on('end', () => response.end('{}')));
      },
      { uploadPace },
    );
    const length = 32 * 1024 ** 2;
    const exchanging = exchange(
      url,
      [head(`Content-Length: ${length}\r\n`), Buffer.alloc(length)],
      1,
    );
    await sleep(5 * uploadPace.windowMs);
    go.resolve();
    expect((await exchanging).answers).toMatchObject([{ status: 200 }]);
  });

  test('that reads a little now and then neither', async () => {
    const { url } = await startPair(
      (request, response) => {
        // 64 KiB at a time: far below what the caller could bring.
        const timer = setInterval(() => void request.read(), 200);
        setTimeout(() => {
          clearInterval(timer);
          request.resume().on('end', () => response.end('{}'));
        }, 5 * uploadPace.windowMs);
      },
      { uploadPace: { minBytes: 1024 ** 2, windowMs: 500 } },
    );
    const length = 32 * 1024 ** 2;
    const { answers } = await exchange(
      url,
      [head(`Content-Length: ${length}\r\n`), Buffer.alloc(length)],
      1,
    );
    expect(answers).toMatchObject([{ status: 200 }]);
  });

  test('that calls an upload too slow ends the caller’s connection too', async () => {
    const { url } = await startPair((_request, response) => {
      response.writeHead(408, { 'content-type': 'application/problem+json' });
      response.end('{"code":"UPLOAD_TOO_SLOW"}');
    });
    const { answers } = await exchange(url, [head('Content-Length: 100000\r\n'), 'some']);
    expect(answers).toMatchObject([{ status: 408, code: 'UPLOAD_TOO_SLOW', isLast: true }]);
  });
});
