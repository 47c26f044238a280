import { execFile } from 'node:child_process';
import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { rawExchange, testFolder } from '@inference-server/testing';
import type { PublicApiOptions } from '../src/app.js';
import { startPair, startPublicApi } from './servers.js';

const path = '/api/tasks?human_readable_id=a';

/** What curl was answered, and how much of 20 GiB it sent. */
async function curl(url: string): Promise<{ status: number; sentBytes: number }> {
  const file = join(await testFolder(), 'input.zip');
  await writeFile(file, '');
  await truncate(file, 20 * 1024 ** 3);
  const { stdout } = await promisify(execFile)('curl', [
    ...['--silent', '--show-error', '--max-time', '20', '--expect100-timeout', '15'],
    ...['--output', '/dev/null', '--write-out', '%{http_code} %{size_upload}'],
    ...['--header', 'Content-Type: application/zip', '--header', 'Expect: 100-continue'],
    ...['--request', 'POST', '--upload-file', file, url + path],
  ]);
  const [status, sentBytes] = stdout.split(' ').map(Number);
  return { status: status ?? 0, sentBytes: sentBytes ?? -1 };
}

test.each<[string, Partial<PublicApiOptions>, number]>([
  ['without credentials', { anonymousRole: 'none' }, 401],
  ['over the limit', { maxUploadBytes: 1024 ** 3 }, 413],
])('no byte of 20 GiB is sent %s', async (_what, options, status) => {
  const { url } = await startPair((_request, response) => response.end('{}'), options);
  expect(await curl(url)).toEqual({ status, sentBytes: 0 });
});

test('no byte of 20 GiB is sent while private-api is away', async () => {
  const options = { privateApiUrl: 'http://127.0.0.1:9', maxUploadBytes: 1024 ** 4 };
  const { url } = await startPublicApi(options);
  expect(await curl(url)).toEqual({ status: 503, sentBytes: 0 });
});

test('the 100 comes from here, and the body as it is sent', async () => {
  const { url } = await startPair((request, response) => {
    expect(request.headers.expect).toBeUndefined();
    let bytes = 0;
    request.on('data', (chunk: Buffer) => (bytes += chunk.length));
    request.on('end', () => response.end(String(bytes)));
  });
  const fields = 'Host: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n';
  const { answers } = await rawExchange(
    Number(new URL(url).port),
    [`POST ${path} HTTP/1.1\r\n${fields}\r\n`, { awaiting: /100 Continue/ }, 'aaaaa'],
    { expected: 1 },
  );
  expect(answers).toMatchObject([{ status: 200, body: '5' }]);
});
