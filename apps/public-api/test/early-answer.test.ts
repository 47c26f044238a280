import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { PublicApiOptions } from '../src/app.js';
import { problemType, startPair } from './servers.js';

const run = promisify(execFile);
const python = '/usr/bin/python3';
const path = '/api/tasks/?human_readable_id=unknown';

/** Answers as soon as it has the headers, and reads no byte of the body. */
const answerAtOnce: RequestListener = (_request, response) => {
  response.writeHead(550, { 'content-type': problemType });
  response.end('{"code":"MODEL_NOT_FOUND","detail":"no such model"}');
};

const refusals: [string, RequestListener, Partial<PublicApiOptions>, number][] = [
  ['an answer of private-api', answerAtOnce, {}, 550],
  ['missing credentials', answerAtOnce, { anonymousRole: 'none' }, 401],
  ['a limit', answerAtOnce, { maxUploadBytes: 1000 }, 413],
];

describe.each(refusals)(
  '%s, given before the end of the body',
  (_name, listener, options, status) => {
    test('reaches curl, which asks to continue', async () => {
      const { url } = await startPair(listener, options);
      const args = ['--silent', '--show-error', '--max-time', '20', '--write-out', '%{http_code}'];
      const { stdout } = await run('curl', [
        ...args,
        '--form',
        `zip_file=@${await bigFile()}`,
        url + path,
      ]);
      expect(stdout).toMatch(new RegExp(`${String(status)}$`));
      expect(stdout).toContain('"code"');
    });

    test('reaches fetch', async () => {
      const { url } = await startPair(listener, options);
      const answer = await fetch(url + path, {
        method: 'POST',
        body: Buffer.alloc(20 * 1024 ** 2),
      });
      expect(answer.status).toBe(status);
      expect(await answer.json()).toHaveProperty('code');
    });

    test.runIf(existsSync(python))(
      'reaches a client that writes all before it reads, on a connection that it keeps',
      async () => {
        const { url } = await startPair(listener, options);
        const { stdout } = await run(python, ['-c', writeAllThenRead, url + path], {
          timeout: 20_000,
        });
        expect(stdout.trim().split('\n')).toEqual([
          `${String(status)} True True`,
          `${String(status)} True True`,
        ]);
      },
    );
  },
);

/** Python's own client does what `requests` does: the whole body first, then the answer. */
const writeAllThenRead = `
import http.client, json, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc)
socket = None
for _ in range(2):
    connection.request('POST', url.path + '?' + url.query, body=bytes(20 * 1024 * 1024))
    answer = connection.getresponse()
    known = 'code' in json.loads(answer.read())
    socket = socket or connection.sock
    print(answer.status, known, connection.sock is socket)
`;

async function bigFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'early-answer-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const file = join(folder, 'input.zip');
  await writeFile(file, Buffer.alloc(20 * 1024 ** 2));
  return file;
}
